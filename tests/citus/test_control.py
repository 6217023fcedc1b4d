"""Holds, releases and purges of a queue that is distributed: on the node of the shard, and with it when it moves."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest

from service.cluster.distribute import bring_up_nodes, distribute
from service.control.actor import Actor
from service.control.jobs import Control, Job, expire_forever, work_forever
from service.db import Database
from service.errors import Conflict, TooManyRequests, Unavailable
from service.model import Action, ControlRequest, StatsQuery
from tests.citus.conftest import SHARDS, Distributed
from tests.citus.test_citus import INSERT, SENDERS, differences, move_shard_of, serving, until
from tests.citus.test_moves import a_move, split
from tests.citus.test_nodes import senders_at, stopped
from tests.conftest import open_pool

ACTOR = Actor("token", "tests")
SENDER = 7
QUEUE = StatsQuery(SENDER)
# More messages than a job changes in one step.
MANY = (
    "INSERT INTO messages (sender_id, account_id, isp, status, recipient)"
    " SELECT {}, n % 3, 'isp ' || n % 2, CASE WHEN n % 2 = 0 THEN 'new' ELSE 'retry' END::message_status, 'x'"
    " FROM generate_series(1, {}) AS n"
)
ARRIVED = (
    "SELECT shard, arrival, lowest, highest"
    " FROM queuestats_local.arrived_shards JOIN queuestats_local.shards USING (shard)"
)


def control_of(service: Database, **limits: int) -> Control:
    return Control(service, service, 100_000, **limits)


def hold(query: StatsQuery = QUEUE, **more: Any) -> ControlRequest:
    return ControlRequest(Action.HOLD, query, "a reason", **more)


def release(query: StatsQuery = QUEUE, **more: Any) -> ControlRequest:
    return ControlRequest(Action.RELEASE, query, **more)


def purge(query: StatsQuery = QUEUE, **more: Any) -> ControlRequest:
    return ControlRequest(Action.PURGE, query, **more)


async def carry_out(service: Database, request: ControlRequest) -> Job:
    return await control_of(service).carry_out(request, ACTOR, "request 1")


async def begin(service: Database, request: ControlRequest) -> Job:
    return await control_of(service).begin(request, ACTOR, "request 1")


async def finish(service: Database, job: Job) -> Job:
    """Runs a job until it has ended."""
    control = control_of(service)
    async with asyncio.timeout(120):
        while job.state not in ("done", "failed", "cancelled"):
            job = await control.step(job)
    return job


async def statuses(database: Distributed, sender_id: int = SENDER, condition: str = "true") -> dict[str, int]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        rows = await connection.fetch(
            f"SELECT status, count(*) FROM messages WHERE sender_id = {sender_id} AND {condition} GROUP BY status"
        )
        return {row["status"]: row["count"] for row in rows}
    finally:
        await connection.close()


async def on_nodes(database: Distributed, sql: str) -> list[Any]:
    """The rows of a statement on both workers."""
    found: list[Any] = []
    for node in database.nodes[1:]:
        connection = await asyncpg.connect(database.at(node))
        try:
            found += await connection.fetch(sql)
        finally:
            await connection.close()
    return found


async def require_exact(database: Distributed) -> None:
    """The counts agree with the messages, and held messages with their holds."""
    assert await differences(database) == []
    assert await on_nodes(database, "SELECT * FROM queuestats_local.held_differences(NULL)") == []


async def is_brought(database: Distributed) -> bool:
    """Whether no shard waits for its holds, and no node has some of other shards."""
    waiting = await on_nodes(database, "SELECT shard FROM queuestats_local.arrived_shards")
    return not waiting and not any([await database.unproved(node) for node in (1, 2)])


@asynccontextmanager
async def working(database: Distributed) -> AsyncIterator[Database]:
    """A service with its folds, counts, jobs and expiries."""
    async with (
        serving(database) as service,
        open_pool(database.service_url) as jobs,
        open_pool(database.service_url) as expiries,
    ):
        tasks = [asyncio.create_task(work_forever(jobs)), asyncio.create_task(expire_forever(expiries))]
        try:
            yield service
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def arrivals(database: Distributed, sender_id: int = SENDER) -> AsyncIterator[list[int]]:
    """A writer of new messages with account 9 through each node, and of others; gives the number of messages."""
    is_over, written = False, [0]

    async def write(node: int) -> None:
        connection = await asyncpg.connect(database.at(database.nodes[node]))
        while not is_over:
            try:
                await connection.execute(
                    "INSERT INTO messages (sender_id, account_id, recipient) VALUES ($1, 9, 'x'), ($1, 8, 'x')",
                    sender_id,
                )
                written[0] += 1
            except asyncpg.PostgresError:
                pass
            await asyncio.sleep(0.01)
        await connection.close()

    tasks = [asyncio.create_task(write(node)) for node in (0, 1, 2)]
    try:
        yield written
    finally:
        is_over = True
        await asyncio.gather(*tasks)


async def test_a_hold_and_a_release_change_the_messages_of_their_filter(distributed: Distributed) -> None:
    for sender_id in (SENDER, SENDER + 1):
        await distributed.run(MANY.format(sender_id, 40))
    before = await statuses(distributed)
    assert before == {"new": 20, "retry": 20}
    async with serving(distributed) as service:
        assert (await carry_out(service, hold(StatsQuery(SENDER, isp="isp 0")))).changed == 20
        assert (await carry_out(service, hold(StatsQuery(SENDER, isp="isp 1")))).changed == 20
        for node in (0, 1, 2):
            insert = "INSERT INTO messages (sender_id, isp, recipient) VALUES ({}, '{}', 'x'), ({}, 'isp 1', 'x')"
            await distributed.run(insert.format(SENDER, "isp 1", SENDER + 1), node)
            await distributed.run(insert.format(SENDER, "isp 2", SENDER + 1), node)
        assert await statuses(distributed) == {"hold": 43, "new": 3}
        assert [row["messages"] for row in await control_of(service).holds(SENDER)] == [20, 23]
        await require_exact(distributed)
        assert (await carry_out(service, release())).changed == 43
        assert await statuses(distributed) == {"new": 26, "retry": 20}
        assert await statuses(distributed, SENDER + 1) == {"new": 26, "retry": 20}
    await require_exact(distributed)


async def test_a_message_that_leaves_its_hold_or_is_deleted_leaves_no_row(distributed: Distributed) -> None:
    await distributed.run(MANY.format(SENDER, 30))
    async with serving(distributed) as service:
        await carry_out(service, hold())
        await distributed.run(f"UPDATE messages SET status = 'proc' WHERE sender_id = {SENDER} AND account_id = 1")
        await distributed.run(f"DELETE FROM messages WHERE sender_id = {SENDER} AND account_id = 2")
        assert await statuses(distributed) == {"hold": 10, "proc": 10}
        assert [row["messages"] for row in await control_of(service).holds(SENDER)] == [10]
        await require_exact(distributed)
        await distributed.run("TRUNCATE messages")
        assert [row["messages"] for row in await control_of(service).holds(SENDER)] == [0]
        await distributed.run(f"INSERT INTO messages (sender_id, recipient) VALUES ({SENDER}, 'x')")
        assert await statuses(distributed) == {"hold": 1}
    await require_exact(distributed)


async def test_a_purge_removes_what_was_counted(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(900))
    async with serving(distributed) as service:
        counted = await control_of(service).matching(purge())
        assert sum(counted.values()) == 30
        with pytest.raises(Conflict, match="30 messages match"):
            await carry_out(service, purge(at_most=29))
        assert (await carry_out(service, purge(at_most=30))).changed == 30
        assert await statuses(distributed) == {}
        assert await statuses(distributed, SENDER + 1) == {"new": 30}
    await require_exact(distributed)


async def test_a_hold_expires_on_its_node(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(900))
    async with working(distributed) as service:
        for sender_id in (SENDER, SENDER + 1, SENDER + 2):
            await carry_out(service, hold(StatsQuery(sender_id), expires_in_seconds=1))

        async def is_released() -> bool:
            return [await statuses(distributed, SENDER + n) for n in (0, 1, 2)] == [{"new": 30}] * 3

        await until(is_released)
        log = await control_of(service).audit(SENDER, 10)
        assert [entry["action"] for entry in log][-2:] == ["finish", "hold"]
        assert "expire" in [entry["action"] for entry in log]
    await require_exact(distributed)


async def test_lists_are_those_of_all_nodes_with_unique_numbers(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    async with serving(distributed) as service:
        control = control_of(service)
        for sender_id in SENDERS:
            await carry_out(service, hold(StatsQuery(sender_id)))
        holds, jobs, log = await control.holds(None), await control.jobs(), await control.audit(None, 25)
        assert Counter(row["sender_id"] for row in holds) == Counter(SENDERS)
        assert len({row["id"] for row in holds}) == len({row["id"] for row in jobs}) == len(SENDERS)
        assert len(log) == 25
        assert [entry["at"] for entry in log] == sorted((entry["at"] for entry in log), reverse=True)
        job = await begin(service, release())
        assert await control.cancel(job.id, ACTOR)
        assert not await control.cancel(job.id, ACTOR)
        assert [row["state"] for row in await control.jobs(SENDER)] == ["settling", "cancelled"]
        measured = await control.measure()
        assert (measured["holds"], measured["held_messages"]) == (len(SENDERS) - 1, 300)
        used = {row["resource"]: row["used"] for row in measured["budgets"] if row["token"] == ACTOR.name}
        assert used["active_holds"] == len(SENDERS) - 1


@pytest.mark.parametrize("mode", ["block_writes", "force_logical"])
async def test_holds_jobs_and_the_log_follow_their_shard(distributed: Distributed, mode: str) -> None:
    await distributed.run(MANY.format(SENDER, 1000))
    async with working(distributed) as service:
        control = control_of(service)
        held = await finish(service, await carry_out(service, hold(StatsQuery(SENDER, isp="isp 1"))))
        holds, log = await control.holds(SENDER), await control.audit(SENDER, 100)
        move = await a_move(distributed)
        await move.start(mode)
        await move.end()
        # Before the holds are there.
        await distributed.run(f"INSERT INTO messages (sender_id, isp, recipient) VALUES ({SENDER}, 'isp 1', 'x')")
        await until(partial(is_brought, distributed))
        expected = {"hold": 501, "new": 500}

        async def is_swept() -> bool:
            return await statuses(distributed) == expected

        await until(is_swept)
        assert await control.holds(SENDER) == [{**holds[0], "messages": 501}]
        assert [entry for entry in await control.audit(SENDER, 100) if entry in log] == log
        assert held.id in [row["id"] for row in await control.jobs(SENDER)]
        await require_exact(distributed)
        await carry_out(service, release(hold_id=held.hold_id))
        assert await statuses(distributed) == {"new": 501, "retry": 500}
        for table in ("holds", "held_messages", "job_chunks"):
            assert await on_nodes(distributed, f"SELECT * FROM queuestats_local.{table}") == []
    await require_exact(distributed)


async def test_a_job_goes_on_where_its_shard_has_gone_and_holds_no_other_message(distributed: Distributed) -> None:
    await distributed.run(MANY.format(SENDER, 30_000))
    before = await statuses(distributed)
    of_account = StatsQuery(SENDER, account_id=9)
    async with working(distributed) as service, arrivals(distributed):
        whole = await begin(service, hold(StatsQuery(SENDER, isp="isp 0")))
        await carry_out(service, hold(of_account))
        for _ in range(4):
            await move_shard_of(SENDER, distributed)
            await asyncio.sleep(0.3)
        await until(partial(is_brought, distributed))
        whole = await finish(service, whole)
    assert whole.failed == 0
    async with working(distributed) as service:
        await until(partial(has_no_job, distributed))
        assert list(await statuses(distributed, condition="account_id = 9")) == ["hold"]
        assert list(await statuses(distributed, condition="account_id = 8 AND isp <> 'isp 0'")) == ["new"]
        assert await statuses(distributed, condition="account_id < 8 AND isp = 'isp 0'") == {"hold": 15_000}
        await require_exact(distributed)
        await carry_out(service, release())
        assert await statuses(distributed, condition="account_id < 8") == before
    await require_exact(distributed)


async def has_no_job(database: Distributed) -> bool:
    return await on_nodes(database, "SELECT FROM queuestats_local.jobs WHERE finished_at IS NULL") == []


async def test_a_purge_removes_no_message_that_it_has_not_counted_when_its_shard_moves(
    distributed: Distributed,
) -> None:
    await distributed.run(MANY.format(SENDER, 20_000))
    async with serving(distributed) as service, arrivals(distributed) as written:
        job = await begin(service, purge(StatsQuery(SENDER), at_most=10**6))
        counted = (await control_of(service).jobs(SENDER))[0]["matched"]
        job = await control_of(service).step(job)
        for _ in range(2):
            await move_shard_of(SENDER, distributed)
            job = await control_of(service).step(job)
        job = await finish(service, job)
        assert job.changed == counted >= 20_000
    async with serving(distributed) as service:
        assert sum((await statuses(distributed)).values()) == 20_000 + 2 * written[0] - counted
        await until(partial(is_brought, distributed))
    await require_exact(distributed)


async def test_a_shard_that_returns_before_its_jobs_are_brought_loses_none_of_their_messages(
    distributed: Distributed,
) -> None:
    await distributed.run(MANY.format(SENDER, 20_000))
    async with serving(distributed) as service:
        job = await begin(service, purge(StatsQuery(SENDER), at_most=10**6))
        job = await control_of(service).step(job)
    target_port = await move_shard_of(SENDER, distributed)
    target = [each.port for each in distributed.nodes].index(target_port)
    await until(partial(_is_attached, distributed, target, "SELECT queuestats_local.settle()"))
    (row,) = [dict(row) for row in await on_nodes(distributed, ARRIVED)]
    of_shard = (row["shard"], row["lowest"], row["highest"])
    at_origin, at_target = [
        await asyncpg.connect(distributed.at(distributed.nodes[each], "queuestats_service"))
        for each in (3 - target, target)
    ]
    # The chunks of the job are brought, and then the process dies.
    ((kept_in, kept),) = await at_origin.fetch("SELECT * FROM queuestats_local.leaving($1, $2, $3)", *of_shard)
    assert kept_in == "job_chunks"
    arrived = (row["shard"], row["arrival"])
    await at_target.execute("SELECT queuestats_local.receive($1, $2, $3, $4)", *arrived, kept_in, kept)
    await at_origin.execute("SELECT queuestats_local.leave($1, $2, $3, $4, $5)", *of_shard, kept_in, kept)
    await move_shard_of(SENDER, distributed)
    async with serving(distributed) as service:
        assert (await finish(service, job)).changed == 20_000
        await until(partial(is_brought, distributed))
    await require_exact(distributed)
    for connection in (at_origin, at_target):
        await connection.close()


async def test_a_process_that_dies_while_it_brings_holds_loses_none(distributed: Distributed) -> None:
    await distributed.run(MANY.format(SENDER, 5000))
    before = await statuses(distributed)
    async with serving(distributed) as service:
        held = await carry_out(service, hold())
        job = await begin(service, release(hold_id=held.hold_id))
    target = await move_shard_of(SENDER, distributed)
    to = [each.port for each in distributed.nodes].index(target)
    origin = 3 - to
    settled = "SELECT queuestats_local.settle()"
    await until(partial(_is_attached, distributed, to, settled))
    (row,) = [dict(row) for row in await on_nodes(distributed, ARRIVED)]
    at_origin = await asyncpg.connect(distributed.at(distributed.nodes[origin], "queuestats_service"))
    at_target = await asyncpg.connect(distributed.at(distributed.nodes[to], "queuestats_service"))
    of_shard = (row["shard"], row["lowest"], row["highest"])
    # Given, and not deleted; another process has begun with the same rows, and goes on when all is done.
    ((kept_in, kept),) = await at_origin.fetch("SELECT * FROM queuestats_local.leaving($1, $2, $3)", *of_shard)
    receive = "SELECT queuestats_local.receive($1, $2, $3, $4)"
    await at_target.execute(receive, row["shard"], row["arrival"], kept_in, kept)
    async with serving(distributed) as service:
        await until(partial(is_brought, distributed))
        with pytest.raises(asyncpg.PostgresError, match="the shard is complete"):
            await at_target.execute(receive, row["shard"], row["arrival"], kept_in, kept)
        await at_origin.execute("SELECT queuestats_local.leave($1, $2, $3, $4, $5)", *of_shard, kept_in, kept)
        assert (await finish(service, job)).changed == 5000
        assert await statuses(distributed) == before
    await at_origin.close()
    await at_target.close()
    await require_exact(distributed)


async def _is_attached(database: Distributed, node: int, settle: str) -> bool:
    await database.run(settle, node)
    return bool(await database.run("SELECT count(*) FROM queuestats_local.arrived_shards", node))


async def test_while_a_node_does_not_respond_senders_of_the_others_can_be_held(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    away, near = (await senders_at(distributed, 2))[0], (await senders_at(distributed, 1))[0]
    async with serving(distributed) as service:
        await carry_out(service, hold(StatsQuery(near)))
    async with open_pool(distributed.service_url, pool_size=3, connect_timeout_ms=2000) as service:
        with stopped(distributed.nodes[2]):
            assert (await carry_out(service, release(StatsQuery(near)))).changed == 10
            with pytest.raises(Unavailable):
                await carry_out(service, hold(StatsQuery(away)))
            with pytest.raises(Unavailable):
                await control_of(service).holds(None)
    await require_exact(distributed)


async def test_both_halves_of_a_split_have_the_holds_of_their_senders_and_jobs_go_on(distributed: Distributed) -> None:
    shard = await distributed.run(f"SELECT get_shard_id_for_distribution_column('messages', {SENDER})")
    together: list[int] = await distributed.run(
        "SELECT array_agg(n) FROM generate_series(1, 60) AS n"
        f" WHERE get_shard_id_for_distribution_column('messages', n) = {shard}"
    )
    for sender_id in together:
        await distributed.run(MANY.format(sender_id, 6000))
    async with working(distributed) as service:
        jobs = [await begin(service, hold(StatsQuery(sender_id))) for sender_id in together]
        jobs = [await control_of(service).step(job) for job in jobs]
        await split(distributed)
        jobs = [await finish(service, job) for job in jobs]
        assert {job.state for job in jobs} == {"done"}
        await until(partial(is_brought, distributed))
        for sender_id in together:
            assert await statuses(distributed, sender_id) == {"hold": 6000}
        await require_exact(distributed)
        for sender_id in together:
            await carry_out(service, release(StatsQuery(sender_id)))
            assert await statuses(distributed, sender_id) == {"new": 3000, "retry": 3000}
    await require_exact(distributed)


async def test_what_was_held_before_the_queue_was_distributed_is_released_on_its_node(
    undistributed: Distributed,
) -> None:
    await undistributed.run(MANY.format(SENDER, 40))
    async with open_pool(undistributed.service_url) as service:
        held = await carry_out(service, hold())
        await finish(service, held)
    await distribute(undistributed.owner_url, SHARDS, lambda what: None)
    await bring_up_nodes(undistributed.owner_url, undistributed.service_url, lambda what: None)
    async with open_pool(undistributed.service_url) as service:
        assert [row["id"] for row in await control_of(service).holds(SENDER)] == [held.hold_id]
        assert [row["action"] for row in await control_of(service).audit(SENDER, 10)][-2:] == ["finish", "hold"]
        await require_exact(undistributed)
        assert (await carry_out(service, release())).changed == 40
        assert await statuses(undistributed) == {"new": 20, "retry": 20}
    await require_exact(undistributed)


async def test_a_node_of_a_version_without_holds_gets_them_from_migrate(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    for node in (0, 1, 2):
        await distributed.execute(
            "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on;"
            "DO $$ DECLARE shard regclass; BEGIN"
            " FOR shard IN SELECT inhrelid FROM pg_inherits"
            " WHERE inhparent = 'queuestats_shards.messages'::regclass LOOP"
            "   EXECUTE format('ALTER TABLE %s NO INHERIT queuestats_shards.messages', shard);"
            " END LOOP; END $$;"
            "DROP TABLE queuestats_shards.messages CASCADE; DROP TABLE queuestats_local.arrived_shards",
            node,
        )
    await bring_up_nodes(distributed.owner_url, distributed.service_url, lambda what: None)
    async with serving(distributed) as service:
        await until(partial(is_brought, distributed))
        assert (await carry_out(service, hold())).changed == 10
        await distributed.run(f"INSERT INTO messages (sender_id, recipient) VALUES ({SENDER}, 'x')")
        assert await statuses(distributed) == {"hold": 11}
    await require_exact(distributed)


async def test_a_budget_is_that_of_all_nodes(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    one, two = (await senders_at(distributed, 1))[:2], (await senders_at(distributed, 2))[:2]
    async with serving(distributed) as service:
        control = control_of(service, most_holds=3)
        for sender_id in (*one, two[0]):
            await control.carry_out(hold(StatsQuery(sender_id)), ACTOR, "")
        for sender_id in (one[0], two[1]):
            with pytest.raises(TooManyRequests):
                await control.carry_out(hold(StatsQuery(sender_id)), ACTOR, "")
        await control.carry_out(hold(StatsQuery(two[1])), Actor("token", "another"), "")


async def test_holds_that_are_on_a_node_that_does_not_respond_are_not_passed_over(distributed: Distributed) -> None:
    await distributed.run(MANY.format(SENDER, 40))
    async with serving(distributed) as service:
        await carry_out(service, hold())
    target = await move_shard_of(SENDER, distributed)
    to = [each.port for each in distributed.nodes].index(target)
    await until(partial(_is_attached, distributed, to, "SELECT queuestats_local.settle()"))
    async with open_pool(distributed.service_url, pool_size=3, connect_timeout_ms=2000) as service:
        with stopped(distributed.nodes[3 - to]), pytest.raises(Unavailable):
            await carry_out(service, release())
        assert await statuses(distributed) == {"hold": 40}
        assert await distributed.run("SELECT count(*) FROM queuestats_local.arrived_shards", to) == 1
    async with serving(distributed) as service:
        await until(partial(is_brought, distributed))
        assert (await carry_out(service, release())).changed == 40
        assert await statuses(distributed) == {"new": 20, "retry": 20}
    await require_exact(distributed)

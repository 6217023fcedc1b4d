"""A queue that is distributed over several nodes: exact through writers on every node, moves, and a node that dies."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest

from service.cluster.distribute import bring_up_nodes, distribute
from service.control.jobs import Control
from service.counters.folding import count_forever, fold_forever
from service.counters.verify import Difference, Verified, verify_database
from service.db import Database, connect
from service.errors import CommandError, ServiceError, Unavailable, Uncounted
from service.model import Dimension, Grouping, Measure, StatsQuery, TopQuery
from service.queue.stats import CounterReader, Statistics, fetch_report
from service.queue.top import fetch_top
from service.schema import migrate
from service.settings import Settings
from tests.citus.conftest import SETTINGS, SHARDS, Distributed
from tests.cli.programs import queuestats
from tests.conftest import open_pool, successful

SENDERS = range(1, 31)
PATIENCE_SECONDS = 120
INSERT = (
    "INSERT INTO messages (sender_id, account_id, isp, recipient)"
    " SELECT 1 + n % 30, n % 3, 'isp ' || n % 2, 'x' FROM generate_series(1, {}) AS n"
)


async def compared(database: Distributed) -> Verified:
    async with connect(database.service_url) as connection:
        return await verify_database(connection, database.service_url, None)


PORT_OF = (
    "SELECT nodeport FROM citus_shards WHERE table_name = 'messages'::regclass"
    " AND shardid = get_shard_id_for_distribution_column('messages', {})"
)
LATER = (
    "SET citus.enable_ddl_propagation = off; CREATE OR REPLACE FUNCTION queuestats_local.history_clock()"
    " RETURNS timestamp with time zone LANGUAGE sql STABLE AS $$ SELECT now() + interval '3 minutes' $$"
)


async def differences(database: Distributed) -> list[Difference]:
    """Of all shards: those that are not counted yet are counted first."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (verified := await compared(database)).not_compared:
            for node in (1, 2):
                await database.run("SELECT queuestats_local.settle()", node)
    return verified.differences


async def totals(service: Database) -> dict[int, int]:
    """Of every sender, from the counters; a shard that has just moved is waited for."""
    reader = CounterReader(service)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(ServiceError):
                reports = successful(await reader.read([StatsQuery(each) for each in SENDERS]))
                rows = {sender: each.rows[0] for sender, each in zip(SENDERS, reports, strict=True)}
                return {sender: row.total for sender, row in rows.items() if row.total}
            await asyncio.sleep(0.1)


async def truth(database: Distributed) -> dict[int, int]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        rows = await connection.fetch("SELECT sender_id, count(*) FROM messages GROUP BY sender_id")
        return {row["sender_id"]: row["count"] for row in rows}
    finally:
        await connection.close()


@asynccontextmanager
async def serving(database: Distributed) -> AsyncIterator[Database]:
    """A pool of the service, and its folds."""
    url = database.service_url
    async with open_pool(url, pool_size=3) as service, open_pool(url) as folding, open_pool(url) as settling:
        tasks = [asyncio.create_task(fold_forever(folding)), asyncio.create_task(count_forever(settling))]
        try:
            yield service
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def writers(database: Distributed, nodes: tuple[int, ...] = (0, 1, 2)) -> AsyncIterator[Callable[[], int]]:
    """Whole lives of messages through each of the nodes; yields a function that counts the statements that ran."""
    is_over, statements = False, 0

    async def write(node: int) -> None:
        nonlocal statements
        chance = random.Random(node)
        connection = await asyncpg.connect(database.at(database.nodes[node]))
        while not is_over:
            one, other = chance.choice(SENDERS), chance.choice(SENDERS)
            with suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                async with connection.transaction():
                    await connection.execute(
                        "INSERT INTO messages (sender_id, recipient) SELECT $1, 'x' FROM generate_series(1, 5)", one
                    )
                    await connection.execute(
                        "UPDATE messages SET status = 'proc' WHERE sender_id = $1 AND status = 'new' AND id % 3 = 0",
                        other,
                    )
                    if chance.random() < 0.2:
                        raise asyncpg.PostgresError("taken back")
                await connection.execute("DELETE FROM messages WHERE sender_id = $1 AND status = 'proc'", other)
                statements += 1
            if connection.is_closed():
                with suppress(OSError, asyncpg.PostgresError):
                    connection = await asyncpg.connect(database.at(database.nodes[node]))
            await asyncio.sleep(0.01)
        await connection.close()

    tasks = [asyncio.create_task(write(each)) for each in nodes]
    try:
        yield lambda: statements
    finally:
        is_over = True
        await asyncio.gather(*tasks)


@asynccontextmanager
async def clients(database: Distributed) -> AsyncIterator[list[int]]:
    """A client that asks for one sender after the other, through a service of its own; gives the number of answers.

    An answer that fails fails the test.
    """
    is_over, answers = False, [0]

    async def ask_on() -> None:
        statistics = Statistics(service, Settings(database_url=database.service_url))
        chance = random.Random(1)
        while not is_over:
            await statistics.run(StatsQuery(chance.choice(SENDERS), grouping=chance.choice(list(Grouping))))
            answers[0] += 1

    async with open_pool(database.service_url, pool_size=3) as service:
        asking = asyncio.create_task(ask_on())
        try:
            yield answers
        finally:
            is_over = True
            await asking


async def move_shard_of(sender_id: int, distributed: Distributed) -> int:
    """To the other worker: the port of that."""
    shard = await distributed.run(f"SELECT get_shard_id_for_distribution_column('messages', {sender_id})")
    origin: int = await distributed.run(f"SELECT nodeport FROM citus_shards WHERE shardid = {shard}")
    target = distributed.nodes[1].port + distributed.nodes[2].port - origin
    await distributed.run(
        f"SELECT citus_move_shard_placement({shard}, '127.0.0.1', {origin}, '127.0.0.1', {target},"
        " shard_transfer_mode := 'block_writes')"
    )
    return target


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.1)


async def test_a_live_queue_is_distributed_and_every_command_works_on_it_or_says_what_to_do(
    undistributed: Distributed,
) -> None:
    await undistributed.run(INSERT.format(900))
    await undistributed.run("SELECT queuestats.fold()")
    await undistributed.run(INSERT.format(90))
    given = {
        "QUEUESTATS_DATABASE_URL": undistributed.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": undistributed.owner_url,
    }
    run = partial(queuestats, **given)
    for _ in range(2):
        done = run("migrate", "--distribute", "--shards", str(SHARDS))
        assert done.returncode == 0, done.stderr
        assert "The schema is current." in done.stdout

    await undistributed.run("UPDATE messages SET status = 'hold' WHERE sender_id = 7", node=1)
    asked = run("stats", "--sender", "7", "--group", "account", "--json")
    assert [(row["account_id"], row["hold"]) for row in msgspec.json.decode(asked.stdout)] == [(0, 33)]
    largest = run("top", "--json", "--limit", "100")
    assert {row["sender_id"]: row["total"] for row in msgspec.json.decode(largest.stdout)} == dict.fromkeys(SENDERS, 33)
    for command in (("verify",), ("doctor",), ("migrate", "--check"), ("fold",), ("psql", "-qc", "SELECT 1")):
        done = run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert run("hold", "--sender", "8").stdout.startswith("33 messages held.")
    assert [row["messages"] for row in msgspec.json.decode(run("holds", "--json").stdout)] == [33]
    assert run("release", "--sender", "8").stdout.startswith("33 messages released.")
    assert run("purge", "--sender", "9", "--yes").stdout.startswith("33 messages removed.")
    assert [row["action"] for row in msgspec.json.decode(run("jobs", "--json").stdout)] == ["release", "hold", "purge"]
    log = msgspec.json.decode(run("audit", "--json", "--limit", "4").stdout)
    assert [row["action"] for row in log] == ["finish", "purge", "release", "hold"]
    assert run("explain", "--sender", "7").stdout.startswith("As intended: sql/queries/from_counters/total.sql")
    recounted = run("stats", "--sender", "7", "--group", "account", "--from-messages", "--json")
    assert recounted.stdout == asked.stdout

    await undistributed.run(f"COMMENT ON DATABASE {undistributed.name} IS 'queuestats: disposable'")
    await undistributed.run("TRUNCATE messages")
    assert await truth(undistributed) == {}
    assert await differences(undistributed) == []
    seeded = run("seed", "--messages", "1000", "--replace")
    assert seeded.returncode == 0, seeded.stderr
    assert sum((await truth(undistributed)).values()) == 1000
    assert await differences(undistributed) == []
    simulated = run("simulate", "--rate", "100", "--seconds", "2", "--senders", "20")
    assert simulated.returncode == 0, simulated.stderr
    assert await differences(undistributed) == []
    # The purge has ended; the other jobs wait for a service.
    (pruned,) = msgspec.json.decode(run("prune", "--older-than", "1s", "--dry-run", "--json").stdout)
    assert pruned["jobs"] == 1
    assert run("prune", "--older-than", "1s").returncode == 0
    assert [row["action"] for row in msgspec.json.decode(run("jobs", "--json").stdout)] == ["release", "hold"]


async def test_changes_that_no_trigger_recorded_are_reported_and_repaired(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    shard = await distributed.run("SELECT get_shard_id_for_distribution_column('messages', 7)")
    node = await distributed.run(f"SELECT nodeport FROM citus_shards WHERE shardid = {shard}")
    (number,) = [index for index, each in enumerate(distributed.nodes) if each.port == node]
    await distributed.run("DELETE FROM queuestats_local.deltas WHERE sender_id = 7", number)
    assert {each.sender_id for each in await differences(distributed)} == {7}
    async with connect(distributed.owner_url) as connection:
        verified = await verify_database(connection, distributed.owner_url, None, is_repairing=True)
    assert verified.differences
    assert verified.left == []
    assert verified.not_compared == []
    assert await differences(distributed) == []


@pytest.mark.parametrize(
    ("change", "grouping"),
    [
        ("UPDATE queuestats_local.bounds SET new = now() + interval '1 day' WHERE sender_id = 7", "oldest"),
        ("UPDATE queuestats_local.history SET new_counts = array_fill(9, ARRAY[cardinality(numbers)])", "history"),
    ],
)
async def test_wrong_bounds_and_a_wrong_history_of_a_node_are_found_and_repaired(
    distributed: Distributed, change: str, grouping: str
) -> None:
    await distributed.run(INSERT.format(300))
    port = await distributed.run(PORT_OF.format(7))
    (node,) = [number for number, each in enumerate(distributed.nodes) if each.port == port]
    await distributed.run("SELECT queuestats_local.fold(1000, 50)", node)
    # The minute of the changes is over, so they are rolled up.
    await distributed.execute(LATER, node)
    await distributed.run("SELECT queuestats_local.roll_up_history(100000, '1 day', '7 days', '90 days')", node)
    assert await differences(distributed) == []
    await distributed.run(change, node)
    found = await differences(distributed)
    assert {each.grouping_set for each in found} == {grouping}
    async with connect(distributed.owner_url) as connection:
        assert (await verify_database(connection, distributed.owner_url, None, is_repairing=True)).left == []
    assert await differences(distributed) == []


async def test_answers_are_those_of_one_machine_also_for_many_senders_in_one_statement(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(600))
    async with serving(distributed) as service:
        assert await totals(service) == await truth(distributed)
        for grouping in Grouping:
            for sender, filters in ((7, {}), (8, {"account_id": 1}), (9, {"isp": "isp 1"}), (99, {})):
                report = await fetch_report(service, StatsQuery(sender, grouping=grouping, **filters))
                expected = 20 if sender == 7 else 0 if sender == 99 else None
                if expected is not None:
                    assert sum(row.total for row in report.rows) == expected
        report = await fetch_report(service, StatsQuery(7, account_ids=(0, 1, 2)))
        assert report.rows[0].total == 20
        largest = await fetch_top(service, TopQuery(Dimension.ISP, Measure.TOTAL, 5, 7))
        assert sum(int(row["total"]) for row in largest.rows) == 20


@pytest.mark.parametrize("mode", ["block_writes", "force_logical", "auto"])
async def test_a_shard_moves_under_writers_and_folds_and_nothing_is_lost(distributed: Distributed, mode: str) -> None:
    await distributed.run(INSERT.format(300))
    shards = "SELECT array_agg(shardid ORDER BY shardid) FROM citus_shards WHERE nodeport = {}"
    ports = [each.port for each in distributed.nodes]
    async with serving(distributed) as service:
        async with writers(distributed) as written, clients(distributed) as answers:
            for origin, target in ((ports[1], ports[2]), (ports[2], ports[1])):
                for shard in (await distributed.run(shards.format(origin)))[:2]:
                    await distributed.run(
                        f"SELECT citus_move_shard_placement({shard}, '127.0.0.1', {origin}, '127.0.0.1', {target},"
                        f" shard_transfer_mode := '{mode}')"
                    )
                    assert await differences(distributed) == []
            before = written()
            await until(lambda: _more_than(written, before))
        assert answers[0] > 0
        assert await totals(service) == await truth(distributed)

        async def is_counted() -> bool:
            return not any([await distributed.unproved(each) for each in (1, 2)])

        await until(is_counted)
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def test_a_shard_that_has_moved_is_answered_from_its_messages_until_it_is_counted(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    ports = [each.port for each in distributed.nodes]
    # Nothing folds here, so nothing is counted after the move.
    async with open_pool(distributed.service_url) as service:
        statistics = Statistics(service, Settings(database_url=distributed.service_url))
        before = await totals(service)
        target = await move_shard_of(7, distributed)
        await distributed.run("INSERT INTO messages (sender_id, account_id, isp, recipient) VALUES (7, 1, 'b', 'x')")
        assert await distributed.unproved(ports.index(target)) == ["unattached"]
        # Of one statement: a shard that is counted, and one that is not.
        reports = await CounterReader(service).read([StatsQuery(each) for each in SENDERS])
        uncounted = {sender for sender, each in zip(SENDERS, reports, strict=True) if isinstance(each, Uncounted)}
        assert 7 in uncounted
        assert len(uncounted) < len(SENDERS)
        outcomes = await asyncio.gather(*(statistics.run(StatsQuery(each)) for each in SENDERS))
        found = {sender: each.result.rows[0].total for sender, each in zip(SENDERS, outcomes, strict=True)}
        assert found == {**before, 7: before[7] + 1}
        report = (await statistics.run(StatsQuery(7, grouping=Grouping.ACCOUNT, isp="b"))).result
        assert [(row.account_id, row.isp, row.new, row.total) for row in report.rows] == [(1, "", 1, 1)]


async def test_a_shard_that_returns_before_a_service_notices_is_counted_again(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    for _ in range(2):
        await move_shard_of(7, distributed)
    await distributed.run("INSERT INTO messages (sender_id, recipient) VALUES (7, 'x')")
    async with open_pool(distributed.service_url) as service:
        assert (await fetch_report(service, StatsQuery(7))).rows[0].total == 11
    async with serving(distributed) as service:
        for node in (1, 2):
            await until(partial(_is_settled, distributed, node))
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def test_a_sender_whose_shard_was_split_is_looked_up_again(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    async with serving(distributed) as service:
        statistics = Statistics(service, Settings(database_url=distributed.service_url))
        assert (await statistics.run(StatsQuery(7))).result.rows[0].total == 10
        await distributed.run(
            "SELECT isolate_tenant_to_new_shard('messages', 7, shard_transfer_mode => 'block_writes')"
        )
        assert (await statistics.run(StatsQuery(7))).result.rows[0].total == 10
        for node in (1, 2):
            await until(partial(_is_settled, distributed, node))
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def test_metrics_are_those_of_all_nodes_that_answer(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    async with open_pool(distributed.service_url) as service:
        control = Control(service, service, 1000)
        measured = await control.measure()
        deltas = measured["pending_deltas"] or 0
        assert deltas > 0
        assert measured["silent_nodes"] == 0
        victim = distributed.nodes[2]
        victim.run("pg_ctl", "-D", victim.folder, "-m", "immediate", "-w", "stop")
        try:
            there = await control.measure()
        finally:
            victim.start(SETTINGS)
        assert there["silent_nodes"] == 1
        assert 0 < (there["pending_deltas"] or 0) < deltas


async def test_without_its_coordinator_nothing_is_answered_nothing_is_lost_and_writers_go_on(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    coordinator = distributed.nodes[0]
    async with serving(distributed) as service:
        await totals(service)
        async with writers(distributed, (1, 2)) as written:
            coordinator.run("pg_ctl", "-D", coordinator.folder, "-m", "immediate", "-w", "stop")
            try:
                before = written()
                await until(lambda: _more_than(written, before))
                with pytest.raises(Unavailable):
                    await fetch_report(service, StatsQuery(7))
            finally:
                coordinator.start(SETTINGS)
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def _more_than(written: Callable[[], int], before: int) -> bool:
    return written() > before + 20


async def test_a_rebalance_spreads_the_shards_and_the_counts_follow(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    await distributed.run(f"SELECT citus_drain_node('127.0.0.1', {distributed.nodes[2].port}, 'block_writes')")
    await distributed.run(
        f"SELECT citus_set_node_property('127.0.0.1', {distributed.nodes[2].port}, 'shouldhaveshards', true)"
    )
    async with serving(distributed) as service, writers(distributed):
        await distributed.run("SELECT rebalance_table_shards('messages', shard_transfer_mode := 'block_writes')")
        assert await distributed.run("SELECT count(DISTINCT nodeport) FROM citus_shards") == 2
        await totals(service)
        assert await differences(distributed) == []
    async with serving(distributed) as service:
        assert await totals(service) == await truth(distributed)


async def test_a_node_that_dies_affects_only_its_senders_and_is_exact_when_it_returns(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    victim = distributed.nodes[2]
    async with serving(distributed) as service:
        await totals(service)
        async with writers(distributed, (0, 1)) as written:
            before = written()
            await until(lambda: _more_than(written, before))
            victim.run("pg_ctl", "-D", victim.folder, "-m", "immediate", "-w", "stop")
            try:
                lost = await distributed.run(
                    "SELECT array_agg(DISTINCT sender) FROM generate_series(1, 30) AS sender, citus_shards"
                    " WHERE shardid = get_shard_id_for_distribution_column('messages', sender)"
                    f" AND nodeport = {victim.port}"
                )
                reports = await CounterReader(service).read([StatsQuery(each) for each in SENDERS])
                away = [sender for sender, each in zip(SENDERS, reports, strict=True) if isinstance(each, Unavailable)]
                assert away == lost
                assert 0 < len(away) < len(SENDERS)
                verified = await compared(distributed)
                assert verified.differences == []
                assert [each.node for each in verified.not_compared] == [f"127.0.0.1:{victim.port}"]
            finally:
                victim.start(SETTINGS)
        # What was in doubt is settled by the coordinator's record.
        await distributed.run("SELECT recover_prepared_transactions()")
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def test_a_release_with_other_functions_replaces_what_the_nodes_have(distributed: Distributed) -> None:
    former = """
        SET citus.enable_ddl_propagation = off;
        DROP FUNCTION queuestats_local.known;
        CREATE FUNCTION queuestats_local.known() RETURNS text RETURN '';
        DROP VIEW queuestats_local.trusted_watermarks;
        CREATE VIEW queuestats_local.trusted_watermarks AS SELECT sender_id AS sender FROM queuestats_local.watermarks;
        ALTER TABLE queuestats_local.deltas DROP COLUMN net;
    """
    await distributed.run(INSERT.format(90))
    for node in (1, 2):
        await distributed.execute(former, node)
    await bring_up_nodes(distributed.owner_url, distributed.service_url, lambda what: None)
    async with open_pool(distributed.service_url) as service:
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def _is_settled(distributed: Distributed, node: int) -> bool:
    return await distributed.unproved(node) == []


async def test_without_citus_or_elsewhere_than_in_public_it_is_a_sentence(database: Any) -> None:
    with pytest.raises(CommandError, match="has no Citus"):
        await distribute(database.owner_url, 4, lambda what: None)


async def test_a_distribution_that_was_cut_short_answers_nothing_and_goes_on(undistributed: Distributed) -> None:
    await undistributed.run(INSERT.format(90))
    async with open_pool(undistributed.service_url) as service:
        statistics = Statistics(service, Settings(database_url=undistributed.service_url))
        assert (await statistics.run(StatsQuery(7))).result.rows[0].total == 3
        await distribute(undistributed.owner_url, SHARDS, lambda what: None)
        # One that still takes it for a queue on one machine, and one that begins now.
        with pytest.raises(Unavailable):
            await statistics.run(StatsQuery(7))
        with pytest.raises(Unavailable):
            await fetch_report(service, StatsQuery(7))
        await migrate(undistributed.owner_url, undistributed.service_url)
        await bring_up_nodes(undistributed.owner_url, undistributed.service_url, lambda what: None)
        assert (await fetch_report(service, StatsQuery(7))).rows[0].total == 3


async def test_the_tables_of_a_node_have_the_storage_options_of_one_machine(distributed: Distributed) -> None:
    options = (
        "SELECT json_object_agg(relname, reloptions ORDER BY relname)::text FROM pg_class"
        " WHERE relnamespace = '{}'::regnamespace AND reloptions IS NOT NULL AND relkind = 'r'"
    )
    one_machine = msgspec.json.decode(await distributed.run(options.format("queuestats")))
    assert one_machine["counters"]
    for node in (1, 2):
        assert msgspec.json.decode(await distributed.run(options.format("queuestats_local"), node)) == one_machine

"""Shards that move, split and are emptied: what the catalog of a node shows in between, and what is answered then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest

from service.errors import Unavailable
from service.model import Dimension, Measure, StatsQuery, TopQuery
from service.queue.stats import CounterReader, Statistics, fetch_report
from service.queue.top import fetch_top
from service.settings import Settings
from tests.citus.conftest import Distributed
from tests.citus.test_citus import (
    INSERT,
    SENDERS,
    clients,
    differences,
    move_shard_of,
    serving,
    totals,
    truth,
    until,
    writers,
)
from tests.conftest import open_pool, successful

SENDER = 7
FOREIGN = (
    "SELECT count(*) FROM queuestats_local.{} AS kept WHERE sender_id > 0 AND NOT EXISTS"
    " (SELECT FROM queuestats_local.placed() WHERE worker_hash(kept.sender_id) BETWEEN lowest AND highest)"
)


class Move:
    """A move of the shard of SENDER to the other worker, numbers of nodes: `source`, `target`."""

    def __init__(self, database: Distributed, shard: int, source: int) -> None:
        self.database, self.shard, self.source, self.target = database, shard, source, 3 - source
        self._task: asyncio.Task[None] | None = None

    async def start(self, mode: str, settings: str = "SELECT") -> None:
        ports = [each.port for each in self.database.nodes]
        mover = await asyncpg.connect(self.database.owner_url)
        self.pid = mover.get_server_pid()

        async def move() -> None:
            try:
                await mover.execute(
                    f"{settings}; SELECT citus_move_shard_placement({self.shard}, '127.0.0.1', {ports[self.source]},"
                    f" '127.0.0.1', {ports[self.target]}, shard_transfer_mode := '{mode}')"
                )
            finally:
                await mover.close()

        self._task = asyncio.create_task(move())

    @property
    def is_over(self) -> bool:
        return self._task is None or self._task.done()

    async def end(self) -> None:
        assert self._task
        await self._task


async def a_move(database: Distributed) -> Move:
    shard = await database.run(f"SELECT get_shard_id_for_distribution_column('messages', {SENDER})")
    port = await database.run(f"SELECT nodeport FROM citus_shards WHERE shardid = {shard}")
    return Move(database, shard, [each.port for each in database.nodes].index(port))


async def prepared(database: Distributed, node: int) -> list[str]:
    gids = "SELECT array_agg(gid) FROM pg_prepared_xacts WHERE database = current_database()"
    return await database.run(gids, node) or []


@asynccontextmanager
async def held_before_its_end(move: Move, mode: str) -> AsyncIterator[None]:
    """Within, the move is over on the target, and prepared on the source: the coordinator waits for a standby."""
    database = move.database
    await database.run("ALTER SYSTEM SET synchronous_standby_names = 'missing'")
    await database.run("SELECT pg_reload_conf()")

    async def is_prepared() -> bool:
        return bool(await prepared(database, move.source) and await prepared(database, move.target))

    try:
        await until(partial(_has_setting, database, "missing"))
        await move.start(mode, "SET synchronous_commit = 'remote_apply'")
        await until(is_prepared)
        for gid in await prepared(database, move.target):
            await database.run(f"COMMIT PREPARED '{gid}'", move.target)
        yield
    finally:
        await database.run("ALTER SYSTEM RESET synchronous_standby_names")
        await database.run("SELECT pg_reload_conf()")
        await move.end()


async def _has_setting(database: Distributed, value: str) -> bool:
    return bool(await database.run("SHOW synchronous_standby_names") == value)


@pytest.mark.parametrize("mode", ["block_writes", "force_logical"])
async def test_between_the_two_ends_of_a_move_no_answer_lacks_what_was_written_at_the_target(
    distributed: Distributed, mode: str
) -> None:
    await distributed.run(INSERT.format(300))
    move = await a_move(distributed)
    async with open_pool(distributed.service_url) as service:
        before = await totals(service)
        async with held_before_its_end(move, mode):
            insert = f"INSERT INTO messages (sender_id, recipient) VALUES ({SENDER}, 'written at the target')"
            await distributed.run(insert, move.target)
            # What a node without proof would answer.
            kept = f"SELECT sum(total) FROM queuestats_local.sender_totals WHERE sender_id = {SENDER}"
            pending = f"SELECT sum(new) FROM queuestats_local.deltas WHERE sender_id = {SENDER}"
            stale = (await distributed.run(kept, move.source) or 0) + (await distributed.run(pending, move.source) or 0)
            assert stale == before[SENDER] == 10
            statistics = Statistics(service, Settings(database_url=distributed.service_url))
            with pytest.raises(Unavailable):
                await fetch_report(service, StatsQuery(SENDER))
            with pytest.raises(Unavailable):
                await statistics.run(StatsQuery(SENDER))
            with pytest.raises(Unavailable):
                await fetch_top(service, TopQuery(Dimension.SENDER, Measure.TOTAL, 5))
            # Others of the same statement are answered.
            reports = await CounterReader(service).read([StatsQuery(each) for each in SENDERS])
            away = {sender for sender, each in zip(SENDERS, reports, strict=True) if isinstance(each, Unavailable)}
            assert SENDER in away
            assert len(away) < len(SENDERS)
        assert (await statistics.run(StatsQuery(SENDER))).result.rows[0].total == 11
    async with serving(distributed) as service:
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


@asynccontextmanager
async def held_while_it_copies(move: Move) -> AsyncIterator[None]:
    """Within, the move waits for a table of the name that the copy shall have."""
    holder = await asyncpg.connect(move.database.at(move.database.nodes[move.target]))
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SET LOCAL citus.enable_ddl_propagation = off")
        await holder.execute(f"CREATE TABLE public.messages_{move.shard} ()")
        await move.start("block_writes")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"

        async def is_waiting() -> bool:
            return bool(await move.database.run(waiting, move.target))

        await until(is_waiting)
        yield
        await transaction.rollback()
    finally:
        await holder.close()


async def test_while_a_blocking_move_copies_and_after_it_was_cancelled_the_counters_answer(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    move = await a_move(distributed)
    async with open_pool(distributed.service_url) as service:
        before = await totals(service)
        async with held_while_it_copies(move):
            reports = await CounterReader(service).read([StatsQuery(each) for each in SENDERS])
            assert [each.rows[0].total for each in successful(reports)] == list(before.values())
            assert not move.is_over
            await distributed.run(f"SELECT pg_cancel_backend({move.pid})")
        with pytest.raises(asyncpg.PostgresError):
            await move.end()
        # As an aborted transaction leaves the row of a placement.
        touched = f"UPDATE pg_dist_placement SET shardlength = 0 WHERE shardid = {move.shard}"
        await distributed.execute(f"BEGIN; {touched}; ROLLBACK", move.source)
        xmax = f"SELECT xmax::text FROM pg_dist_placement WHERE shardid = {move.shard}"
        assert await distributed.run(xmax, move.source) != "0"
        assert await distributed.unproved(move.source) == []
        (report,) = successful(await CounterReader(service).read([StatsQuery(SENDER)]))
        assert report.rows[0].total == 10


async def test_what_a_shard_leaves_behind_is_deleted_and_not_listed(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    largest = TopQuery(Dimension.SENDER, Measure.TOTAL, 100)
    async with open_pool(distributed.service_url) as service:
        source = 3 - [each.port for each in distributed.nodes].index(await move_shard_of(SENDER, distributed))
        assert await distributed.run(FOREIGN.format("deltas"), source) > 0
        with pytest.raises(Unavailable):
            await fetch_top(service, largest)
    async with serving(distributed) as service:
        for node in (1, 2):
            await until(partial(_is_settled, distributed, node))
        for table in ("deltas", "counters", "sender_totals", "watermarks", "bounds"):
            assert await distributed.run(FOREIGN.format(table), source) == 0
        rows = (await fetch_top(service, largest)).rows
        assert {row["sender_id"]: row["total"] for row in rows} == await truth(distributed)


async def split(distributed: Distributed) -> None:
    """The shard of SENDER, onto both nodes."""
    connection = await asyncpg.connect(distributed.owner_url)
    try:
        await connection.execute(
            "DO $$ DECLARE own record; BEGIN"
            " SELECT * INTO own FROM pg_dist_shard INNER JOIN citus_shards USING (shardid)"
            f" WHERE shardid = get_shard_id_for_distribution_column('messages', {SENDER});"
            " PERFORM citus_split_shard_by_split_points("
            "own.shardid, ARRAY[((own.shardminvalue::bigint + own.shardmaxvalue::bigint) / 2)::text],"
            " ARRAY(SELECT nodeid FROM pg_dist_node WHERE groupid <> 0 ORDER BY nodeport <> own.nodeport),"
            " 'block_writes'); END $$"
        )
    finally:
        await connection.close()


async def test_halves_of_a_split_are_compared_while_the_table_of_the_whole_is_still_there(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    await split(distributed)
    for node in (1, 2):
        while {*await distributed.unproved(node)} - {"moved"}:
            await distributed.run("SELECT queuestats_local.settle()", node)
    assert await differences(distributed) == []


async def test_halves_of_a_split_keep_their_counts_on_both_nodes(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    async with serving(distributed) as service, writers(distributed), clients(distributed) as answers:
        await split(distributed)
        before = answers[0]
        await until(lambda: _answered(answers, before))
        for node in (1, 2):
            await until(partial(_is_settled, distributed, node))
        assert await differences(distributed) == []
        await totals(service)
    async with serving(distributed) as service:
        assert await totals(service) == await truth(distributed)
    for node in (1, 2):
        assert await distributed.run(FOREIGN.format("counters"), node) == 0


async def test_a_trigger_of_a_shard_that_was_switched_off_is_noticed_and_what_it_missed_is_counted(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    move = await a_move(distributed)
    alter = (
        "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on;"
        f" ALTER TABLE messages_{move.shard}"
    )
    async with open_pool(distributed.service_url) as service:
        statistics = Statistics(service, Settings(database_url=distributed.service_url))
        await distributed.execute(f"{alter} DISABLE TRIGGER local_inserted", move.source)
        await distributed.run(f"INSERT INTO messages (sender_id, recipient) VALUES ({SENDER}, 'unseen')")
        assert await distributed.unproved(move.source) == ["unattached"]
        assert (await statistics.run(StatsQuery(SENDER))).result.rows[0].total == 11
        await distributed.execute(f"{alter} ENABLE ALWAYS TRIGGER local_inserted", move.source)
        assert (await statistics.run(StatsQuery(SENDER))).result.rows[0].total == 11
    async with serving(distributed) as service:
        await until(partial(_is_settled, distributed, move.source))
        assert await totals(service) == await truth(distributed)
    assert await differences(distributed) == []


async def _answered(answers: list[int], before: int) -> bool:
    return answers[0] > before + 20


async def _is_settled(distributed: Distributed, node: int) -> bool:
    return await distributed.unproved(node) == []

"""TRUNCATE messages: it has no transition table, is not MVCC-safe, and can happen at any moment."""

import asyncio
from typing import Any

import asyncpg
import pytest

from service.model import StatsQuery
from tests.counters.clock import Clock
from tests.counters.conftest import Connect
from tests.counters.observing import answer, drift, fold, row_count, snapshot

INSERT = "INSERT INTO messages (sender_id, recipient) SELECT 1, 'x' FROM generate_series(1, $1)"


async def total(connection: Any) -> int:
    (row,) = await answer(connection, StatsQuery(1))
    return row.total


async def is_waiting(observer: Any, other: Any) -> None:
    """Waits until the other connection waits for a lock."""
    pid = other.get_server_pid()
    while not await observer.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0 FROM pg_sleep(0.01)", pid):
        continue


async def test_it_clears_the_counters_with_the_messages_and_a_rollback_restores_both(connect: Connect) -> None:
    connection = await connect()
    await connection.execute(INSERT, 10)
    await fold(connection, mark_every=0.001)
    await connection.execute(INSERT, 5)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("TRUNCATE messages")
    assert await total(connection) == 0
    await connection.execute(INSERT, 2)
    assert await total(connection) == 2
    await transaction.rollback()
    assert await total(connection) == 15

    await connection.execute("TRUNCATE messages RESTART IDENTITY")
    assert await total(connection) == 0
    assert [await row_count(connection, table) for table in ("queuestats.counters", "queuestats.deltas")] == [0, 0]
    await connection.execute(INSERT, 3)
    assert await total(connection) == 3


async def test_it_waits_for_a_concurrent_fold_and_clears_all_counts(connect: Connect) -> None:
    folder, other = await connect(), await connect()
    await folder.execute(INSERT, 1000)
    async with folder.transaction():
        await fold(folder, mark_every=0.001)
        truncating = asyncio.create_task(other.execute("TRUNCATE messages"))
        await is_waiting(folder, other)
    await truncating

    assert await total(folder) == 0
    assert await drift(folder) == []
    assert await row_count(folder, "queuestats.counters") == 0


async def test_a_fold_does_nothing_and_does_not_wait_while_it_is_not_committed(connect: Connect) -> None:
    folder, other = await connect(), await connect()
    await folder.execute(INSERT, 1000)
    async with other.transaction():
        await other.execute("TRUNCATE messages")
        assert await asyncio.wait_for(fold(folder), timeout=60) is None

    await fold(folder)
    assert await total(folder) == 0


async def test_the_counts_are_empty_after_it_has_waited_for_a_rebuild(connect: Connect) -> None:
    rebuilding, other = await connect(), await connect()
    await rebuilding.execute(INSERT, 1000)
    async with rebuilding.transaction():
        await rebuilding.execute("SELECT queuestats.rebuild()")
        truncating = asyncio.create_task(other.execute("TRUNCATE messages"))
        await is_waiting(rebuilding, other)
    await truncating

    assert await total(other) == 0
    assert await drift(other) == []


async def test_a_rebuild_that_waits_for_it_counts_nothing(connect: Connect) -> None:
    rebuilding, other = await connect(), await connect()
    await rebuilding.execute(INSERT, 1000)
    async with other.transaction():
        await other.execute("TRUNCATE messages")
        waiting = asyncio.create_task(rebuilding.execute("SELECT queuestats.rebuild()"))
        await is_waiting(other, rebuilding)
        await other.execute(INSERT, 3)
    await waiting

    assert await total(other) == 3
    assert await drift(other) == []


async def test_an_audit_that_began_first_is_no_drift(connect: Connect) -> None:
    auditor, other = await connect(), await connect()
    await auditor.execute(INSERT, 1000)
    await fold(auditor)
    async with snapshot(auditor):
        await auditor.fetchval("SELECT 1")
        truncating = asyncio.create_task(other.execute("TRUNCATE messages"))
        observer = await connect()
        await is_waiting(observer, other)
        assert await auditor.fetch("SELECT * FROM queuestats.audit()") == []
        assert await total(auditor) == 1000
    await truncating
    assert await drift(auditor) == []


@pytest.mark.parametrize("statement", ["TRUNCATE parents CASCADE", "TRUNCATE messages, parents"])
async def test_a_cascade_that_reaches_messages_clears_the_counters(connect: Connect, statement: str) -> None:
    connection = await connect()
    await connection.execute(
        "CREATE TABLE parents (id bigint PRIMARY KEY);"
        "ALTER TABLE messages ADD COLUMN parent_id bigint REFERENCES parents"
    )
    await connection.execute(INSERT, 10)
    await connection.execute(statement)

    assert await row_count(connection, "messages") == 0
    assert await total(connection) == 0
    assert await drift(connection) == []


async def test_readers_get_the_former_counts_without_a_wait_while_it_is_not_committed(connect: Connect) -> None:
    writer, reader = await connect(), await connect()
    await writer.execute(INSERT, 1000)
    await fold(writer, mark_every=0.001)
    async with writer.transaction():
        await writer.execute("TRUNCATE messages")
        await writer.execute(INSERT, 7)
        assert await asyncio.wait_for(total(reader), timeout=60) == 1000
        assert await total(writer) == 7
    assert await total(reader) == 7


async def test_it_does_not_wait_for_a_reader_of_the_counters_that_is_idle(connect: Connect) -> None:
    reader, other = await connect(), await connect()
    await other.execute(INSERT, 10)
    await fold(other, mark_every=0.001)
    async with reader.transaction(isolation="repeatable_read"):
        assert await total(reader) == 10
        await asyncio.wait_for(other.execute("TRUNCATE messages"), timeout=60)
        assert await total(other) == 0
        assert await total(reader) == 10


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_it_clears_counts_that_are_newer_than_the_snapshot_of_its_transaction(
    connect: Connect, isolation: str
) -> None:
    truncating, other = await connect(), await connect()
    async with truncating.transaction(isolation=isolation):
        await truncating.fetchval("SELECT 1")
        await other.execute(INSERT, 10)
        await fold(other, mark_every=0.001)
        await other.execute(INSERT, 5)
        await truncating.execute("TRUNCATE messages")
        await truncating.execute(INSERT, 3)
    assert await total(other) == 3
    assert await drift(other) == []


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_it_succeeds_if_a_rebuild_has_restarted_the_history_at_the_same_time(
    connect: Connect, isolation: str
) -> None:
    truncating, other = await connect(), await connect()
    await Clock(other).begin()
    await other.execute("DELETE FROM queuestats.history_begins")
    async with truncating.transaction(isolation=isolation):
        await truncating.fetchval("SELECT 1")
        await other.execute("SELECT queuestats.rebuild()")
        await truncating.execute("TRUNCATE messages")
    assert await total(other) == 0
    assert len(await other.fetch("SELECT FROM queuestats.history_begins")) == 1


async def test_the_watermarks_after_it_are_correct(connect: Connect) -> None:
    """An earlier open transaction, a hot sender, and deltas before and after the TRUNCATE."""
    open_, other = await connect(), await connect()
    transaction = open_.transaction()
    await transaction.start()
    await open_.fetchval("SELECT pg_current_xact_id()")
    for _ in range(3):
        await other.execute(INSERT, 10)
        await fold(other, mark_every=0.001, is_compacting=True)
    await other.execute(INSERT, 5)
    await other.execute("TRUNCATE messages")
    await other.execute(INSERT, 2)
    assert await total(other) == 2
    await open_.execute(INSERT, 4)
    await transaction.commit()
    assert await total(other) == 6
    for _ in range(3):
        await fold(other, 1, 0.001, is_compacting=True)
        assert await drift(other) == []
    assert await total(other) == 6


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_no_reader_waits_while_it_is_not_committed_in_a_transaction_with_one_snapshot(
    connect: Connect, isolation: str
) -> None:
    truncating, other = await connect(), await connect()
    await other.execute(INSERT, 10)
    await fold(other, mark_every=0.001)
    async with truncating.transaction(isolation=isolation):
        await truncating.execute(INSERT, 1)
        await truncating.execute("TRUNCATE messages")
        await truncating.execute(INSERT, 3)
        await other.execute("SET lock_timeout = '10ms'")
        assert await total(other) == 10
    assert await total(other) == 3
    assert await drift(other) == []


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_an_idle_reader_makes_it_an_error_in_one_snapshot_and_no_count_is_lost(
    connect: Connect, isolation: str
) -> None:
    truncating, reader, other = await connect(), await connect(), await connect()
    await other.execute(INSERT, 10)
    await fold(other, mark_every=0.001)
    async with reader.transaction():
        assert await total(reader) == 10
        with pytest.raises(asyncpg.LockNotAvailableError, match="can't be truncated while another transaction"):
            async with truncating.transaction(isolation=isolation):
                await truncating.execute("TRUNCATE messages")
        await other.execute(INSERT, 5)
    assert await total(other) == 15
    assert await drift(other) == []
    assert await row_count(other, "queuestats.fold_lock") == 0

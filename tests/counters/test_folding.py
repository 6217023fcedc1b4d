"""Hazards of folding: deltas that could be lost or counted twice."""

import asyncio
from typing import Any

import asyncpg
import pytest

from service.db import Database
from service.model import Grouping, StatsQuery
from service.queue.stats import fetch_report
from tests.counters.conftest import Connect
from tests.counters.observing import answer, drift, fold, row_count

INSERT = (
    "INSERT INTO messages (sender_id, campaign_id, recipient) SELECT 1, n % 3, 'x' FROM generate_series(1, $1) AS n"
)
# A watermark at every fold.
ALWAYS = 0.001


async def total(connection: Any, sender_id: int = 1) -> int:
    (row,) = await answer(connection, StatsQuery(sender_id))
    return row.total


async def test_commits_in_another_order_than_their_ids_lose_no_delta(connect: Connect) -> None:
    first, second, folder = [await connect() for _ in range(3)]
    slow = first.transaction()
    await slow.start()
    await first.execute(INSERT, 5)
    await second.execute(INSERT, 7)
    await fold(folder, mark_every=ALWAYS)
    await slow.commit()

    assert await total(second) == 12
    await fold(folder, mark_every=ALWAYS)
    assert await total(second) == 12
    assert await drift(folder) == []


@pytest.mark.parametrize("is_assigned_before", [True, False])
async def test_a_transaction_that_commits_long_after_later_ones_were_folded_and_compacted_is_counted(
    connect: Connect, is_assigned_before: bool
) -> None:
    forgotten, busy, folder = [await connect() for _ in range(3)]
    transaction = forgotten.transaction()
    await transaction.start()
    if is_assigned_before:
        await forgotten.fetchval("SELECT pg_current_xact_id()")
    else:
        await forgotten.execute(INSERT, 5)
    for _ in range(20):
        await busy.execute(INSERT, 7)
        await fold(folder, 3, ALWAYS, is_compacting=True)
        assert await total(busy) % 7 == 0
    if is_assigned_before:
        await forgotten.execute(INSERT, 5)
    await transaction.commit()

    assert await total(busy) == 20 * 7 + 5
    assert await drift(folder) == []
    await fold(folder, mark_every=ALWAYS, is_compacting=True)
    await fold(folder, mark_every=ALWAYS, is_compacting=True)
    assert await row_count(folder, "queuestats.deltas") == 0
    assert await total(busy) == 20 * 7 + 5
    assert await drift(folder) == []


async def test_a_concurrent_fold_does_nothing_and_does_not_wait(connect: Connect) -> None:
    first, second = await connect(), await connect()
    await first.execute(INSERT, 5)
    async with first.transaction():
        assert (await fold(first))["folded"] == 3
        assert await asyncio.wait_for(fold(second), timeout=60) is None
        assert await total(second) == 5

    assert (await fold(second))["folded"] == 0
    assert await total(second) == 5


async def test_a_fold_that_is_rolled_back_keeps_every_delta(connect: Connect) -> None:
    folder, reader = await connect(), await connect()
    await folder.execute(INSERT, 5)
    transaction = folder.transaction()
    await transaction.start()
    await fold(folder, mark_every=ALWAYS, is_compacting=True)
    assert await row_count(folder, "queuestats.deltas") == 0
    await transaction.rollback()

    assert await row_count(reader, "queuestats.deltas") == 3
    assert await total(reader) == 5


@pytest.mark.parametrize("is_compacting", [True, False])
async def test_readers_see_all_deltas_with_any_size_of_folds(
    connect: Connect, service: Database, is_compacting: bool
) -> None:
    folder = await connect()
    await folder.execute(INSERT, 30)
    await folder.execute("UPDATE messages SET status = 'proc' WHERE campaign_id = 1")
    for max_deltas in (1, 1, 2, 1, 5):
        await fold(folder, max_deltas, ALWAYS, is_compacting=is_compacting)
        (row,) = (await fetch_report(service, StatsQuery(1))).rows
        assert (row.new, row.proc, row.total) == (20, 10, 30)
        assert await drift(folder) == []


async def test_a_fold_with_a_limit_of_zero_hides_no_delta(connect: Connect) -> None:
    folder = await connect()
    for _ in range(2):  # the second one fills an epoch that can be compacted
        await folder.execute(INSERT, 5)
        await fold(folder, mark_every=ALWAYS)
    await folder.execute(INSERT, 5)
    await fold(folder, 0, ALWAYS, is_compacting=True)

    assert await total(folder) == 15
    assert await drift(folder) == []


async def test_an_old_snapshot_reads_the_same_before_and_after_folds_compacts_and_a_rebuild(connect: Connect) -> None:
    old, writer, folder = [await connect() for _ in range(3)]
    await writer.execute(INSERT, 30)
    await fold(folder, 2, ALWAYS)
    questions = [StatsQuery(1, grouping=grouping) for grouping in Grouping]
    async with old.transaction(isolation="repeatable_read"):
        before = [await answer(old, question) for question in questions]
        for _ in range(3):
            await writer.execute("UPDATE messages SET status = 'hold' WHERE campaign_id = 1")
            await writer.execute("DELETE FROM messages WHERE campaign_id = 2")
            await fold(folder, mark_every=ALWAYS, is_compacting=True)
        await folder.execute("SELECT queuestats.rebuild(1)")
        await folder.execute("SELECT queuestats.rebuild()")
        await folder.execute("VACUUM queuestats.counters, queuestats.deltas, queuestats.watermarks")
        assert [await answer(old, question) for question in questions] == before
        assert (await answer(writer, StatsQuery(1)))[0].hold == 10


async def test_a_counter_may_be_negative_between_folds_and_readers_never_see_it(connect: Connect) -> None:
    """A message is deleted by an older transaction than the one that inserted it, so its deletion is folded first."""
    older, newer, folder = [await connect() for _ in range(3)]
    async with older.transaction():
        await older.fetchval("SELECT pg_current_xact_id()")
        await newer.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')")
        await older.execute("DELETE FROM messages")
    await fold(folder, 1, ALWAYS)

    assert await folder.fetchval("SELECT min(new) FROM queuestats.counters") == -1
    assert await total(folder) == 0
    assert await answer(folder, StatsQuery(1, grouping=Grouping.ACCOUNT)) == []
    assert await drift(folder) == []
    for _ in range(2):
        await fold(folder, mark_every=ALWAYS, is_compacting=True)
    assert await row_count(folder, "queuestats.counters") == 0


async def test_a_fold_in_the_transaction_of_a_writer_folds_visible_deltas_and_later_ones_the_rest(
    connect: Connect,
) -> None:
    writer, reader = await connect(), await connect()
    await writer.execute(INSERT, 3)
    async with writer.transaction():
        await writer.execute(INSERT, 5)
        await fold(writer, mark_every=ALWAYS, is_compacting=True)
        await writer.execute(INSERT, 7)
        assert await total(writer) == 15
        assert await total(reader) == 3

    assert await total(reader) == 15
    await fold(reader, mark_every=ALWAYS, is_compacting=True)
    assert await total(reader) == 15
    assert await drift(reader) == []


async def test_writers_and_folds_in_subtransactions_are_exact(connect: Connect) -> None:
    connection, reader = await connect(), await connect()
    async with connection.transaction():
        for number in range(6):
            inner = connection.transaction()
            await inner.start()
            await connection.execute(INSERT, 3)
            await fold(connection, 2, ALWAYS, is_compacting=True)
            await (inner.rollback() if number % 2 else inner.commit())
        assert await total(connection) == 9

    assert await total(reader) == 9
    assert await drift(reader) == []


async def test_a_prepared_transaction_is_counted_when_it_is_committed(connect: Connect) -> None:
    writer, folder = await connect(), await connect()
    if await writer.fetchval("SHOW max_prepared_transactions") == "0":
        pytest.skip("this server has no prepared transactions")
    await writer.execute("BEGIN; INSERT INTO messages (sender_id, recipient) VALUES (1, 'x'); PREPARE TRANSACTION 'p'")
    await folder.execute(INSERT, 5)
    await fold(folder, mark_every=ALWAYS, is_compacting=True)
    await writer.execute("COMMIT PREPARED 'p'")

    assert await total(folder) == 6
    assert await drift(folder) == []


async def test_deltas_of_transactions_older_than_the_watermark_are_folded_in_parts(connect: Connect) -> None:
    """A fold that stops within the list of running transactions keeps the rest of the list."""
    late = [await connect() for _ in range(3)]
    busy, folder = await connect(), await connect()
    transactions = [each.transaction() for each in late]
    for each, transaction in zip(late, transactions, strict=True):
        await transaction.start()
        await each.execute(INSERT, 3)
    written_by = {int(await each.fetchval("SELECT pg_current_xact_id()::text")) for each in late}
    await busy.execute(INSERT, 7)
    await fold(folder, mark_every=ALWAYS)
    found = await folder.fetchrow("SELECT * FROM queuestats.trusted_watermarks WHERE sender_id = 1")
    assert written_by <= set(found["running"]), "the list may also have transactions of other databases of the server"
    assert max(found["running"]) < found["watermark"]
    for number, transaction in enumerate(reversed(transactions)):
        await transaction.commit()
        for max_deltas in (1, 2, 1):
            await fold(folder, max_deltas, ALWAYS, is_compacting=True)
            assert await total(busy) == 7 + 3 * (number + 1)
            assert await drift(folder) == []

    await fold(folder, mark_every=ALWAYS)
    assert await row_count(folder, "queuestats.deltas") == 0
    assert await total(busy) == 16


async def test_the_list_of_running_transactions_is_short_with_any_number_of_them(connect: Connect) -> None:
    many = [await connect() for _ in range(40)]
    folder = await connect()
    transactions = [each.transaction() for each in many]
    for each, transaction in zip(many, transactions, strict=True):
        await transaction.start()
        await each.execute(INSERT, 1)
    await folder.execute(INSERT, 3)
    await fold(folder, mark_every=ALWAYS)
    running = await folder.fetchval("SELECT running FROM queuestats.trusted_watermarks WHERE sender_id = 1")
    assert 0 < len(running) <= 32
    for transaction in transactions:
        await transaction.commit()
    assert await total(folder) == 43
    await fold(folder, mark_every=ALWAYS)
    assert await total(folder) == 43
    assert await drift(folder) == []


async def test_a_fold_hides_no_later_delta_of_its_own_transaction(connect: Connect) -> None:
    """Then the id of the transaction is below the xmax of its snapshot, and no snapshot lists its own transaction."""
    writer, other = await connect(), await connect()
    async with writer.transaction():
        await writer.fetchval("SELECT pg_current_xact_id()")
        await other.execute(INSERT, 5)
        await fold(writer, mark_every=ALWAYS)
        await writer.execute(INSERT, 7)
    for _ in range(2):
        assert await total(other) == 12
        assert await drift(other) == []
        await fold(other, mark_every=ALWAYS)


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
@pytest.mark.parametrize(
    "work", ["SELECT queuestats.fold()", "SELECT queuestats.compact()", "SELECT queuestats.rebuild()"]
)
async def test_folds_and_rebuilds_are_refused_in_a_snapshot_that_is_older_than_their_lock(
    connect: Connect, isolation: str, work: str
) -> None:
    folder = await connect()
    with pytest.raises(asyncpg.InvalidTransactionStateError, match="READ COMMITTED"):
        async with folder.transaction(isolation=isolation):
            await folder.execute(work)


async def test_counters_of_finished_campaigns_disappear(connect: Connect) -> None:
    connection = await connect()
    for _ in range(5):
        await connection.execute(INSERT, 30)
        await fold(connection, mark_every=ALWAYS, is_compacting=True)
        await connection.execute("UPDATE messages SET status = 'proc' WHERE id % 2 = 0")
        await fold(connection, mark_every=ALWAYS)
    assert await row_count(connection, "queuestats.counters") > 0
    await connection.execute("DELETE FROM messages WHERE campaign_id = 1")
    for _ in range(2):
        await fold(connection, mark_every=ALWAYS, is_compacting=True)
    assert await row_count(connection, "queuestats.counters WHERE campaign_id = 1") == 0

    await connection.execute("DELETE FROM messages")
    for _ in range(2):
        await fold(connection, mark_every=ALWAYS, is_compacting=True)
    assert await row_count(connection, "queuestats.counters") == 0
    assert await row_count(connection, "queuestats.deltas") == 0


async def test_counters_of_zero_are_deleted(connect: Connect) -> None:
    connection = await connect()
    for number in range(10):
        await connection.execute(INSERT, 9)
        await connection.execute("UPDATE messages SET isp = 'Gmail' WHERE id % 2 = 0")
        await fold(connection, mark_every=ALWAYS if number % 2 else 10**9, is_compacting=number % 3 == 0)
        await connection.execute("DELETE FROM messages WHERE id % 3 = 0")

    empty = "queuestats.counters WHERE (new, proc, retry, hold) = (0, 0, 0, 0)"
    assert await row_count(connection, empty) == 0

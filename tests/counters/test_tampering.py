"""Tables of counts that are changed by hand: `verify` detects reports that are wrong, now or after a fold."""

import random
from typing import Any

import asyncpg
import pytest

from service.counters.verify import find_differences, repair
from service.errors import Unavailable
from tests.counters.conftest import Connect
from tests.counters.observing import answer, compact, every_question, fold, scanned
from tests.oracle import Message, insert

SENDERS = (1, 2, 3)
QUESTIONS = every_question(SENDERS, (7,), (), ("Gmail",))
ROW = ("DELETE FROM queuestats.{} WHERE ctid = $1", "UPDATE queuestats.{} SET new = new + 1 WHERE ctid = $1")
OF_SENDER = (
    "DELETE FROM queuestats.watermarks WHERE sender_id = $1",
    "UPDATE queuestats.watermarks SET epoch = epoch + 1 WHERE sender_id = $1",
    "UPDATE queuestats.watermarks SET epoch = 0 WHERE sender_id = $1",
    "UPDATE queuestats.counters SET epoch = epoch + 1 WHERE sender_id = $1 AND epoch > 0",
    "DELETE FROM queuestats.counters WHERE sender_id = $1 AND epoch = 0",
    "DELETE FROM queuestats.sender_totals WHERE sender_id = $1",
    "INSERT INTO queuestats.counters SELECT sender_id, grouping_set, epoch + 2, account_id, campaign_id, isp, new,"
    " proc, retry, hold FROM queuestats.counters WHERE sender_id = $1 AND epoch = 0",
    "UPDATE queuestats.deltas SET xid = '3' WHERE sender_id = $1",
    "UPDATE queuestats.deltas SET sender_id = sender_id % 3 + 1 WHERE sender_id = $1",
)
# Counters of epoch 0 and the copy of them that top reads.
TOTALS = """
SELECT FROM (SELECT * FROM queuestats.counters WHERE grouping_set = 'total' AND epoch = 0) AS counter
FULL JOIN queuestats.sender_totals USING (sender_id)
WHERE coalesce(counter.new, 0) <> coalesce(sender_totals.new, 0)
  OR coalesce(counter.hold, 0) <> coalesce(sender_totals.hold, 0)
"""


async def fill(connection: Any, dice: random.Random) -> None:
    """Messages whose counts are in both epochs of hot senders, only in epoch 0, and in deltas."""
    for step in range(4):
        keys = [(dice.choice(SENDERS), dice.choice((0, 7)), dice.choice(("", "Gmail"))) for _ in range(6)]
        await insert(connection, [Message(sender, account, 0, isp, "hold") for sender, account, isp in keys])
        # Messages that have left: their counts add up to zero, in different epochs.
        await connection.execute("DELETE FROM messages WHERE sender_id = $1", dice.choice((1, 2, 3, 3, 3)))
        if step < 3:
            await fold(connection, mark_every=dice.choice((0.001, 5.0)))
        if step == dice.choice((0, 1)):
            await compact(connection, dice.choice((3, 40_000)))


async def tamper(connection: Any, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 3))):
        try:
            if dice.random() < 0.3:
                table = dice.choice(("counters", "deltas", "sender_totals"))
                rows = await connection.fetch(f"SELECT ctid FROM queuestats.{table} ORDER BY ctid")
                await connection.execute(dice.choice(ROW).format(table), dice.choice(rows)["ctid"])
            else:
                await connection.execute(dice.choice(OF_SENDER), dice.choice(SENDERS))
        except (asyncpg.UniqueViolationError, IndexError):
            continue


async def is_wrong(connection: Any) -> bool:
    try:
        asked = [await answer(connection, each) != await scanned(connection, each) for each in QUESTIONS]
    except Unavailable:
        # A count below zero.
        return True
    return any(asked) or bool(await connection.fetch(TOTALS))


async def will_be_wrong(connection: Any) -> bool:
    """Whether a report becomes wrong while senders become hot and epochs are compacted."""
    for _ in range(4):
        await insert(connection, [Message(each) for each in SENDERS])
        await fold(connection, mark_every=0.001)
        if await is_wrong(connection):
            return True
        await compact(connection)
    return False


@pytest.mark.parametrize("seed", range(10))
async def test_verify_finds_reports_that_are_wrong_and_those_that_a_fold_makes_wrong(
    connect: Connect, seed: int
) -> None:
    connection, dice = await connect(), random.Random(seed)
    for _ in range(8):
        await fill(connection, dice)
        assert await find_differences(connection, None) == []
        await tamper(connection, dice)
        found = await find_differences(connection, None)
        if not found:
            assert not await is_wrong(connection)
            assert not await will_be_wrong(connection)
        senders = sorted({each.sender_id for each in found})
        for each in senders:
            assert await find_differences(connection, each) != []
        await repair(connection, senders)


async def test_counters_of_an_epoch_that_no_watermark_names_are_a_difference(connect: Connect) -> None:
    """The next watermark of the sender would use this epoch again, and with it these counters."""
    connection = await connect()
    await insert(connection, [Message(1, isp="Gmail"), Message(1)])
    await fold(connection, mark_every=1e9)
    await connection.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')")
    await fold(connection, mark_every=0.001)
    await connection.execute("DELETE FROM messages")
    await fold(connection, mark_every=0.001)
    assert await find_differences(connection, None) == []
    await connection.execute(
        "DELETE FROM queuestats.watermarks WHERE sender_id = 1; DELETE FROM queuestats.sender_totals;"
        " UPDATE queuestats.counters SET new = 0 WHERE epoch = 0"
    )
    assert not await is_wrong(connection)
    found = await find_differences(connection, None)
    assert {(each.grouping_set, each.isp, each.counted) for each in found} >= {("total", "", 0), ("isp", "Gmail", 0)}
    assert await will_be_wrong(connection)
    await repair(connection, [1])
    assert await find_differences(connection, None) == []


async def test_a_delta_that_no_fold_processes_is_a_difference(connect: Connect) -> None:
    """A reader sees it until its sender has a watermark."""
    connection = await connect()
    await insert(connection, [Message(1)])
    await fold(connection, mark_every=0.001)
    await insert(connection, [Message(2)])
    await connection.execute("UPDATE queuestats.deltas SET xid = '3'")
    assert not await is_wrong(connection)
    found = await find_differences(connection, None)
    assert [(each.sender_id, each.status, each.counted, each.kept) for each in found] == [(2, "new", 0, 1)]
    assert await will_be_wrong(connection)
    await repair(connection, [2])
    assert await find_differences(connection, None) == []

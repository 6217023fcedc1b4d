"""The largest senders, accounts, campaigns and ISPs, and the senders with the oldest messages, compared with Python."""

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.cluster import Node
from service.counters.folding import DELTAS_PER_BOUND, Folder
from service.counters.raising import LONGEST_PAUSE_SECONDS
from service.db import load_statement
from service.errors import Unavailable
from service.model import Dimension, Measure, TopQuery
from service.queue.top import fetch_top
from tests.conftest import TestDatabase, open_pool
from tests.counters.observing import drift
from tests.oracle import STATUSES, Message, insert

MESSAGES = st.lists(
    st.builds(
        Message,
        sender_id=st.integers(1, 6),
        account_id=st.integers(0, 2),
        campaign_id=st.integers(0, 2),
        isp=st.sampled_from(["", "Gmail", "Yahoo"]),
        status=st.sampled_from(STATUSES),
    ),
    max_size=40,
)


def largest(messages: list[Message], query: TopQuery) -> list[dict[str, int | str]]:
    counts: dict[int | str, Counter[str]] = defaultdict(Counter)
    for message in messages:
        if query.sender_id in (None, message.sender_id):
            counts[getattr(message, query.by.column)][message.status] += 1
    rows = [
        {query.by.column: key, **{each: by_status[each] for each in STATUSES}, "total": by_status.total()}
        for key, by_status in counts.items()
    ]
    found = [row for row in rows if row[query.order]]
    found.sort(key=lambda row: (-int(row[query.order]), row[query.by.column]))
    return [dict(sorted(row.items())) for row in found[: query.limit]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(data=st.data())
async def test_they_are_exact_for_any_state_of_folding(database: TestDatabase, owner: Any, data: st.DataObject) -> None:
    await owner.execute("TRUNCATE messages; DELETE FROM queuestats.watermarks")
    messages: list[Message] = []
    async with open_pool(database.service_url) as pool:
        for _ in range(3):
            added = data.draw(MESSAGES)
            await insert(owner, added)
            messages += added
            # Sometimes all senders are hot, or only the last messages are pending, or epochs are compacted.
            for step in data.draw(st.lists(st.sampled_from(["fold(1000, 1)", "fold(1000, 1e9)", "fold(3, 1)",
                                                            "compact(1000, interval '0')"]), max_size=3)):  # fmt: skip
                await owner.execute(f"SELECT * FROM queuestats.{step}")
            limit, sender = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 6))
            for by in Dimension:
                for order in Measure:
                    query = TopQuery(by, order, limit, None if by is Dimension.SENDER else sender)
                    assert list((await fetch_top(pool, query)).rows) == largest(messages, query), query
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []


# Few different times, so that many are equal.
ARRIVALS = st.integers(0, 5).map(lambda day: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day))
OLDEST = (
    "INSERT INTO messages (sender_id, status, created_at, recipient) SELECT $1, $2::text::message_status, $3, 'x'"
    " FROM generate_series(1, $4)"
)
CHANGES = [
    "DELETE FROM messages WHERE sender_id = $1 AND id % 2 = 0",
    "DELETE FROM messages WHERE sender_id = $1",
    "UPDATE messages SET status = 'proc' WHERE sender_id = $1 AND status = 'new'",
    "UPDATE messages SET status = 'hold' WHERE sender_id = $1 AND id % 2 = 0",
    "UPDATE messages SET created_at = created_at - interval '1 day' WHERE sender_id = $1 AND status = 'proc'",
    "UPDATE messages SET sender_id = sender_id % 6 + 1 WHERE sender_id = $1",
]
# Folds of all senders as hot, of all deltas and of a part; compacts; and the steps of the background.
STEPS = [
    *("fold(1000, 1)", "fold(1000, 1e9)", "fold(3, 1e9)", "compact(1000, interval '0')"),
    *("raise_bounds('new', NULL, 0, 1000)", "raise_bounds('hold', NULL, 0, 2)", "raise_bounds('total', NULL, 0, 1)"),
    "raise_bounds('retry', '2026-01-03Z', 2, 2)",
]


async def oldest_messages(owner: Any) -> dict[int, dict[str, datetime]]:
    """The oldest time by sender and status, computed from the messages."""
    found: dict[int, dict[str, datetime]] = defaultdict(dict)
    for sender_id, status, at in await owner.fetch("SELECT sender_id, status, created_at FROM messages"):
        found[sender_id][status] = min(at, found[sender_id].get(status, at))
    return found


def first_senders(oldest: dict[int, dict[str, datetime]], query: TopQuery) -> list[tuple[int, str]]:
    """The senders in order, with their times."""
    times = {
        sender_id: min(by_status.values()) if query.order == "total" else by_status.get(query.order)
        for sender_id, by_status in oldest.items()
        if query.sender_ids is None or sender_id in query.sender_ids
    }
    order = sorted((at, sender_id) for sender_id, at in times.items() if at)
    return [(sender_id, f"{at:%Y-%m-%dT%H:%M:%S.%fZ}") for at, sender_id in order[: query.limit]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(data=st.data())
async def test_the_senders_with_the_oldest_messages_are_exact_for_any_state_of_folding(
    database: TestDatabase, owner: Any, data: st.DataObject
) -> None:
    await owner.execute("TRUNCATE messages; DELETE FROM queuestats.watermarks")
    async with open_pool(database.service_url) as pool:
        for _ in range(3):
            for _ in range(data.draw(st.integers(0, 4))):
                arrival = data.draw(
                    st.tuples(st.integers(1, 6), st.sampled_from(STATUSES), ARRIVALS, st.integers(1, 2))
                )
                await owner.execute(OLDEST, *arrival)
            if data.draw(st.booleans()):
                await owner.execute(data.draw(st.sampled_from(CHANGES)), data.draw(st.integers(1, 6)))
            for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=3)):
                await owner.execute(f"SELECT * FROM queuestats.{step}")
            oldest, limit = await oldest_messages(owner), data.draw(st.integers(1, 8))
            for order, sender_ids in itertools.product(Measure, [None, (2, 3, 5)]):
                query = TopQuery(Dimension.SENDER, order, limit, sender_ids=sender_ids, by_age=True)
                rows = (await fetch_top(pool, query)).rows
                assert [(row["sender_id"], row["oldest"][order]) for row in rows] == first_senders(oldest, query), query
    assert await drift(owner) == []


async def bounds_of(owner: Any, *sender_ids: int) -> int:
    found: int = await owner.fetchval("SELECT count(*) FROM queuestats.bounds WHERE sender_id = ANY($1)", sender_ids)
    return found


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_fold_that_empties_a_sender_removes_its_bounds(owner: Any) -> None:
    for sender_id, status in ((119, "new"), (119, "retry"), (120, "new")):
        await owner.execute(OLDEST, sender_id, status, LONG_AGO, 1)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await bounds_of(owner, 119, 120) == 2
    await owner.execute("DELETE FROM messages WHERE sender_id = 119 AND status = 'new'")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await bounds_of(owner, 119) == 1
    await owner.execute("DELETE FROM messages WHERE sender_id = 119")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await bounds_of(owner, 119) == 0
    assert await bounds_of(owner, 120) == 1


async def test_a_sender_that_is_emptied_repeatedly_keeps_its_bounds_for_a_minute(owner: Any) -> None:
    for _ in range(2):
        await insert(owner, [Message()])
        await owner.execute("DELETE FROM messages WHERE sender_id = 119")
        await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
        assert await owner.fetchval("SELECT number FROM queuestats.bounds WHERE sender_id = 119") == 1
    # As if a minute had passed.
    await owner.execute("UPDATE queuestats.bounds SET new = new - interval '1 minute' WHERE sender_id = 119")
    await insert(owner, [Message()])
    await owner.execute("DELETE FROM messages WHERE sender_id = 119")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await bounds_of(owner, 119) == 0


async def test_a_hot_sender_that_is_emptied_has_no_bounds(owner: Any) -> None:
    await owner.execute(OLDEST, 119, "new", LONG_AGO, 3)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e-9)")
    await owner.execute(OLDEST, 119, "new", LONG_AGO, 3)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await owner.fetchval("SELECT count(DISTINCT epoch) FROM queuestats.counters") == 2
    await owner.execute("DELETE FROM messages")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await bounds_of(owner, 119) == 0


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_a_truncate_removes_all_bounds(owner: Any, isolation: str) -> None:
    await insert(owner, [Message(sender_id=number) for number in range(1, 5)])
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    async with owner.transaction(isolation=isolation):
        await owner.execute("TRUNCATE messages")
        await insert(owner, [Message(sender_id=2)])
    assert await bounds_of(owner, 1, 2, 3, 4) == 0
    assert await drift(owner) == []


async def raised(
    owner: Any, status: str, max_senders: int, after: datetime | None = None, after_sender: int = 0
) -> tuple[Any, ...]:
    """The row of the function, with a time in place of its text."""
    asked = load_statement("queries/raise_bounds").sql
    number, is_more, text, sender_id = await owner.fetchrow(
        asked, status, after and after.isoformat(), after_sender, max_senders
    )
    return number, is_more, text and datetime.fromisoformat(text), sender_id


async def test_the_background_raises_the_bounds_of_all_statuses_of_a_sender(owner: Any) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    for sender_id in range(1, 6):
        await owner.execute(OLDEST, sender_id, "new", day + timedelta(days=sender_id), 1)
        await owner.execute(OLDEST, sender_id, "new", day + timedelta(days=100), 1)
        await owner.execute(OLDEST, sender_id, "hold", day + timedelta(days=50), 1)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    await owner.execute("DELETE FROM messages WHERE status = 'new' AND sender_id <> 2 AND created_at < '2026-02-01Z'")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    early = "SELECT array_agg(sender_id) FROM queuestats.bounds WHERE new < '2026-02-01Z' AND sender_id > 0"
    assert sorted(await owner.fetchval(early)) == [1, 2, 3, 4, 5]
    assert await raised(owner, "hold", 10) == (4, False, day + timedelta(days=50), 5)
    assert await owner.fetchval(early) == [2]
    assert (await raised(owner, "new", 10))[0] == 0
    assert await drift(owner) == []


async def test_the_background_begins_with_the_earliest_bounds_and_continues_where_it_stopped(owner: Any) -> None:
    def first(sender_id: int) -> datetime:
        return datetime(2026, 1, 10 - sender_id, tzinfo=UTC)

    for sender_id in range(1, 6):
        await owner.execute(OLDEST, sender_id, "retry", first(sender_id), 1)
        await owner.execute(OLDEST, sender_id, "retry", datetime(2026, 2, 1, tzinfo=UTC), 1)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    await owner.execute("DELETE FROM messages WHERE created_at < '2026-02-01Z'")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    assert await raised(owner, "retry", 2) == (2, True, first(4), 4)
    early = await owner.fetch("SELECT sender_id FROM queuestats.bounds WHERE retry < '2026-02-01Z' ORDER BY 1")
    assert [row[0] for row in early if row[0]] == [1, 2, 3]
    assert await raised(owner, "new", 1000) == (0, False, None, None)
    assert await raised(owner, "total", 2, first(3), 3) == (2, True, first(1), 1)
    assert await raised(owner, "retry", 1000) == (1, False, datetime(2026, 2, 1, tzinfo=UTC), 5)
    assert await drift(owner) == []


# Each sender has a message. The bounds of some senders are too early.
MANY = "INSERT INTO messages (sender_id, recipient) SELECT n, 'x' FROM generate_series(1, $1::integer) AS n"
LOWERED = "UPDATE queuestats.bounds SET new = new - interval '1 day' WHERE sender_id > $1"
TOO_EARLY = "SELECT count(*) FROM queuestats.bounds WHERE new < now() - interval '1 hour'"


async def test_a_service_raises_wrong_bounds_that_are_later_than_correct_ones(
    database: TestDatabase, owner: Any
) -> None:
    await owner.execute(MANY, 12)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    await owner.execute(LOWERED, 7)
    await owner.execute("UPDATE messages SET created_at = created_at - interval '2 days' WHERE sender_id <= 7")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    async with open_pool(database.service_url) as pool:
        folder = Folder(Node(pool))
        pauses = []
        # Six turns for new messages, because raised bounds are last, and one for each other status.
        for _ in range(9):
            folder.max_deltas = 3 * DELTAS_PER_BOUND
            pauses.append(await folder.raise_bounds())
    assert await owner.fetchval(TOO_EARLY) == 7
    assert pauses[-1] >= LONGEST_PAUSE_SECONDS


async def test_a_turn_of_the_background_raises_bounds(database: TestDatabase, owner: Any) -> None:
    await owner.execute(MANY, 3)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    await owner.execute(LOWERED, 0)
    async with open_pool(database.service_url) as pool:
        await Folder(Node(pool)).take_turn()
    assert await owner.fetchval(TOO_EARLY) == 0


async def test_a_list_that_needs_too_many_look_ups_is_an_error_until_the_bounds_are_raised(
    database: TestDatabase, owner: Any
) -> None:
    await owner.execute(MANY, 10_100)
    await owner.execute("SELECT * FROM queuestats.fold(20000, 1e9)")
    await owner.execute("UPDATE messages SET created_at = created_at - interval '2 days' WHERE sender_id = 10100")
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    query = TopQuery(Dimension.SENDER, Measure.NEW, 10, by_age=True)
    async with open_pool(database.service_url) as pool:
        assert (await fetch_top(pool, query)).rows[0]["sender_id"] == 10_100
        await owner.execute(LOWERED, 0)
        with pytest.raises(Unavailable, match="the bounds of the oldest messages are being raised: try again later"):
            await fetch_top(pool, query)
        folder = Folder(Node(pool))
        while await owner.fetchval(TOO_EARLY) > 1:
            await folder.raise_bounds()
        assert (await fetch_top(pool, query)).rows[0]["sender_id"] == 10_100


async def test_no_bound_is_raised_while_another_transaction_folds_or_truncates(
    database: TestDatabase, owner: Any
) -> None:
    other = await asyncpg.connect(database.owner_url)
    for statement in ("SELECT queuestats.fold()", "LOCK TABLE messages"):
        async with owner.transaction():
            await owner.execute(statement)
            raising = other.fetch("SELECT * FROM queuestats.raise_bounds('new', NULL, 0, 1000)")
            assert await asyncio.wait_for(raising, 60) == []
    await other.close()


async def test_a_list_that_waits_for_a_truncate_has_the_state_after_it(database: TestDatabase, owner: Any) -> None:
    await insert(owner, [Message(), Message(sender_id=120)])
    await owner.execute("SELECT * FROM queuestats.fold()")
    query = TopQuery(Dimension.SENDER, Measure.TOTAL, 10, by_age=True)
    async with open_pool(database.service_url) as pool:
        # The statement is planned before, so that only its execution waits.
        for _ in range(6):
            assert len((await fetch_top(pool, query)).rows) == 2
        async with owner.transaction():
            await owner.execute("TRUNCATE messages")
            await insert(owner, [Message(sender_id=121)])
            waiting = asyncio.create_task(fetch_top(pool, query))
            while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert [row["sender_id"] for row in (await waiting).rows] == [121]


@pytest.mark.parametrize("order", [*STATUSES, "total"])
async def test_a_list_looks_up_few_more_senders_than_it_has_rows(
    database: TestDatabase, owner: Any, order: str
) -> None:
    arrivals = "INSERT INTO messages (sender_id, status, created_at, recipient) SELECT n, $1::text::message_status,"
    status = "retry" if order == "total" else order
    await owner.execute(f"{arrivals} now() - n * interval '1 s', 'x' FROM generate_series(1, 3000) AS n", status)
    await owner.execute("SELECT * FROM queuestats.fold(100000, 1e9)")
    await owner.execute("VACUUM ANALYZE")
    service = await asyncpg.connect(database.service_url)
    await service.execute(f"PREPARE list (text, bigint) AS {load_statement('queries/top/oldest').sql}")
    call = f"EXECUTE list ('{order}', 5)"
    # The first call of a connection fills its catalog caches.
    await service.execute(call)
    explained = await service.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call}")
    await service.close()
    plan = json.loads(explained)[0]["Plan"]
    assert plan["Actual Rows"] == 5
    # About forty pages for each row. All senders would need a hundred thousand.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1000


async def test_there_is_no_list_of_the_oldest_before_the_bounds_are_set(database: TestDatabase, owner: Any) -> None:
    await insert(owner, [Message()])
    await owner.execute("UPDATE queuestats.bounds SET new = '-infinity' WHERE sender_id = 0")
    async with open_pool(database.service_url) as pool:
        with pytest.raises(Unavailable, match="the bounds of the oldest messages are not set yet"):
            await fetch_top(pool, TopQuery(Dimension.SENDER, Measure.TOTAL, 10, by_age=True))


async def test_a_key_without_messages_has_no_row(database: TestDatabase, owner: Any) -> None:
    await insert(owner, [Message(), Message(sender_id=120)])
    await owner.execute("SELECT * FROM queuestats.fold()")
    await owner.execute("DELETE FROM messages WHERE sender_id = 119")
    query = TopQuery(Dimension.SENDER, Measure.TOTAL, 10)
    async with open_pool(database.service_url) as pool:
        assert [row["sender_id"] for row in (await fetch_top(pool, query)).rows] == [120]
        await owner.execute("SELECT * FROM queuestats.fold()")
        assert [row["sender_id"] for row in (await fetch_top(pool, query)).rows] == [120]
        await owner.execute("TRUNCATE messages")
        assert (await fetch_top(pool, query)).rows == []


async def test_the_audit_finds_a_total_that_was_changed_by_hand(owner: Any) -> None:
    await insert(owner, [Message()])
    await owner.execute("SELECT * FROM queuestats.fold()")
    await owner.execute("UPDATE queuestats.sender_totals SET new = 7")
    (drift,) = await owner.fetch("SELECT * FROM queuestats.audit()")
    assert (drift["sender_id"], drift["grouping_set"], drift["counted_new"]) == (119, "total", 1)
    await owner.execute("SELECT queuestats.rebuild(119)")
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []

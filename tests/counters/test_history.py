"""Messages that arrived and left: deltas contain them for each key and for the whole sender."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any

import asyncpg
import pytest

from service.counters.verify import find_differences, repair
from service.db import connect as connect_to
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase
from tests.counters.clock import FOLD_SECONDS, Clock
from tests.counters.conftest import Connect
from tests.db.adoption import adopt

COLUMNS = "sender_id, account_id, campaign_id, isp, status, recipient"


@pytest.fixture
async def connection(connect: Connect) -> Any:
    connection = await connect()
    await connection.execute(
        f"INSERT INTO messages ({COLUMNS}) VALUES (1, 7, 9, 'Gmail', 'new', 'x'), (1, 7, 9, 'Gmail', 'retry', 'x'),"
        " (1, 8, 9, 'Gmail', 'new', 'x'), (1, 8, 9, 'Yahoo', 'new', 'x'), (2, 7, 9, 'Gmail', 'new', 'x');"
        " DELETE FROM queuestats.deltas"
    )
    return connection


async def moved(connection: Any, statement: str) -> dict[int, tuple[int, int]]:
    """The number of messages that arrived and left in the deltas of a statement, by sender."""
    await connection.execute(statement)
    rows = await connection.fetch(
        "SELECT sender_id, sum(greatest(net, 0)) AS arrived, sum(greatest(-net, 0)) AS departed FROM ("
        "  SELECT sender_id, coalesce(net, new + proc + retry + hold) AS net FROM queuestats.deltas"
        ") AS delta GROUP BY sender_id ORDER BY sender_id"
    )
    return {row["sender_id"]: (row["arrived"], row["departed"]) for row in rows}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE messages SET status = 'proc' WHERE sender_id = 1", {1: (0, 0)}),
        ("UPDATE messages SET account_id = 9 WHERE sender_id = 1", {1: (0, 0)}),
        ("UPDATE messages SET campaign_id = 1, status = 'proc'", {1: (0, 0), 2: (0, 0)}),
        ("UPDATE messages SET sender_id = 2, isp = 'AOL' WHERE account_id = 8", {1: (0, 2), 2: (2, 0)}),
        # One of three messages changes its sender, the others their account.
        (
            "UPDATE messages SET sender_id = CASE isp WHEN 'Yahoo' THEN 2 ELSE 1 END, account_id = 5"
            " WHERE sender_id = 1",
            {1: (0, 1), 2: (1, 0)},
        ),
        ("DELETE FROM messages WHERE account_id = 7", {1: (0, 2), 2: (0, 1)}),
        (f"INSERT INTO messages ({COLUMNS}) VALUES (3, 1, 1, '', 'hold', 'x'), (3, 1, 2, '', 'new', 'x')", {3: (2, 0)}),
    ],
    ids=["status", "account", "campaign", "sender", "both", "delete", "insert"],
)
async def test_a_change_of_account_is_no_arrival_for_the_sender(
    connection: Any, statement: str, expected: dict[int, tuple[int, int]]
) -> None:
    assert await moved(connection, statement) == expected


PARTITIONED = """
CREATE TABLE outbox (id bigint PRIMARY KEY, sender bigint, account bigint, state text, arrived timestamptz)
PARTITION BY HASH (id);
CREATE TABLE part PARTITION OF outbox FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO outbox VALUES (1, 1, 7, 'new', '2026-01-01Z'), (2, 1, 7, 'new', '2026-01-01Z'), (3, 2, 7, 'new', now())
"""
OUTBOX = QueueMapping(table="outbox", sender="sender", account="account", status="state", where="state <> 'sent'")


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE outbox SET state = 'proc'", {1: [(0, 0)] * 2, 2: [(0, 0)]}),
        ("UPDATE outbox SET arrived = arrived + interval '1 day'", {}),
        ("UPDATE outbox SET account = 8 WHERE id = 1", {1: [(-1, 0), (1, 0)]}),
        ("UPDATE outbox SET sender = 2 WHERE id = 1", {1: [(-1, -1)], 2: [(1, 1)]}),
        ("UPDATE outbox SET state = 'sent' WHERE sender = 1", {1: [(-1, -1)] * 2}),
        ("INSERT INTO outbox VALUES (4, 1, 7, 'new', now())", {1: [(1, 1)]}),
        ("DELETE FROM outbox WHERE sender = 1", {1: [(-1, -1)] * 2}),
    ],
    ids=["status", "nothing", "account", "sender", "sent", "insert", "delete"],
)
async def test_a_row_that_keeps_its_key_neither_arrives_nor_leaves(
    empty_database: TestDatabase, statement: str, expected: dict[int, list[tuple[int, int]]]
) -> None:
    """Expected: for each sender, the total of each delta, and the change of the sender."""
    connection = await asyncpg.connect(empty_database.owner_url)
    try:
        await connection.execute(PARTITIONED)
        await adopt(empty_database, OUTBOX)
        await connection.execute(f"DELETE FROM queuestats.deltas; {statement}")
        rows = await connection.fetch(
            "SELECT sender_id, new + proc + retry + hold AS total, net FROM queuestats.deltas ORDER BY sender_id, 2"
        )
    finally:
        await connection.close()
    found: dict[int, list[tuple[int, int]]] = {}
    for sender_id, total, net in rows:
        found.setdefault(sender_id, []).append((total, total if net is None else net))
    assert found == expected


STATUSES = ("new", "proc", "retry", "hold")
SENDERS, ISPS = (1, 2), ("", "Gmail")
STATEMENTS = (
    f"INSERT INTO messages ({COLUMNS}) SELECT {{sender}}, {{account}}, 9, '{{isp}}', '{{status}}', 'x'"
    " FROM generate_series(1, {number})",
    "UPDATE messages SET status = '{status}' WHERE id % 3 = {number} % 3",
    "UPDATE messages SET account_id = {account}, isp = '{isp}' WHERE id % 4 = {number}",
    "UPDATE messages SET sender_id = {sender}, account_id = {account} WHERE id % 5 = {number}",
    "DELETE FROM messages WHERE sender_id = {sender} AND id % 4 = {number}",
)
Counts = dict[str, int]


class World:
    """Runs statements on the queues, and computes the expected history."""

    def __init__(self, connection: Any, seed: int) -> None:
        self._connection, self._dice = connection, random.Random(seed)
        self.clock = Clock(connection)
        self.folds: list[datetime] = []
        self.begins: list[tuple[int, datetime]] = []
        # By the time of the fold; None until the fold.
        self._changes: dict[datetime | None, Counter[Any]] = {}
        self._counts: dict[datetime | None, Counter[Any]] = {}

    async def begin(self) -> None:
        await self.clock.begin()
        self.begins.append((0, self.clock.now))
        await self._note_fold()

    async def write(self, statement: str = "") -> None:
        """Runs one statement, and records the number of messages of each key before and after it."""
        values = {
            "sender": self._dice.choice(SENDERS),
            "account": self._dice.choice((7, 8)),
            "isp": self._dice.choice(ISPS),
            "status": self._dice.choice(STATUSES),
            "number": self._dice.randrange(1, 5),
        }
        before = await self._keys()
        await self._connection.execute((statement or self._dice.choice(STATEMENTS)).format(**values))
        after = await self._keys()
        changes = self._changes.setdefault(None, Counter())
        by_sender: Counter[int] = Counter()
        for sender_id, account_id, isp in before.keys() | after.keys():
            net = after[sender_id, account_id, isp] - before[sender_id, account_id, isp]
            by_sender[sender_id] += net
            changes[sender_id, isp, net > 0] += abs(net)
        for sender_id, net in by_sender.items():
            changes[sender_id, None, net > 0] += abs(net)
        await self._count()

    async def truncate(self) -> None:
        changes = self._changes.setdefault(None, Counter())
        for (sender_id, isp, _), number in self._counts[None].items():
            changes[sender_id, isp, False] += number
        await self._connection.execute("TRUNCATE messages")
        await self._count()

    async def spoil(self) -> None:
        """Changes the counters of sender 1 to wrong values."""
        await self._connection.execute("UPDATE queuestats.counters SET new = new + 5 WHERE sender_id = 1")

    async def rebuild(self, sender_id: int | None) -> None:
        await self._connection.execute("SELECT queuestats.rebuild($1)", sender_id)
        self.begins.append((sender_id or 0, self.clock.now))

    async def run(self, seconds: int) -> None:
        end = self.clock.now + timedelta(seconds=seconds)
        while self.clock.now < end:
            if self._dice.random() < 0.3:
                await self.write()
            await self.clock.set(self.clock.now + timedelta(seconds=FOLD_SECONDS))
            await self.clock.fold()
            await self._note_fold()
            if self._dice.random() < 0.1:
                await self.clock.roll_up(self._dice.choice((1, 2, 3, 100)), most=self._dice.choice((1, 2, 1000)))

    async def _note_fold(self) -> None:
        await self._count()
        self.folds.append(self.clock.now)
        self._changes[self.clock.now] = self._changes.pop(None, Counter())
        self._counts[self.clock.now] = self._counts[None]

    async def _count(self) -> None:
        rows = await self._connection.fetch("SELECT sender_id, isp, status::text FROM messages")
        totals = Counter((sender_id, None, status) for sender_id, _, status in rows)
        self._counts[None] = Counter(map(tuple, rows)) + totals

    async def _keys(self) -> Counter[Any]:
        return Counter(map(tuple, await self._connection.fetch("SELECT sender_id, account_id, isp FROM messages")))

    def _is_covered(self, sender_id: int, start: datetime, end: datetime) -> bool:
        if any(start < begin for of_sender, begin in self.begins if of_sender in (sender_id, 0)):
            return False
        own = [start, *(fold for fold in self.folds if start < fold < end), end]
        return (
            self.folds[0] <= start
            and start - max(f for f in self.folds if f <= start) <= PAUSE
            and all(later - earlier <= PAUSE for earlier, later in pairwise(own))
        )

    def expected(self, sender_id: int, isp: str | None, seconds: int) -> list[Any]:
        """All rows except the last one: end, counts, arrived and left."""
        step, now, found = timedelta(seconds=seconds), self.clock.now, []
        end = _floor(self.folds[0], step) + step
        while end <= now:
            folds = [fold for fold in self.folds if end - step <= fold < end]
            if self._is_covered(sender_id, end - step, end):
                last = max(fold for fold in self.folds if fold < end)
                changes = sum((self._changes[fold] for fold in folds), Counter())
                counts = [self._counts[last][sender_id, isp, status] for status in STATUSES]
                found.append((end, *counts, changes[sender_id, isp, True], changes[sender_id, isp, False]))
            end += step
        return found

    async def partitions(self) -> set[str]:
        names = "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' AND relname LIKE 'history%'"
        return {row[0] for row in await self._connection.fetch(names)}

    async def check(self, kept_since: datetime | None = None) -> None:
        """Rows of minutes before `kept_since` have been dropped."""
        assert await self._connection.fetch("SELECT * FROM queuestats.history_differences(NULL)") == []
        for sender_id, isp, seconds in product(SENDERS, (None, *ISPS), (60, 600, 3600)):
            if isp is not None and seconds == 60:
                continue
            rows = await self.clock.history(sender_id, seconds, self.folds[0], isp=isp)
            *rows, last = [tuple(row.values()) for row in rows]
            expected = self.expected(sender_id, isp, seconds)
            if kept_since and seconds == 60:
                expected = [row for row in expected if row[0] > kept_since]
            assert [(at, *numbers) for at, _, *numbers in rows] == expected
            assert list(last[2:6]) == [self._counts[None][sender_id, isp, status] for status in STATUSES]


PAUSE = timedelta(seconds=5)


def _floor(at: datetime, step: timedelta) -> datetime:
    return at - (at - datetime(2000, 1, 1, tzinfo=UTC)) % step


@pytest.fixture
async def world(connect: Connect, request: pytest.FixtureRequest) -> World:
    world = World(await connect(), request.param)
    await world.begin()
    return world


@pytest.mark.parametrize("world", range(2), indirect=True)
async def test_the_history_equals_the_effects_of_the_statements(world: World) -> None:
    await world.run(1500)
    await world.check()
    await world.clock.roll_up()
    await world.run(3000)
    await world.check()


@pytest.mark.parametrize("world", [5], indirect=True)
async def test_an_outage_causes_a_gap_and_no_wrong_count(world: World) -> None:
    await world.run(130)
    await world.write()
    await world.clock.pause(97)
    await world.run(200)
    await world.check()


@pytest.mark.parametrize("world", [6], indirect=True)
@pytest.mark.parametrize("sender_id", [None, 1])
async def test_a_rebuild_restarts_the_history(world: World, sender_id: int | None) -> None:
    await world.run(130)
    await world.write()
    await world.spoil()
    await world.rebuild(sender_id)
    await world.run(200)
    await world.check()


@pytest.mark.parametrize("world", [7], indirect=True)
async def test_all_messages_leave_with_a_truncate(world: World) -> None:
    await world.run(130)
    await world.write()
    await world.truncate()
    await world.write()
    await world.run(200)
    await world.check()


@pytest.mark.parametrize("world", [8], indirect=True)
async def test_verify_finds_an_inconsistent_history(world: World, database: TestDatabase) -> None:
    await world.run(400)
    await world.clock.roll_up()
    async with connect_to(database.owner_url) as connection:
        assert await find_differences(connection, 1) == []
        await connection.execute(
            "UPDATE queuestats.history SET new_counts[1] = new_counts[1] + 1"
            " WHERE sender_id = 1 AND step = 60 AND period = '2026-03-01 05:00Z'"
        )
        (found,) = await find_differences(connection, None)
        assert (found.sender_id, found.grouping_set, found.status) == (1, "history", "new")
        assert found.counted == found.kept + 1
        await repair(connection, [1])
        assert await find_differences(connection, None) == []


@pytest.mark.parametrize("world", [9], indirect=True)
async def test_old_partitions_are_dropped(world: World) -> None:
    await world.run(100)
    for _ in range(5):
        await world.clock.pause(86_400)
        await world.run(100)
        await world.clock.roll_up()
    days = {f"history_60_{world.clock.now - timedelta(days=ago):%Y%m%d}" for ago in range(2)}
    weeks = await world.partitions()
    assert {name for name in weeks if name.startswith("history_60_")} == days
    assert len(weeks) > len(days)
    await world.check(kept_since=datetime(2026, 3, 5, tzinfo=UTC))

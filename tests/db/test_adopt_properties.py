"""Properties of mapped columns do not affect the counts: collations, domains, row types, typmods, NULL.

Random statements change random tables with random mappings. The counts are compared with sums computed in Python.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from service.model import Grouping, StatsQuery
from service.queue.stats import fetch_report
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase, open_pool
from tests.db.adoption import adopt, differences, make_nocase
from tests.db.lookup3 import key_id

TYPES = """
CREATE DOMAIN folded AS text COLLATE nocase;
CREATE DOMAIN small AS integer CHECK (VALUE < 100);
CREATE TYPE word AS ENUM ('new', 'NEW', 'queued', 'Hold', 'hold', 'É', '');
CREATE TYPE place AS (city text COLLATE nocase, zone text)
"""
WORDS = ("new", "NEW", "queued", "Hold", "hold", "É", "", None)
Value = Any
Meaning = Callable[[Value], Value]


def same(value: Value) -> Value:
    return value


def folded(value: Value) -> Value:
    return None if value is None else value.lower()


def city(value: Value) -> Value:
    return value and value[0]


def queued(compared: Meaning) -> Meaning:
    """The meaning of the expression QUEUED. `compared` maps a value to the text that the collation compares."""
    return lambda value: {compared("queued"): "new", compared("Hold"): "hold"}.get(compared(value), "gone")


QUEUED = "case {} when 'queued' then 'new' when 'Hold' then 'hold' else 'gone' end"
CITY = "case ({}).city when 'queued' then 'new' when 'Hold' then 'hold' else 'gone' end"


def texts_of(compared: Meaning) -> list[tuple[str, str, Meaning]]:
    """Type, expression, and the function of the expression. `compared` is that of the collation nocase."""
    return [
        ("text", "{}", same),
        ("text", QUEUED, queued(same)),
        ("text COLLATE nocase", "{}", same),
        ("text COLLATE nocase", QUEUED, queued(compared)),
        ("varchar(6) COLLATE nocase", "{}", same),
        ("varchar(6) COLLATE nocase", "lower({})", folded),
        ('text COLLATE "C"', "{}", same),
        ("text", "{} collate nocase", same),
        ("char(9)", "{}", same),
        ("char(9) COLLATE nocase", QUEUED, queued(compared)),
        ("folded", "{}", same),
        ("folded", QUEUED, queued(compared)),
        ("word", QUEUED, queued(same)),
        ("place", "({}).city", city),
        ("place", CITY, lambda value: queued(compared)(city(value))),
        ("place", ANYWHERE, lambda value: "new" if any(value or ()) else "hold"),
    ]


ANYWHERE = "case when {} is null then 'hold' else 'new' end"
# A row is NULL if all its fields are.
PLACES = (None, (None, None), ("queued", None), ("QUEUED", "z"), ("hold", "z"), ("new", None))
NUMBERS: list[tuple[str, str, Meaning]] = [
    ("bigint", "{}", same),
    ("small", "{}", same),
    ("numeric(5,2)", "{}::text", lambda value: None if value is None else f"{value:.2f}"),
]
WHERES: tuple[tuple[str, Meaning], ...] = (
    ("true", lambda row: True),
    ("account is not null", lambda row: row["account"] is not None),
    ("nullif(id % 5, 0) > 1", lambda row: row["id"] % 5 > 1),
)


@dataclass(frozen=True)
class Column:
    """A column of the table, and its expression in the mapping."""

    name: str
    type: str
    expression: str
    meaning: Meaning

    def value(self, dice: random.Random) -> Value:
        if self.type in ("bigint", "small", "numeric(5,2)"):
            return dice.choice((None, 0, 1, 2, -3))
        return dice.choice(PLACES if self.type == "place" else WORDS)


def table_of(dice: random.Random, compared: Meaning) -> tuple[dict[str, Column], str, Meaning]:
    texts = texts_of(compared)
    columns = {name: Column(name, *dice.choice([*texts, *NUMBERS])) for name in ("sender", "account", "campaign")}
    columns |= {name: Column(name, *dice.choice(texts)) for name in ("isp", "status")}
    where, is_queued = dice.choice(WHERES)
    if where == "account is not null" and columns["account"].type == "place":
        where, is_queued = "true", lambda row: True
    return columns, where, is_queued


def expected(columns: dict[str, Column], is_queued: Meaning, rows: dict[int, dict[str, Value]]) -> Counter[Any]:
    """The number of messages by sender, account, campaign, ISP and status."""
    found: Counter[Any] = Counter()
    for number, row in rows.items():
        meant = {name: each.meaning(row[name]) for name, each in columns.items()}
        keys = [key_id(each) if isinstance(each, str) else each for each in (meant[name] for name in list(columns)[:3])]
        sender, account, campaign = keys
        if is_queued({**row, "id": number}) and (sender or 0) > 0 and meant["status"] in ("new", "hold"):
            found[sender, max(account or 0, 0), max(campaign or 0, 0), meant["isp"] or "", meant["status"]] += 1
    return found


class Table:
    """The table in the database, and its rows in Python."""

    def __init__(self, admin: Any, columns: dict[str, Column], dice: random.Random) -> None:
        self._admin, self._columns, self._dice = admin, columns, dice
        self.rows: dict[int, dict[str, Value]] = {}
        self._last = 0

    async def write(self) -> None:
        work = self._dice.choice((self._insert, self._insert, self._copy, self._update, self._delete))
        await work()

    def _arrived(self) -> list[dict[str, Value]]:
        arrived = []
        for _ in range(self._dice.randint(1, 8)):
            self._last += 1
            row = {name: each.value(self._dice) for name, each in self._columns.items()}
            self.rows[self._last] = row
            arrived.append({"id": self._last, **row})
        return arrived

    async def _insert(self) -> None:
        await self._admin.executemany(
            f"INSERT INTO queue VALUES ({', '.join(f'${number}' for number in range(1, 7))})",
            [tuple(row.values()) for row in self._arrived()],
        )

    async def _copy(self) -> None:
        rows = [tuple(row.values()) for row in self._arrived()]
        await self._admin.execute("CREATE TABLE arrived (LIKE queue)")
        await self._admin.executemany("INSERT INTO arrived VALUES ($1, $2, $3, $4, $5, $6)", rows)
        await self._admin.execute("INSERT INTO queue SELECT * FROM arrived; DROP TABLE arrived")

    async def _update(self) -> None:
        column, rest = self._dice.choice(list(self._columns.values())), self._dice.randrange(3)
        value = column.value(self._dice)
        await self._admin.execute(f"UPDATE queue SET {column.name} = $1 WHERE id % 3 = $2", value, rest)
        for number, row in self.rows.items():
            if number % 3 == rest:
                row[column.name] = value

    async def _delete(self) -> None:
        rest = self._dice.randrange(7)
        await self._admin.execute("DELETE FROM queue WHERE id % 7 = $1", rest)
        self.rows = {number: row for number, row in self.rows.items() if number % 7 != rest}


@pytest.mark.parametrize("seed", range(6))
async def test_counts_of_any_mapping_equal_the_sums_of_python(
    empty_database: TestDatabase, admin: Any, seed: int
) -> None:
    dice = random.Random(seed)
    columns, where, is_queued = table_of(dice, folded if await make_nocase(admin) else same)
    await admin.execute(TYPES)
    definitions = ", ".join(f"{each.name} {each.type}" for each in columns.values())
    is_partitioned = dice.random() < 0.3
    await admin.execute(
        f"CREATE TABLE queue (id bigint PRIMARY KEY, {definitions})"
        + " PARTITION BY HASH (id); CREATE TABLE part PARTITION OF queue FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        * is_partitioned
    )
    expressions: dict[str, Any] = {name: each.expression.format(name) for name, each in columns.items()}
    mapping = QueueMapping(table="queue", where=where, **expressions)
    await adopt(empty_database, mapping)
    table = Table(admin, columns, dice)
    async with open_pool(empty_database.service_url) as service:
        for _ in range(15):
            await table.write()
            if dice.random() < 0.3:
                await admin.execute("SELECT queuestats.fold(20000, 1)")
            counted = expected(columns, is_queued, table.rows)
            for sender in {key[0] for key in counted}:
                pairs = await fetch_report(service, StatsQuery(sender, grouping=Grouping.ACCOUNT_CAMPAIGN))
                isps = await fetch_report(service, StatsQuery(sender, grouping=Grouping.ISP))
                own = Counter({key[1:]: number for key, number in counted.items() if key[0] == sender})
                assert {
                    (row.account_id, row.campaign_id, status): getattr(row, status)
                    for row in pairs.rows
                    for status in ("new", "hold")
                    if getattr(row, status)
                } == summed(own, lambda key: (key[0], key[1], key[3]))
                assert {row.isp: row.total for row in isps.rows} == summed(own, lambda key: key[2])
            senders = await admin.fetch("SELECT DISTINCT sender_id FROM queuestats.queued_messages")
            assert {row[0] for row in senders} == {key[0] for key in counted}
    assert await differences(empty_database) == []


def summed(counted: Counter[Any], key: Callable[[Any], Any]) -> dict[Any, int]:
    found: Counter[Any] = Counter()
    for each, number in counted.items():
        found[key(each)] += number
    return dict(found)

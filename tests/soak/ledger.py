"""Ledgers of the attempted and committed changes of a sender, and the bounds of correct responses from them.

Each cell (account, campaign, ISP, column) has four numbers that only grow: the messages that arrived and left, in
attempted transactions and in committed ones. A snapshot between two times has at least the messages that had arrived
at the first time and had not left at the second.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, NamedTuple

from service.model import Grouping, StatsQuery

Row = tuple[int, int, str]
Cell = tuple[int, int, str, str]
Changes = Mapping[Cell, int]


class Expected(StrEnum):
    """A property of a sender between two requests of its operator."""

    HELD = "nothing is new or retry"
    FREE = "nothing is on hold"


class Span(NamedTuple):
    """The time from one request to the next. The value of `number` is unique."""

    expected: Expected | None
    number: int


class Before(NamedTuple):
    """The changes that had been committed at a time."""

    came: Counter[Cell]
    left: Counter[Cell]
    span: Span


class Ledger:
    """The ledger of a sender. If `is_controlled`, holds change statuses: `new`, `retry` and `hold` are one column."""

    def __init__(self, *, is_controlled: bool, misses_holds: bool = False) -> None:
        self._misses_holds = misses_holds
        self._columns = {
            "proc": ("proc",),
            **({"waiting": ("new", "retry", "hold")} if is_controlled else {s: (s,) for s in ("new", "retry", "hold")}),
        }
        self._column_of = {status: name for name, statuses in self._columns.items() for status in statuses}
        self._came, self._left = Counter[Cell](), Counter[Cell]()
        self._came_attempted, self._left_attempted = Counter[Cell](), Counter[Cell]()
        self._span = Span(Expected.FREE if is_controlled else None, 0)
        self._is_purging = False
        self._kept_places: dict[tuple[StatsQuery, int], list[tuple[Cell, tuple[Row, str]]]] = {}
        self._writing, self._is_closed, self._changed = 0, False, asyncio.Condition()

    def cell(self, account: int, campaign: int, isp: str, status: str) -> Cell:
        return account, campaign, isp, self._column_of[status]

    def attempt(self, changes: Changes) -> None:
        """Call this before COMMIT is sent."""
        _add(self._came_attempted, self._left_attempted, changes, 1)

    def commit(self, changes: Changes) -> None:
        _add(self._came, self._left, changes, 1)

    def roll_back(self, changes: Changes) -> None:
        _add(self._came_attempted, self._left_attempted, changes, -1)

    def attempt_purge(self) -> None:
        """From now on, any number of messages may leave, until `settle`."""
        self._is_purging = True

    def expect(self, expected: Expected | None) -> None:
        if expected is Expected.HELD and self._misses_holds:
            expected = None
        self._span = Span(expected, self._span.number + 1)

    def size(self) -> int:
        return self._came.total() - self._left.total()

    def before(self) -> Before:
        return Before(self._came.copy(), self._left.copy(), self._span)

    def faults(self, before: Before, query: StatsQuery, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """A sentence for each value of a response that was in no snapshot since `before`."""
        found = {_key(row): row for row in rows}
        low, high = Counter[tuple[Row, str]](), Counter[tuple[Row, str]]()
        for cell, place in self._places(query):
            low[place] += self._low(before.came, cell)
            high[place] += self._came_attempted[cell] - before.left[cell]
        faults = []
        for key, column in {*low, *((key, name) for key in found for name in self._columns)}:
            value = sum(found[key][status] for status in self._columns[column]) if key in found else 0
            if not low[key, column] <= value <= high[key, column]:
                faults.append(f"{key} {column}: {value}, not {low[key, column]} to {high[key, column]}")
        if before.span == self._span:
            wrong = {Expected.HELD: ("new", "retry"), Expected.FREE: ("hold",), None: ()}[self._span.expected]
            held = [row for row in found.values() if any(row[name] for name in wrong)]
            faults += [f"{row}, but {self._span.expected}" for row in held]
        return faults

    def settle(self, messages: Mapping[Row, Mapping[str, int]]) -> list[str]:
        """Sets the ledger to the contents of the table, without writers. A sentence for each value out of bounds."""
        there = Counter[Cell]()
        for row, by_status in messages.items():
            for status, count in by_status.items():
                there[self.cell(*row, status)] += count
        faults = []
        for cell in {*there, *self._came_attempted}:
            low = self._low(self._came, cell)
            high = self._came_attempted[cell] - self._left[cell]
            if not low <= there[cell] <= high:
                faults.append(f"{cell}: {there[cell]} in the table, not {low} to {high}")
            # The difference of the two numbers is unchanged for open requests.
            self._came[cell] = self._came_attempted[cell]
            self._left[cell] = self._left_attempted[cell] = self._came[cell] - there[cell]
        self._is_purging = False
        return faults

    def _places(self, query: StatsQuery) -> list[tuple[Cell, tuple[Row, str]]]:
        """The cells that a query counts, with their rows and columns. Cached, because this is the slowest part."""
        key = query, len(self._came_attempted)
        if key not in self._kept_places:
            cells = [cell for cell in self._came_attempted if _matches(cell, query)]
            self._kept_places[key] = [(cell, (_row(cell, query.grouping), cell[3])) for cell in cells]
        return self._kept_places[key]

    def _low(self, came: Counter[Cell], cell: Cell) -> int:
        return 0 if self._is_purging else max(0, came[cell] - self._left_attempted[cell])

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_closed)
            self._writing += 1
        try:
            yield
        finally:
            async with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Waits until no transaction of a writer is open, and prevents new ones."""
        async with self._changed:
            self._is_closed = True
            await self._changed.wait_for(lambda: not self._writing)
        try:
            yield
        finally:
            async with self._changed:
                self._is_closed = False
                self._changed.notify_all()


def _add(came: Counter[Cell], left: Counter[Cell], changes: Changes, sign: int) -> None:
    for cell, change in changes.items():
        (came if change > 0 else left)[cell] += sign * abs(change)


def _key(row: Mapping[str, Any]) -> Row:
    return row["account_id"], row["campaign_id"], row["isp"]


def _matches(cell: Cell, query: StatsQuery) -> bool:
    wanted = query.account_id, query.campaign_id, query.isp
    return all(want in (None, has) for want, has in zip(wanted, cell[:3], strict=True))


def _row(cell: Cell, grouping: Grouping) -> Row:
    names = grouping.value.split("_")
    return (
        cell[0] if "account" in names else 0,
        cell[1] if "campaign" in names else 0,
        cell[2] if "isp" in names else "",
    )

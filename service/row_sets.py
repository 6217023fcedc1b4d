"""The look-ups that questions about queues come down to, in the counters and, until those stand, in the messages."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from service.db import Database, Reading, Replica, Statement, statement
from service.errors import Unavailable
from service.model import Grouping, StatsQuery, StatsReport, StatsRow

logger = logging.getLogger(__name__)

# Rows that are turned over before others get their turn on the event loop: about a millisecond.
SLICE_ROWS = 1000
# A replica that could not be used is left alone for so long.
REPLICA_COOL_DOWN_SECONDS = 1.0


class RowSet(msgspec.Struct, frozen=True, gc=False):
    """What is asked of the database: the statement `queries/<name>`, and the filters (None lets everything through)."""

    name: str
    sender_id: int
    account_id: int | None = None
    campaign_id: int | None = None
    isp: str | None = None

    def in_counters(self) -> tuple[Statement, dict[str, Any]]:
        """The statement on the counters that gives these rows, and its parameters."""
        return self._with_parameters(f"queries/{self.name}")

    def in_messages(self) -> tuple[Statement, dict[str, Any]]:
        """The statement on the messages themselves that gives the same: the definition of the truth."""
        return self._with_parameters("scan/" + self.name.partition("_of_")[0])

    def _with_parameters(self, name: str) -> tuple[Statement, dict[str, Any]]:
        asked = statement(name)
        return asked, {each: getattr(self, each) for each in asked.types}


def row_set(query: StatsQuery) -> RowSet:
    """The row set that holds a query's report.

    A key that a filter fixes needs no listing: where all keys of the grouping are fixed, one sum is left.
    """
    if query.grouping is Grouping.TOTAL:
        return RowSet("total", query.sender_id, query.account_id, query.campaign_id, query.isp)
    filters = (query.sender_id, query.account_id, query.campaign_id, query.isp)
    has_account, has_campaign, has_isp = (each is not None for each in filters[1:])
    match query.grouping:
        case Grouping.ACCOUNT if not has_account:
            name = "account"
        case Grouping.ISP if not has_isp:
            name = "isp"
        case Grouping.ACCOUNT_CAMPAIGN if has_account and not has_campaign:
            name = "account_campaign_of_account"
        case Grouping.ACCOUNT_CAMPAIGN if has_campaign and not has_account:
            name = "account"
        case Grouping.ACCOUNT_CAMPAIGN if not has_account:
            name = "account_campaign_of_isp" if has_isp else "account_campaign"
        case _:
            name = "total"
    return RowSet(name, *filters)


class RowSets:
    """Reads row sets, many of the same kind in one statement."""

    def __init__(self, database: Database | Reading, is_counted: bool = False) -> None:
        self._database = database
        self._is_counted = is_counted

    async def is_counted(self) -> bool:
        """Whether the counters hold all messages. They will for good: once seen, it is not asked again."""
        if not self._is_counted:
            self._is_counted = (await self._database.fetch(statement("queries/baseline")))[0]["stands"]
        return self._is_counted

    async def read(self, wanted: Sequence[RowSet]) -> Sequence[list[StatsRow]]:
        """The rows of each, in its order; each from one snapshot taken after the call. `wanted` has no repeats."""
        if not await self.is_counted():
            return [await self._scan(each) for each in wanted]
        answers: dict[RowSet, list[StatsRow]] = {}
        for name in dict.fromkeys(each.name for each in wanted):
            same = [each for each in wanted if each.name == name]
            rows = [await self._look_up(same[0])] if len(same) == 1 else await self._look_up_many(name, same)
            answers.update(zip(same, rows, strict=True))
        return [answers[each] for each in wanted]

    async def _look_up(self, wanted: RowSet) -> list[StatsRow]:
        asked, parameters = wanted.in_counters()
        return await _rows(await self._database.fetch(asked, **parameters))

    async def _look_up_many(self, name: str, wanted: list[RowSet]) -> list[list[StatsRow]]:
        asked = statement(f"queries/many/{name}")
        columns = {column: [getattr(each, column) for each in wanted] for column in asked.types}
        answers: list[list[StatsRow]] = [[] for _ in wanted]
        for number, (position, *values) in enumerate(await self._database.fetch(asked, **columns), 1):
            answers[position - 1].append(StatsRow(*values))
            if number % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        return answers

    async def _scan(self, wanted: RowSet) -> list[StatsRow]:
        asked, parameters = wanted.in_messages()
        return await _rows(await self._database.fetch_scan(asked, **parameters))


class Reports:
    """Reads row sets as reports: on a replica where there is one that can be used, else on the primary."""

    def __init__(self, primary: Database, replica: Replica | None) -> None:
        self._primary = RowSets(primary)
        self._replica = replica
        # Of the replica: it may not have come as far as the first count.
        self._is_counted = False
        self._not_before = 0.0

    async def read(self, wanted: Sequence[RowSet]) -> Sequence[StatsReport]:
        """As `RowSets.read`."""
        if self._replica is not None and time.monotonic() >= self._not_before:
            try:
                return await self._read_on(self._replica, wanted)
            except Unavailable:
                self._not_before = time.monotonic() + REPLICA_COOL_DOWN_SECONDS
                logger.warning("replica out of reach: the primary answers for %s s", REPLICA_COOL_DOWN_SECONDS)
        return [StatsReport(rows) for rows in await self._primary.read(wanted)]

    async def _read_on(self, replica: Replica, wanted: Sequence[RowSet]) -> Sequence[StatsReport]:
        reading = Reading(replica)
        row_sets = RowSets(reading, self._is_counted)
        self._is_counted = await row_sets.is_counted()
        found = await row_sets.read(wanted)
        return [StatsReport(rows, reading.lag_seconds) for rows in found]


async def _rows(records: Sequence[Any]) -> list[StatsRow]:
    rows: list[StatsRow] = []
    for start in range(0, len(records), SLICE_ROWS):
        rows += [StatsRow(*record) for record in records[start : start + SLICE_ROWS]]
        if len(records) > SLICE_ROWS:
            await asyncio.sleep(0)
    return rows

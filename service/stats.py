"""The use case: a question about a queue, and its report. Requests that wait together share one statement."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from service.coalescer import Coalescer, Limits, Outcome
from service.db import Database, Statement, statement
from service.errors import Unavailable
from service.model import Grouping, StatsQuery, StatsReport, StatsRow
from service.settings import Settings

logger = logging.getLogger(__name__)

# How long the table of messages is trusted to be what it was.
CHECK_SECONDS = 10.0
# Rows that are converted before others get their turn on the event loop: about a millisecond.
SLICE_ROWS = 1000
# Statements for one-row reports that are in flight at once; the other connections of the pool are for listings, so
# that those, however long, never hold up a total.
TOTAL_BATCHES = 2


class CounterRead(msgspec.Struct, frozen=True, gc=False):
    """What is read: the statement `queries/from_counters/<name>`, and the filters (None lets everything through)."""

    name: str
    sender_id: int
    account_id: int | None = None
    campaign_id: int | None = None
    isp: str | None = None


def from_counters(reads: Sequence[CounterRead]) -> tuple[Statement, dict[str, Any]]:
    """The statement on the counters that gives the rows of reads of one name, and its parameters, an array each."""
    found = statement(f"queries/from_counters/{reads[0].name}")
    return found, {each: [getattr(read, each) for read in reads] for each in found.types}


def from_messages(read: CounterRead) -> tuple[Statement, dict[str, Any]]:
    """The statement on the messages themselves that gives the same rows, and its parameters: their definition."""
    found = statement("queries/from_messages/" + read.name.partition("_of_")[0])
    return found, {each: getattr(read, each) for each in found.types}


def counter_read(query: StatsQuery) -> CounterRead:
    """The read that holds a query's report.

    A key that a filter fixes needs no listing: where all keys of the grouping are fixed, one sum is left.
    """
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
    return CounterRead(name, *filters)


class CounterReader:
    """Runs reads, many of the same kind in one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_counted = False
        self._checked_at = -float("inf")

    async def is_counted(self) -> bool:
        """Whether the counters hold all messages. They will for good; whether they can is asked now and then.

        Raises Unavailable where `messages` is a table that the triggers can't count.
        """
        if not self._is_counted or time.monotonic() - self._checked_at > CHECK_SECONDS:
            (found,) = await self._database.fetch(statement("queries/baseline"))
            if found["uncountable"]:
                logger.error("the queue can't be counted reason=%r", found["uncountable"])
                raise Unavailable(": the queue can't be counted")
            self._is_counted, self._checked_at = found["stands"], time.monotonic()
        return self._is_counted

    async def read(self, wanted: Sequence[CounterRead]) -> Sequence[list[StatsRow]]:
        """The rows of each, in its order; each from one snapshot taken after the call. `wanted` has no repeats."""
        if not await self.is_counted():
            return [await self.scan(each) for each in wanted]
        found: dict[CounterRead, list[StatsRow]] = {}
        for name in dict.fromkeys(each.name for each in wanted):
            same = [each for each in wanted if each.name == name]
            found.update(zip(same, await self._read(same), strict=True))
        return [found[each] for each in wanted]

    async def _read(self, reads: Sequence[CounterRead]) -> list[list[StatsRow]]:
        asked, parameters = from_counters(reads)
        found: list[list[StatsRow]] = [[] for _ in reads]
        for number, (position, *values) in enumerate(await self._database.fetch(asked, **parameters), 1):
            found[position - 1].append(StatsRow(*values))
            if number % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        return found

    async def scan(self, read: CounterRead) -> list[StatsRow]:
        """The rows of one read, added up from the messages themselves, in time that grows with the queue."""
        asked, parameters = from_messages(read)
        return [StatsRow(*record) for record in await self._database.fetch_scan(asked, **parameters)]


class Statistics:
    """Reports of queues; one for each process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        reader = CounterReader(database)
        totals = min(TOTAL_BATCHES, settings.pool_size - 1)
        self._totals = _coalescer(reader, settings, batches=totals)
        self._listings = _coalescer(reader, settings, batches=settings.pool_size - totals)

    async def ask(self, query: StatsQuery) -> Outcome[StatsReport]:
        """The report of a query, its rows in ascending order of their keys, from one snapshot taken after the call.

        Grouping `total` gives exactly one row, the others one per key that has messages. Raises Unavailable, also
        where too many wait, or TimedOut.
        """
        wanted = counter_read(query)
        coalescer = self._totals if wanted.name == "total" else self._listings
        outcome = await coalescer.ask(wanted)
        return Outcome(report(query, outcome.result), outcome.wait_seconds, outcome.batch_seconds)


def _coalescer(reader: CounterReader, settings: Settings, batches: int) -> Coalescer[CounterRead, list[StatsRow]]:
    limits = Limits(
        batches=batches,
        queries=settings.batch_queries,
        waiters=settings.waiting_requests,
        # One that has waited for half of its time would hardly be answered in the other half.
        wait_seconds=settings.request_time_limit_ms / 2000,
    )
    return Coalescer(reader.read, limits, is_large=lambda rows: len(rows) > SLICE_ROWS)


async def ask(database: Database, query: StatsQuery, *, is_from_messages: bool = False) -> StatsReport:
    """As `Statistics.ask`, for a single query; with `is_from_messages` added up from the messages themselves."""
    reader, wanted = CounterReader(database), counter_read(query)
    return report(query, await reader.scan(wanted) if is_from_messages else (await reader.read([wanted]))[0])


def report(query: StatsQuery, rows: Sequence[StatsRow]) -> StatsReport:
    """The rows that were read for a query, under the keys that its grouping shows."""
    labels: dict[str, Any] = {}
    if query.grouping in (Grouping.ACCOUNT, Grouping.ACCOUNT_CAMPAIGN):
        labels["account_id"] = query.account_id
    if query.grouping is Grouping.ACCOUNT_CAMPAIGN:
        labels["campaign_id"] = query.campaign_id
    if query.grouping is Grouping.ISP:
        labels["isp"] = query.isp
    # Keys that no filter fixes stand in the rows already.
    labels = {key: value for key, value in labels.items() if value is not None}
    if not labels:
        return StatsReport(rows)
    # Only `total` says of nothing that it is nothing.
    return StatsReport([msgspec.structs.replace(row, **labels) for row in rows if row.total])

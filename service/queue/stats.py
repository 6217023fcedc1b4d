"""The use case: a query about a queue, and its report. Requests that wait together share one statement."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from service.cluster.shards import Shards
from service.db import Database, Statement, load_statement
from service.errors import ServiceError, Unavailable, Uncounted
from service.model import StatsQuery, StatsReport, StatsRow
from service.queue.coalescer import Coalescer, Limits, Outcome
from service.settings import Settings
from service.telemetry import negative
from service.telemetry.metrics import BATCH_QUERIES

# How long a queue on one machine is taken to be on one machine; its counters are gone from the moment it is not.
CHECK_SECONDS = 10.0
# Rows that are converted before others get their turn on the event loop: about a millisecond.
SLICE_ROWS = 1000


def statement_name(query: StatsQuery) -> str:
    """The file of `queries/from_counters/` that answers a query.

    It lists the keys of the grouping. A key that a filter fixes needs no listing: where all are fixed, one sum is left.
    """
    listed = [key for key in query.grouping.keys if getattr(query, key) is None]
    name = "_".join(key.removesuffix("_id") for key in listed) or "total"
    return "account_campaign_of_isp" if name == "account_campaign" and query.isp is not None else name


def from_counters(queries: Sequence[StatsQuery]) -> tuple[Statement, dict[str, Any]]:
    """The statement on the counters for queries of one statement name, and its parameters, an array each."""
    found = load_statement(f"queries/from_counters/{statement_name(queries[0])}")
    return found, {each: [getattr(query, each) for query in queries] for each in found.types}


def from_messages(query: StatsQuery) -> tuple[Statement, dict[str, Any]]:
    """The statement on the messages themselves that defines the answer, and its parameters."""
    found = load_statement(f"queries/from_messages/{query.grouping}")
    return found, {each: getattr(query, each) for each in found.types}


def parts_of(query: StatsQuery) -> tuple[StatsQuery, ...]:
    """The queries that its report is the sum of: itself, or one for each account that a limited token may see.

    All have the same statement, and so one snapshot.
    """
    if query.account_ids is None:
        return (query,)
    return tuple(msgspec.structs.replace(query, account_id=each, account_ids=None) for each in query.account_ids)


class CounterReader:
    """Runs queries, many of the same kind in one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_distributed = False
        self._shards = Shards(database)
        self._checked_at = -float("inf")

    async def is_distributed(self) -> bool:
        """Whether Citus has distributed the queue over many machines. Raises Unavailable or TimedOut."""
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            (found,) = await self._database.fetch(load_statement("queries/baseline"))
            self._is_distributed = found["is_distributed"]
            if self._is_distributed:
                await self._shards.look_for_changes()
            self._checked_at = time.monotonic()
        return self._is_distributed

    async def read(self, queries: Sequence[StatsQuery]) -> list[StatsReport | ServiceError]:
        """The report of each, in their order; each from one snapshot taken after the call. `queries` has no repeats.

        Of a distributed queue an error in place of a report, where its node is away or has not counted it yet. Raises
        Uncounted where the counters do not hold all messages: `scan` has the answer. Raises Unavailable or TimedOut.
        """
        BATCH_QUERIES.observe(len(queries))
        is_distributed = await self.is_distributed()
        parts = {each: parts_of(each) for each in queries}
        by_name: dict[str, list[StatsQuery]] = {}
        for each in dict.fromkeys(chain.from_iterable(parts.values())):
            by_name.setdefault(statement_name(each), []).append(each)
        found: dict[StatsQuery, StatsReport | ServiceError] = {}
        for name, same in by_name.items():
            rows = await (self._shards.read(name, same) if is_distributed else self._read(same))
            found.update((query, _report(query, own)) for query, own in zip(same, rows, strict=True))
        return [found[own[0]] if own == (each,) else _sum(found[part] for part in own) for each, own in parts.items()]

    async def _read(self, queries: Sequence[StatsQuery]) -> Sequence[list[StatsRow] | ServiceError]:
        statement, parameters = from_counters(queries)
        found: list[list[StatsRow]] = [[] for _ in queries]
        refused: dict[int, ServiceError] = {}
        try:
            rows = await self._database.fetch(statement, **parameters)
        except Uncounted:
            # A partition that has just been created is counted from now on.
            (followed,) = await self._database.fetch_writing(load_statement("queries/follow_partitions"))
            if not followed["is_counted"]:
                raise
            rows = await self._database.fetch(statement, **parameters)
        for number, (position, *values) in enumerate(rows, 1):
            row = StatsRow(*values)
            found[position - 1].append(row)
            if row.is_negative:
                refused[position - 1] = negative.refuse(queries[position - 1].sender_id)
            if number % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        return [refused.get(number, own) for number, own in enumerate(found)]

    async def scan(self, query: StatsQuery) -> StatsReport:
        """The report of one query, added up from the messages themselves, in time that grows with the queue.

        Raises Unavailable for a limited token: its accounts would be scanned one by one, each in a snapshot of its own.
        """
        if query.account_ids is not None:
            raise Unavailable(": the queue is being counted")
        if await self.is_distributed():
            return StatsReport(await self._shards.scan(query))
        statement, parameters = from_messages(query)
        return StatsReport([StatsRow(*record) for record in await self._database.fetch_scan(statement, **parameters)])

    async def scan_each(self, queries: Sequence[StatsQuery]) -> list[StatsReport]:
        return [await self.scan(each) for each in queries]


class Statistics:
    """Reports of queues; one for each process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        reader = CounterReader(database)
        # One connection of the pool is for totals, so that listings, however long, never hold up a total.
        self._totals = _coalescer(reader, settings, batches=1)
        self._listings = _coalescer(reader, settings, batches=settings.pool_size - 1)
        # A scan takes as long as it takes, and leaves a connection to those who need none.
        limits = Limits(settings.pool_size - 1, 1, settings.waiting_requests, settings.request_time_limit_ms / 2000)
        self._scans: Coalescer[StatsQuery, StatsReport] = Coalescer(reader.scan_each, limits)

    async def ask(self, query: StatsQuery) -> Outcome[StatsReport]:
        """The report of a query, its rows in ascending order of their keys, from one snapshot taken after the call.

        Grouping `total` gives exactly one row, the others one per key that has messages. Raises Unavailable, also
        where too many wait, or TimedOut.
        """
        try:
            return await (self._totals if statement_name(query) == "total" else self._listings).ask(query)
        except Uncounted:
            return await self._scans.ask(query)


def _coalescer(reader: CounterReader, settings: Settings, batches: int) -> Coalescer[StatsQuery, StatsReport]:
    limits = Limits(
        batches=batches,
        queries=settings.batch_queries,
        waiters=settings.waiting_requests,
        # One that has waited for half of its time would hardly be answered in the other half.
        wait_seconds=settings.request_time_limit_ms / 2000,
    )
    return Coalescer(reader.read, limits, is_large=lambda report: len(report.rows) > SLICE_ROWS, kind=statement_name)


async def ask(database: Database, query: StatsQuery, *, is_from_messages: bool = False) -> StatsReport:
    """As `Statistics.ask`, for a single query; with `is_from_messages` added up from the messages themselves."""
    reader = CounterReader(database)
    if is_from_messages:
        return await reader.scan(query)
    try:
        (report,) = await reader.read([query])
        if isinstance(report, ServiceError):
            raise report
    except Uncounted:
        report = await reader.scan(query)
    return report


def _sum(reports: Iterable[StatsReport | ServiceError]) -> StatsReport | ServiceError:
    whole: list[StatsReport] = []
    for report in reports:
        if isinstance(report, ServiceError):
            return report
        whole.append(report)
    rows: dict[tuple[int, int, bytes], StatsRow] = {}
    for row in chain.from_iterable(report.rows for report in whole):
        key = (row.account_id, row.campaign_id, row.isp.encode())
        rows[key] = _add(row, rows[key]) if key in rows else row
    return StatsReport([rows[key] for key in sorted(rows)])


def _add(one: StatsRow, other: StatsRow) -> StatsRow:
    counts = ("new", "proc", "retry", "hold", "total")
    return msgspec.structs.replace(one, **{each: getattr(one, each) + getattr(other, each) for each in counts})


def _report(query: StatsQuery, rows: Sequence[StatsRow] | ServiceError) -> StatsReport | ServiceError:
    """The rows that were read for a query, with the keys that a filter fixed."""
    if isinstance(rows, ServiceError):
        return rows
    fixed = {key: getattr(query, key) for key in query.grouping.keys if getattr(query, key) is not None}
    if not fixed:
        return StatsReport(rows)
    # Only `total` says of nothing that it is nothing.
    return StatsReport([msgspec.structs.replace(row, **fixed) for row in rows if row.total])

"""The use case: a query about a queue, and its report. Requests that wait together share one statement."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import msgspec

from service.cluster import Topology, find_topology
from service.cluster.topology import SLICE_ROWS, statement_name, sub_queries
from service.db import Database
from service.errors import ServiceError, Unavailable, Uncounted
from service.model import Measure, StatsQuery
from service.queue.coalescer import Coalescer, Limits, Outcome
from service.reports import StatsReport, StatsRow
from service.settings import Settings
from service.telemetry.metrics import BATCH_QUERIES

# When the queue of one machine is distributed, its counters are dropped. Until the next check, requests get 503.
RECHECK_SECONDS = 10.0


class CounterReader:
    """Runs queries, many of the same kind in one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._topology: Topology | None = None
        self._checked_at = 0.0

    async def read(self, queries: Sequence[StatsQuery]) -> list[StatsReport | ServiceError]:
        """The reports in the order of `queries`, which has no repeats; each from one snapshot taken after the call.

        An error replaces a report whose counts are wrong, or whose node of a cluster does not answer or has not counted
        it yet. Raises Uncounted if the counters do not include all messages: use `scan`. Raises Unavailable, TimedOut.
        """
        BATCH_QUERIES.observe(len(queries))
        topology = await self._current()
        by_name: dict[str, dict[StatsQuery, None]] = {}
        for sub_query in chain.from_iterable(map(sub_queries, queries)):
            # It may also be one of the other queries.
            by_name.setdefault(statement_name(sub_query), {})[sub_query] = None
        reports: dict[StatsQuery, StatsReport | ServiceError] = {}
        for alike in map(list, by_name.values()):
            reports.update(zip(alike, map(_report, alike, await topology.read(alike)), strict=True))
        return [reports.get(query) or _sum(reports[sub_query] for sub_query in sub_queries(query)) for query in queries]

    async def _current(self) -> Topology:
        """The topology, at most `RECHECK_SECONDS` old."""
        if self._topology is None or time.monotonic() - self._checked_at > RECHECK_SECONDS:
            self._topology = await find_topology(self._database, self._topology)
            # If they have changed, the locations of senders are dropped.
            await self._topology.nodes()
            self._checked_at = time.monotonic()
        return self._topology

    async def scan(self, queries: Sequence[StatsQuery]) -> list[StatsReport]:
        """As `read`, but one query at a time, from the messages themselves, in time proportional to the queue.

        Raises Unavailable for a limited token, because each of its accounts would be scanned in another snapshot, and
        for rates, which cannot be read from the messages.
        """
        if any(query.account_ids is not None or query.has_rates for query in queries):
            raise Unavailable(": the queue is being counted")
        topology = await self._current()
        return [StatsReport(await topology.scan(query)) for query in queries]


class Statistics:
    """Reports of queues; a process has one for requests, and one for streams."""

    def __init__(self, database: Database, settings: Settings, rest: float = 0) -> None:
        """`rest`: see `Limits`."""
        reader = CounterReader(database)
        # A query that has waited for half of its time limit would hardly be answered in the other half.
        wait_seconds = settings.request_time_limit_ms / 2000
        limits = Limits(1, settings.batch_queries, settings.waiting_requests, wait_seconds, rest)
        # One connection of the pool is for totals, so that long reports never delay a total.
        self._totals = Coalescer(reader.read, limits)
        limits = replace(limits, batches=settings.pool_size - 1)
        self._listings = Coalescer(reader.read, limits, is_large=_is_large, kind=statement_name)
        # A scan may take long, so one connection remains for queries that need no scan.
        self._scans = Coalescer(reader.scan, replace(limits, queries=1))

    async def run(self, query: StatsQuery) -> Outcome[StatsReport]:
        """The report of a query, with rows in ascending order of their keys, from one snapshot taken after the call.

        Grouping `total` has exactly one row, the others one for each key that has messages. Raises Unavailable, also if
        too many requests wait, or TimedOut.
        """
        coalescer = self._totals if statement_name(query) == "total" else self._listings
        try:
            return await coalescer.run(query)
        except Uncounted:
            return await self._scans.run(query)


async def fetch_report(database: Database, query: StatsQuery, *, is_from_messages: bool = False) -> StatsReport:
    """As `Statistics.run`, for a single query; with `is_from_messages` it counts the messages themselves."""
    reader = CounterReader(database)
    if not is_from_messages:
        with suppress(Uncounted):
            (report,) = await reader.read([query])
            if isinstance(report, ServiceError):
                raise report
            return report
    return (await reader.scan([query]))[0]


def _is_large(report: StatsReport) -> bool:
    return len(report.rows) > SLICE_ROWS


def _report(query: StatsQuery, rows: Sequence[StatsRow] | ServiceError) -> StatsReport | ServiceError:
    """The rows of a query, with the keys from its filters."""
    if isinstance(rows, ServiceError):
        return rows
    fixed = {key: value for key in query.grouping.keys if (value := getattr(query, key)) is not None}
    if not fixed:
        return StatsReport(rows)
    # Only `total` has a row if the queue is empty.
    return StatsReport([msgspec.structs.replace(row, **fixed) for row in rows if row.total])


def _sum(reports: Iterable[StatsReport | ServiceError]) -> StatsReport | ServiceError:
    sums: dict[tuple[int, int, bytes], StatsRow] = {}
    for report in reports:
        if isinstance(report, ServiceError):
            return report
        for row in report.rows:
            key = (row.account_id, row.campaign_id, row.isp.encode())
            sums[key] = _add(row, sums[key]) if key in sums else row
    return StatsReport([sums[key] for key in sorted(sums)])


def _add(one: StatsRow, other: StatsRow) -> StatsRow:
    return msgspec.structs.replace(one, **{name: getattr(one, name) + getattr(other, name) for name in Measure})

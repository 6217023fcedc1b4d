"""The use case: a query about a queue, and its report. Requests that wait together share one statement."""

import asyncio
import time
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import msgspec

from service.cluster import Topology, find_topology
from service.cluster.topology import SLICE_ROWS, statement_name, sub_queries
from service.db import Database
from service.errors import ServiceError, Unavailable, Uncounted
from service.model import Grouping, Measure, StatsQuery
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
            self._topology = await find_topology(self._database)
            self._checked_at = time.monotonic()
        return self._topology

    def queue_of(self, sender_id: int) -> Hashable:
        """As `Topology.queue_of`; None before the first batch, which finds the topology."""
        return self._topology.queue_of(sender_id) if self._topology else None

    async def scan(self, queries: Sequence[StatsQuery]) -> list[StatsReport]:
        """As `read`, but one query at a time, from the messages themselves, in time proportional to the queue.

        Raises Unavailable for a limited token, because each of its accounts would be scanned in another snapshot, and
        for rates, which cannot be read from the messages.
        """
        if any(query.account_ids is not None or query.has_rates for query in queries):
            raise Unavailable(": the queue is being counted")
        topology = await self._current()
        return [StatsReport(await topology.scan(query)) for query in queries]


class _Queues:
    """The waiting queries of one node."""

    def __init__(self, reader: CounterReader, totals: Limits, listings: Limits) -> None:
        self.totals = Coalescer(reader.read, totals)
        self.listings = Coalescer(reader.read, listings, is_large=_is_large, kind=statement_name)
        # A scan may take long, so one connection remains for queries that need no scan.
        self.scans = Coalescer(reader.scan, replace(listings, queries=1))


class Statistics:
    """Reports of queues; a process has one for requests, and one for streams."""

    def __init__(self, database: Database, settings: Settings, rest: float = 0) -> None:
        """`rest`: see `Limits`."""
        self._reader = CounterReader(database)
        # A query that has waited for half of its time limit would hardly be answered in the other half.
        wait_seconds = settings.request_time_limit_ms / 2000
        self._totals = Limits(1, settings.batch_queries, settings.waiting_requests, wait_seconds, rest)
        # One connection of the pool is for totals, so that long reports never delay a total.
        self._listings = replace(self._totals, batches=settings.pool_size - 1)
        # By node: a node that does not respond delays no query of another node.
        self._queues: dict[Hashable, _Queues] = {}
        self._warm_nodes: set[Hashable] = set()

    async def run(self, query: StatsQuery) -> Outcome[StatsReport]:
        """The report of a query, with rows in ascending order of their keys, from one snapshot taken after the call.

        Grouping `total` has exactly one row, the others one for each key that has messages. Raises Unavailable, also if
        too many requests wait, or TimedOut.
        """
        node = self._reader.queue_of(query.sender_id)
        if (queues := self._queues.get(node)) is None:
            queues = self._queues[node] = _Queues(self._reader, self._totals, self._listings)
        coalescer = queues.totals if statement_name(query) == "total" else queues.listings
        try:
            return await coalescer.run(query)
        except Uncounted:
            return await queues.scans.run(query)

    async def warm_up(self, topology: Topology) -> None:
        """Runs a query of each group mode on each node of a cluster that has answered none yet; nothing elsewhere.

        The first statements of a connection take much longer there. A node that does not answer is left out.
        """
        samples = await topology.sample_senders(self._warm_nodes)
        await asyncio.gather(*(self._warm_up(node, sender_id) for node, sender_id in samples.items()))

    async def _warm_up(self, node: Hashable, sender_id: int | None) -> None:
        with suppress(ServiceError):
            if sender_id is not None:
                await asyncio.gather(*(self.run(StatsQuery(sender_id, grouping=grouping)) for grouping in Grouping))
            self._warm_nodes.add(node)


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

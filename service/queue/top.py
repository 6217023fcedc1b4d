"""The use case: who has the most messages, or the oldest ones."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from service.cluster import find_topology
from service.db import Database
from service.errors import ServiceError
from service.model import Measure, StatsQuery, TopQuery
from service.queue.coalescer import Coalescer, Limits
from service.queue.stats import CounterReader
from service.reports import TopReport
from service.settings import Settings
from service.telemetry.metrics import refuse_negative

Top: TypeAlias = Coalescer[TopQuery, TopReport]


def open_top(database: Database, settings: Settings) -> Top:
    """One for each process: equal queries that wait together share a statement."""

    async def fetch(queries: Sequence[TopQuery]) -> list[TopReport]:
        return [await fetch_top(database, query) for query in queries]

    return Coalescer(fetch, Limits(1, 1, settings.waiting_requests, settings.request_time_limit_ms / 2000))


async def fetch_top(database: Database, query: TopQuery) -> TopReport:
    """From one snapshot taken after the call; on a cluster, one for each node. Raises Unavailable or TimedOut."""
    if query.sender_ids is not None:
        rows = await _totals(database, query)
    else:
        rows = await (await find_topology(database)).top(query)
    for row in rows:
        if min(row[count] for count in Measure) < 0:
            raise refuse_negative(query.sender_id or row["sender_id"])
    columns = sorted([query.by.column, *Measure]) + ["oldest"] * query.by_age
    return TopReport([{column: row[column] for column in columns} for row in rows])


async def _totals(database: Database, query: TopQuery) -> Sequence[Any]:
    """The rows of the senders that a token is limited to, as from `Topology.top`."""
    sender_ids = query.sender_ids or ()
    queries = [StatsQuery(sender_id, has_oldest=query.by_age) for sender_id in sender_ids]
    rows = []
    for sender_id, report in zip(sender_ids, await CounterReader(database).read(queries), strict=True):
        if isinstance(report, ServiceError):
            raise report
        rows.append({"sender_id": sender_id, **msgspec.to_builtins(report.rows[0])})
    found = [row for row in rows if row[query.order]]
    return sorted(found, key=lambda row: row["oldest"][query.order] if query.by_age else -row[query.order])[
        : query.limit
    ]

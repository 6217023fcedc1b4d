"""The use case: who has the most messages."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from service.cluster import find_topology
from service.db import Database
from service.errors import ServiceError
from service.model import Measure, StatsQuery, TopQuery, TopReport
from service.queue.coalescer import Coalescer, Limits
from service.queue.stats import CounterReader
from service.settings import Settings
from service.telemetry.metrics import refuse_negative

_COUNTS = sorted(Measure)

Top: TypeAlias = Coalescer[TopQuery, TopReport]


def open_top(database: Database, settings: Settings) -> Top:
    """One for each process: equal queries that wait together share a statement."""

    async def fetch(queries: Sequence[TopQuery]) -> list[TopReport]:
        return [await fetch_top(database, query) for query in queries]

    return Coalescer(fetch, Limits(1, 1, settings.waiting_requests, settings.request_time_limit_ms / 2000))


async def fetch_top(database: Database, query: TopQuery) -> TopReport:
    """From one snapshot taken after the call; on a cluster, one for each node. Raises Unavailable or TimedOut."""
    if query.sender_ids is not None:
        return TopReport(await _fetch_senders(database, query, query.sender_ids))
    rows = await (await find_topology(database)).top(query)
    for row in rows:
        if min(row[count] for count in _COUNTS) < 0:
            raise refuse_negative(query.sender_id or row["sender_id"])
    columns = sorted([query.by.column, *_COUNTS])
    return TopReport([{column: row[column] for column in columns} for row in rows])


async def _fetch_senders(
    database: Database, query: TopQuery, sender_ids: Sequence[int]
) -> Sequence[Mapping[str, int | str]]:
    """For a token that is limited to these senders: their totals, in order."""
    rows = []
    reports = await CounterReader(database).read([StatsQuery(sender_id) for sender_id in sender_ids])
    for sender_id, report in zip(sender_ids, reports, strict=True):
        if isinstance(report, ServiceError):
            raise report
        counts = {count.value: getattr(report.rows[0], count) for count in _COUNTS}
        if counts[query.order]:
            rows.append(dict(sorted({"sender_id": sender_id, **counts}.items())))
    rows.sort(key=lambda row: -row[query.order])
    return rows[: query.limit]

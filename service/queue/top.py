"""The use case: who has the most messages."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from service.cluster.shards import Shards, nodes_of
from service.db import Database, Statement, load_statement
from service.errors import ServiceError
from service.model import Dimension, Measure, StatsQuery, TopQuery, TopReport
from service.queue.coalescer import Coalescer, Limits
from service.queue.stats import CounterReader
from service.settings import Settings
from service.telemetry import negative

_COUNTS = sorted(Measure)


Top = Coalescer[TopQuery, TopReport]


def open_top(database: Database, settings: Settings) -> Top:
    """One for each process: equal queries that wait together share a statement."""

    async def read(queries: Sequence[TopQuery]) -> list[TopReport]:
        return [await ask(database, query) for query in queries]

    return Coalescer(read, Limits(1, 1, settings.waiting_requests, settings.request_time_limit_ms / 2000))


async def ask(database: Database, query: TopQuery) -> TopReport:
    """From one snapshot taken after the call. Raises Unavailable or TimedOut."""
    parameters: dict[str, Any] = {"largest_by": query.order, "row_limit": query.limit}
    if query.sender_ids is not None:
        return await _of_senders(database, query, query.sender_ids)
    if query.by is not Dimension.SENDER:
        parameters |= {"sender_id": query.sender_id, "grouping_set": query.by}
    name = "senders" if query.by is Dimension.SENDER else "keys"
    rows: Sequence[Any]
    if nodes := await nodes_of(database):
        rows = await _at_nodes(database, nodes, query, load_statement(f"queries/citus/top_{name}"), parameters)
    else:
        rows = await database.fetch(load_statement(f"queries/top/{name}"), **parameters)
    for row in rows:
        if min(row[each] for each in _COUNTS) < 0:
            raise negative.refuse(query.sender_id or row["sender_id"])
    columns = sorted([query.by.column, *_COUNTS])
    return TopReport([{column: row[column] for column in columns} for row in rows])


async def _at_nodes(
    database: Database, nodes: Sequence[Database], query: TopQuery, statement: Statement, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    """As on one machine. Of all senders: the largest of each node, each node in a snapshot of its own."""
    if query.sender_id is not None:
        records = await Shards(database).fetch_at(asked=statement, **parameters)
    else:
        of_nodes = await asyncio.gather(*(each.fetch(statement, **parameters) for each in nodes))
        records = list(chain.from_iterable(of_nodes))
    rows: list[dict[str, Any]] = [msgspec.json.decode(each["found"]) for each in records]
    rows.sort(key=lambda row: (-row[query.order], row[query.by.column]))
    return rows[: query.limit]


async def _of_senders(database: Database, query: TopQuery, sender_ids: Sequence[int]) -> TopReport:
    """For a token that is limited to these senders: their totals, in order."""
    rows = []
    reports = await CounterReader(database).read([StatsQuery(each) for each in sender_ids])
    for sender_id, report in zip(sender_ids, reports, strict=True):
        if isinstance(report, ServiceError):
            raise report
        counts = {each.value: getattr(report.rows[0], each) for each in _COUNTS}
        if counts[query.order]:
            rows.append(dict(sorted({"sender_id": sender_id, **counts}.items())))
    rows.sort(key=lambda row: -row[query.order])
    return TopReport(rows[: query.limit])

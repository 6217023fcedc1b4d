"""The use case: a question about a queue, and its report. Questions that wait together become one statement."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.coalescer import Coalescer, Limits, Outcome
from service.db import Database
from service.model import Grouping, StatsQuery, StatsReport, StatsRow
from service.row_sets import SLICE_ROWS, RowSet, RowSets, row_set
from service.settings import Settings

# Statements for one-row answers that are on their way at once; the other connections of the pool are for listings, so
# that those, however long, never hold up a total.
TOTAL_BATCHES = 2


class Statistics:
    """Answers queries about queues; one for each process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        row_sets = RowSets(database)
        totals = min(TOTAL_BATCHES, settings.pool_size - 1)
        self._totals = _coalescer(row_sets, settings, batches=totals)
        self._listings = _coalescer(row_sets, settings, batches=settings.pool_size - totals)

    async def ask(self, query: StatsQuery) -> Outcome[StatsReport]:
        """The report of a query, its rows in ascending order of their keys, from one snapshot taken after the call.

        Grouping `total` gives exactly one row, the others one per key that has messages. Raises Unavailable, also
        where too many wait, or TimedOut.
        """
        wanted = row_set(query)
        coalescer = self._totals if wanted.name == "total" else self._listings
        outcome = await coalescer.ask(wanted)
        return Outcome(report(query, outcome.result), outcome.wait_seconds, outcome.batch_seconds)


def _coalescer(row_sets: RowSets, settings: Settings, batches: int) -> Coalescer[RowSet, list[StatsRow]]:
    limits = Limits(
        batches=batches,
        queries=settings.batch_queries,
        waiters=settings.waiting_requests,
        # One that has waited for half of its time would hardly be answered in the other half.
        wait_seconds=settings.request_time_limit_ms / 2000,
    )
    return Coalescer(row_sets.read, limits, is_large=lambda rows: len(rows) > SLICE_ROWS)


async def ask(database: Database, query: StatsQuery) -> StatsReport:
    """As `Statistics.ask`, for a single question."""
    (rows,) = await RowSets(database).read([row_set(query)])
    return report(query, rows)


def report(query: StatsQuery, rows: Sequence[StatsRow]) -> StatsReport:
    """The rows of the query's row set, under the keys that its grouping shows."""
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

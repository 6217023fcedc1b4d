"""The use case: a question about a queue, and its report. Questions that wait together become one statement."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from service.batch import Answered, Batcher, Limits
from service.db import Database, Replica
from service.model import Grouping, StatsQuery, StatsReport, StatsRow
from service.row_sets import SLICE_ROWS, Reports, RowSet, RowSets, row_set
from service.settings import Settings

# Statements for one-row answers that are on their way at once; the other connections of the pool are for listings, so
# that those, however long, never hold up a total.
TOTAL_ROUNDS = 2


class Statistics:
    """Answers questions about queues, from the replica where there is one; one for each process."""

    def __init__(self, database: Database, settings: Settings, replica: Replica | None = None) -> None:
        reports = Reports(database, replica)
        totals = min(TOTAL_ROUNDS, settings.pool_size - 1)
        self._totals = _batcher(reports, settings, rounds=totals)
        self._listings = _batcher(reports, settings, rounds=settings.pool_size - totals)

    async def ask(self, query: StatsQuery, is_gone: Callable[[], bool] = lambda: False) -> Answered[StatsReport]:
        """The report of a query, its rows in ascending order of their keys, from one snapshot taken after the call.

        On a replica that snapshot lags behind, by `lag_seconds` of the report at most.

        Grouping `total` gives exactly one row, the others one per key that has messages. Raises Unavailable, also
        where too many wait, or TimedOut.
        """
        wanted = row_set(query)
        batcher = self._totals if wanted.name == "total" else self._listings
        answered = await batcher.ask(wanted, is_gone)
        found = answered.answer
        labelled = report(query, found.rows, found.lag_seconds)
        return Answered(labelled, answered.wait_seconds, answered.round_seconds)


def _batcher(reports: Reports, settings: Settings, rounds: int) -> Batcher[RowSet, StatsReport]:
    limits = Limits(
        rounds=rounds,
        questions=settings.batch_questions,
        waiting=settings.waiting_requests,
        wait_seconds=settings.wait_limit_ms / 1000,
    )
    return Batcher(reports.read, limits, is_large=lambda found: len(found.rows) > SLICE_ROWS)


async def ask(database: Database, query: StatsQuery) -> StatsReport:
    """As `Statistics.ask`, for a single question."""
    (rows,) = await RowSets(database).read([row_set(query)])
    return report(query, rows)


def report(query: StatsQuery, rows: Sequence[StatsRow], lag_seconds: float | None = None) -> StatsReport:
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
        return StatsReport(rows, lag_seconds)
    # Only `total` says of nothing that it is nothing.
    return StatsReport([msgspec.structs.replace(row, **labels) for row in rows if row.total], lag_seconds)

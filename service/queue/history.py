"""The use case: the changes of the counts of a sender, by steps of a minute, ten minutes or an hour."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from service.cluster import find_topology
from service.db import Database
from service.errors import Unavailable, Uncounted
from service.model import HistoryQuery
from service.queue.coalescer import Coalescer, Limits
from service.reports import HistoryReport
from service.settings import Settings
from service.telemetry.metrics import refuse_negative

History: TypeAlias = Coalescer[HistoryQuery, HistoryReport]
_COUNTS = ("new", "proc", "retry", "hold")


def open_history(database: Database, settings: Settings) -> History:
    """The coalescer for history queries, one for each process."""

    async def fetch(queries: Sequence[HistoryQuery]) -> list[HistoryReport]:
        return [await fetch_history(database, query) for query in queries]

    return Coalescer(fetch, Limits(1, 1, settings.waiting_requests, settings.request_time_limit_ms / 2000))


async def fetch_history(database: Database, query: HistoryQuery) -> HistoryReport:
    """From one snapshot taken after the call. Raises BadRequest, Unavailable or TimedOut."""
    try:
        rows = await (await find_topology(database)).history(query)
    except Uncounted as error:
        raise Unavailable(": the queue is being counted") from error
    if any(row[count] < 0 for row in rows[-1:] for count in _COUNTS):
        raise refuse_negative(query.sender_id)
    return HistoryReport([_members(row) for row in rows])


def _members(row: Mapping[str, object]) -> dict[str, object]:
    """The members of a row in alphabetical order, as in a response."""
    counts = {name: row[name] for name in _COUNTS}
    members = {"at": row["at"], "isp": row["isp"], "arrived": row["arrived"], "left": row["departed"], **counts}
    return dict(sorted({**members, "total": sum(counts.values())}.items()))  # type: ignore[arg-type]

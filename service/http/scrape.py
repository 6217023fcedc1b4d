"""The values that a scrape of `/metrics` reads from the database in time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from service.counters.health import SERVED
from service.errors import ServiceError
from service.http.requests import Service
from service.model import Dimension, Measure, StatsQuery, TopQuery
from service.reports import StatsRowWithRates
from service.telemetry.metrics import OfDatabase

Result = TypeVar("Result")

# Prometheus waits for ten seconds by default.
LONGEST_SECONDS = 4.0


def scrape_seconds(request_time_limit_ms: int) -> float:
    """The time for which a scrape waits for the database, so that the response is in time."""
    return min(LONGEST_SECONDS, request_time_limit_ms / 2000)


async def read_of_database(service: Service, deadline: float) -> OfDatabase:
    """The parts that the database answers before the deadline, which is in the time of the event loop."""
    largest = TopQuery(Dimension.SENDER, Measure.TOTAL, service.settings.metrics_senders)
    measured, obstacles, findings, report = await asyncio.gather(
        _by(deadline, service.control.measure()),
        _by(deadline, service.readiness.obstacles()),
        _by(deadline, service.readiness.findings()),
        # The largest senders of some nodes need not be those of the cluster.
        _by(deadline, service.top.run(largest)),
    )
    conditions = None
    found = Counter(finding.condition for finding in findings or ())
    # In an outage they may be older; a standby is found without a query.
    if findings is not None and (measured is not None or found.keys() == {"standby"}):
        conditions = [(condition.name, condition.severity.name.lower(), found[condition.name]) for condition in SERVED]
    rows, ages, rates = None if report is None else report.result.rows, None, None
    if rows is not None and measured and measured["has_arrivals"]:
        ages = await _by(deadline, _oldest_seconds(service, rows))
    if rows is not None:
        senders = {row["sender_id"] for row in rows} | {sender_id for sender_id, _ in ages or ()}
        rates = await _by(deadline, _rates(service, senders))
    return OfDatabase(measured, rows, conditions, ages, rates, is_ready=obstacles == [])


async def _oldest_seconds(service: Service, largest: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], float]:
    """The age of the oldest message by sender and status: of the senders first in a status, and of the largest ones.

    Uses the clock of this machine. A message whose time of arrival is in the future has the age 0.
    """
    statuses = [measure for measure in Measure if measure is not Measure.TOTAL]
    first = TopQuery(Dimension.SENDER, Measure.TOTAL, service.settings.metrics_senders, by_age=True)
    queries = [replace(first, order=status) for status in statuses]
    queries.append(replace(first, sender_ids=tuple(row["sender_id"] for row in largest)))
    # Run in sequence: if one list is refused, the others would be refused too.
    reports = [await service.top.run(query) for query in queries]
    now = datetime.now(UTC)
    return {
        (row["sender_id"], status): max(0.0, (now - datetime.fromisoformat(at)).total_seconds())
        for report in reports
        for row in report.result.rows
        for status in statuses
        if (at := row["oldest"][status])
    }


async def _rates(service: Service, senders: Iterable[int]) -> dict[int, tuple[int, int]]:
    """What arrived and left in the last five full minutes, by sender. Omits senders for which it is not known."""
    queries = [StatsQuery(sender_id, has_rates=True) for sender_id in senders]
    answers = await asyncio.gather(*map(service.statistics.run, queries))
    return {
        query.sender_id: (row.arrived, row.left)
        for query, answer in zip(queries, answers, strict=True)
        for row in answer.result.rows
        if isinstance(row, StatsRowWithRates) and row.arrived is not None and row.left is not None
    }


async def _by(deadline: float, reading: Awaitable[Result]) -> Result | None:
    """The result, or None if it is late. The driver ends a cancelled query later."""
    task = asyncio.ensure_future(reading)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        await asyncio.wait([task], timeout=max(0, deadline - asyncio.get_running_loop().time()))
        return task.result() if task.done() else None
    except ServiceError:
        return None
    finally:
        task.cancel()

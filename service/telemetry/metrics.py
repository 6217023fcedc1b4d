"""The metrics for Prometheus. The counts of all workers are added up; a scrape reads the others from the database.

With several workers, `prometheus_client` stores its values in files below PROMETHEUS_MULTIPROC_DIR, which `serve` sets
before the workers start.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import REGISTRY, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.errors import Unavailable

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("queuestats_requests", "Answered requests.", ["endpoint", "group", "format", "status"])
REQUEST_SECONDS = Histogram(
    "queuestats_request_seconds", "Time from the complete body to the response.", ["endpoint"], buckets=FAST
)
REFUSED = Counter("queuestats_refused", "Requests that were refused or failed.", ["status"])
BUDGET_USED = Gauge(
    "queuestats_budget_used", "Use of the budgets of tokens.", ["resource", "token"], multiprocess_mode="livesum"
)
BUDGET_REFUSED = Counter(
    "queuestats_budget_refused", "Requests that were refused because of a budget.", ["resource", "token"]
)
BATCH_QUERIES = Histogram(
    "queuestats_batch_queries", "Queries per statement.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
WAITING = Gauge("queuestats_waiting_requests", "Requests that wait for a statement.", multiprocess_mode="livesum")
STATEMENT_SECONDS = Histogram("queuestats_statement_seconds", "Duration of statements.", ["file"], buckets=FAST)
CONNECTIONS = Gauge(
    "queuestats_connections_in_use", "Database connections in use.", ["purpose"], multiprocess_mode="livesum"
)
STREAMS = Gauge("queuestats_streams", "Open streams.", multiprocess_mode="livesum")
FOLDED_AT = Gauge(
    "queuestats_folded_at_seconds", "Last time without pending deltas, in Unix time.", multiprocess_mode="max"
)
NEGATIVE_ANSWERS = Counter(
    "queuestats_negative_answers", "Answers that were not sent because a count in them was below zero."
)
PROVED_SENDERS = Counter("queuestats_proved_senders", "Senders that were recounted in the background.")
DRIFT_FOUND = Counter("queuestats_drifting_senders", "Senders whose counts differed from a recount in the background.")
CHANGED = Counter("queuestats_changed_messages", "Messages held, released and purged.", ["action"])

# The metrics that a scrape reads from the database.
GAUGES = {
    "pending_deltas": "Deltas that are not folded yet.",
    "silent_nodes": "Nodes of a cluster that do not answer.",
    "oldest_snapshot_transactions": "Transactions begun since the oldest snapshot that is still open.",
    "drift": "Wrong counts that are not repaired yet.",
    "verified_at": "Time of the last recount of senders in the background, in Unix time.",
    "fully_verified_at": "Time of the last verify of all senders, in Unix time.",
    "colliding_keys": "Texts of keys with the number of another text.",
    "holds": "Active holds.",
    "held_messages": "Messages that the active holds hold.",
    "open_jobs": "Holds, releases and purges that are not finished.",
    "job_wait_seconds": "Longest current wait of an open job for a lock or a transaction.",
}


def refuse_negative(sender_id: int) -> Unavailable:
    """The error that replaces an answer with a count below zero, which only drift causes; the log has the remedy."""
    NEGATIVE_ANSWERS.inc()
    advice = f"queuestats verify --sender {sender_id} --repair"
    logger.error("a count is below zero sender=%s advice=%r", sender_id, advice)
    return Unavailable(": the counts of the queue are wrong")


def render(read: "OfDatabase") -> bytes:
    """The exposition."""
    own, of_database = REGISTRY, CollectorRegistry()
    if DIRECTORY in os.environ:
        _forget_dead(Path(os.environ[DIRECTORY]))
        own = CollectorRegistry()
        MultiProcessCollector(own)  # type: ignore[no-untyped-call]
    of_database.register(read)
    return generate_latest(own) + generate_latest(of_database)


def _forget_dead(folder: Path) -> None:
    """Removes workers that have ended: they have no waiting requests, connections and streams."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


class OfDatabase(Collector):
    """The values that a scrape has read from the database. Values that could not be read are None, and omitted."""

    def __init__(
        self,
        measured: Mapping[str, Any] | None = None,
        largest: Iterable[Mapping[str, Any]] | None = None,
        conditions: Iterable[tuple[str, str, int]] | None = None,
        oldest_seconds: Mapping[tuple[int, str], float] | None = None,
        rates: Mapping[int, tuple[int, int]] | None = None,
        *,
        is_ready: bool = False,
    ) -> None:
        """`measured` has the GAUGES and the `budgets`, `largest` the rows of a TopReport by sender.

        `conditions`: the name, severity and number of findings of each condition of health.
        `oldest_seconds`: the age of the oldest message by sender and status; no other sender has an older message.
        `rates`: the messages that arrived and left in the last five full minutes, by sender.
        """
        self._measured, self._largest, self._conditions, self._is_ready = measured, largest, conditions, is_ready
        self._oldest_seconds, self._rates = oldest_seconds, rates or {}

    def collect(self) -> Iterable[Metric]:
        is_up = self._measured is not None
        yield GaugeMetricFamily("queuestats_database_up", "Whether the database answered this scrape.", value=is_up)
        yield GaugeMetricFamily("queuestats_ready", "Whether /readyz of this process is 200.", value=self._is_ready)
        for name, meaning in GAUGES.items():
            if self._measured and self._measured[name] is not None:
                yield GaugeMetricFamily(f"queuestats_{name}", meaning, value=self._measured[name])
        depth = GaugeMetricFamily(
            "queuestats_messages", "Messages of the largest senders.", labels=["sender", "status"]
        )
        for row in self._largest or ():
            for status in ("new", "proc", "retry", "hold"):
                depth.add_metric([str(row["sender_id"]), status], row[status])
        yield depth
        yield from self._ages()
        for index, verb in enumerate(("arrived", "left")):
            meaning = f"Messages that {verb} in the last five full minutes, of the same senders."
            moved = GaugeMetricFamily(f"queuestats_{verb}_messages", meaning, labels=["sender"])
            for sender_id, numbers in self._rates.items():
                moved.add_metric([str(sender_id)], numbers[index])
            yield moved
        found = GaugeMetricFamily(
            "queuestats_condition", "Findings of a condition of health.", labels=["condition", "severity"]
        )
        for name, severity, findings in self._conditions or ():
            found.add_metric([name, severity], findings)
        yield found
        used = GaugeMetricFamily(
            "queuestats_database_budget_used", "Active holds and open jobs of tokens.", labels=["resource", "token"]
        )
        for row in self._measured["budgets"] if self._measured else ():
            used.add_metric([row["resource"], row["token"]], row["used"])
        yield used

    def _ages(self) -> Iterable[Metric]:
        if (ages := self._oldest_seconds) is None:
            return
        meaning = "Age of the oldest message of a status, of the senders with the oldest and with the most messages."
        by_sender = GaugeMetricFamily("queuestats_oldest_seconds", meaning, labels=["sender", "status"])
        for (sender_id, status), seconds in ages.items():
            by_sender.add_metric([str(sender_id), status], seconds)
        yield by_sender
        meaning = "Age of the oldest message of all senders; 0 if there is none."
        yield GaugeMetricFamily("queuestats_oldest_seconds_max", meaning, value=max(ages.values(), default=0))

"""What is to be played, and what came of it."""

from dataclasses import dataclass

from service.errors import CommandError


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """How fast, in what batches, on how many connections, for how long.

    `rate` is in messages enqueued a second, all connections together. Sender 1 has most of them, as in a data set.
    Raises CommandError naming the value that is out of range.
    """

    rate: float
    seconds: float
    batch_messages: int = 100
    connections: int = 2
    senders: int = 1000
    retry_share: float = 0.15
    retry_delay_seconds: float = 5.0
    seed: int = 1

    def __post_init__(self) -> None:
        _require("rate", self.rate, 0.01, 1_000_000)
        _require("seconds", self.seconds, 0.01, 31 * 24 * 3600)
        _require("batch", self.batch_messages, 1, 10_000)
        _require("connections", self.connections, 1, 100)
        _require("senders", self.senders, 1, 1_000_000)
        _require("share of retries", self.retry_share, 0, 0.9)
        _require("delay of retries", self.retry_delay_seconds, 0, 24 * 3600)


@dataclass(slots=True)
class Totals:
    """Messages by what was done to them, and how often a connection was lost."""

    enqueued: int = 0
    taken: int = 0
    retaken: int = 0
    retried: int = 0
    finished: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """The totals, and the messages that were really enqueued a second."""

    totals: Totals
    seconds: float

    @property
    def rate(self) -> float:
        return self.totals.enqueued / self.seconds


def _require(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise CommandError(f"The {name} must be {lowest:,} to {highest:,}.")

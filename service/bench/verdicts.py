"""What `queuestats bench sql` is for: the counters' answers as multiples of others, against the project's bars."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.bench.candidates import COUNTERS, SCANS
from service.bench.figures import Figure, Figures, ratio
from service.bench.queues import Queue
from service.model import Grouping

FRESH, CHURNED, COLD, PENDING = "fresh", "churned", "cold", "pending"
# Where the time was taken.
CLIENT, SERVER = "client", "server"

# The longest queue may take so many times as long as the shortest.
FLAT_BAR = 1.2
# The best scan must take so many times as long: for the one row of a total, and for the rows of the other groups, of
# which the bar supposes up to 400; then the same where statuses have just changed.
BARS = {FRESH: (1000, 200), CHURNED: (5000, 5000)}
# The bars are for queues of this length.
BAR_MESSAGES = 10_000_000


@dataclass(frozen=True, slots=True)
class Cell:
    """What was asked, of whom, about which queue, in which state of the table."""

    state: str
    messages: int
    grouping: str
    contestant: str

    def labels(self, seen: str) -> dict[str, str | int]:
        return {
            "state": self.state,
            "messages": self.messages,
            "group": self.grouping,
            "contestant": self.contestant,
            "seen": seen,
        }


def verdicts(times: Figures, queues: Sequence[Queue]) -> Iterator[Figure]:
    """The ratios of a run, those with a bar among them; empty for what was not measured."""
    longest, shortest = queues[0].messages, queues[-1].messages
    for state in (FRESH, CHURNED):
        for grouping in Grouping:
            for seen in (CLIENT, SERVER):
                if longest != shortest and times.has(**Cell(state, longest, grouping, COUNTERS).labels(seen)):
                    yield _flatness(times, state, grouping, seen, longest, shortest)
                yield from _against_best_scan(times, state, grouping, seen, longest)
    for grouping in Grouping:
        yield from _against_best_scan(times, COLD, grouping, CLIENT, longest)


def _flatness(times: Figures, state: str, grouping: str, seen: str, longest: int, shortest: int) -> Figure:
    long, short = (times.of(**Cell(state, each, grouping, COUNTERS).labels(seen)) for each in (longest, shortest))
    name = f"counters at {longest:,} / at {shortest:,} messages"
    bar = FLAT_BAR if state == FRESH else None
    labels = {"ratio": name, "state": state, "group": grouping, "seen": seen}
    return ratio(long, short, labels, is_more_better=False, bar=bar)


def _against_best_scan(times: Figures, state: str, grouping: str, seen: str, messages: int) -> Iterator[Figure]:
    """The scans' best figure over the counters': of all ways to scan, the one that was quickest here."""
    labels = [Cell(state, messages, grouping, each).labels(seen) for each in SCANS]
    scans = [times.of(**each) for each in labels if times.has(**each)]
    if not scans:
        return
    best = min(scans, key=lambda each: each.median)
    counters = times.of(**Cell(state, messages, grouping, COUNTERS).labels(seen))
    # Which scan is the best may change from run to run: it is no label, so that runs can be compared.
    named = {"ratio": "best scan / counters", "state": state, "group": grouping, "seen": seen}
    bar = _bar(state, grouping) if messages >= BAR_MESSAGES else None
    yield ratio(best, counters, named, is_more_better=True, bar=bar)


def _bar(state: str, grouping: str) -> float | None:
    of_total, of_others = BARS.get(state, (None, None))
    return of_total if grouping == Grouping.TOTAL else of_others

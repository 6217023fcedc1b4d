"""What one round of load measured, and what several rounds say together."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

from service.errors import CommandError


@dataclass(frozen=True, slots=True)
class Sample:
    """One round. `errors` counts broken connections and statuses other than 200, none of which is an answer."""

    answers: int
    errors: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def tail(self) -> float:
        """The 99th percentile as a multiple of the median."""
        return self.p99_ms / self.p50_ms


def sample_of(latencies_seconds: Sequence[float], errors: int, seconds: float) -> Sample:
    """Raises CommandError where nothing was answered: there is nothing to measure then."""
    if not latencies_seconds:
        raise CommandError(f"There was no answer within {seconds:.1f} s ({errors} errors).")
    ranked = sorted(latencies_seconds)
    p50, p95, p99 = (1000 * ranked[min(len(ranked) - 1, len(ranked) * each // 100)] for each in (50, 95, 99))
    return Sample(len(ranked), errors, seconds, p50, p95, p99)


def typical(samples: Sequence[Sample]) -> dict[str, float]:
    """The medians of the rounds, and all errors."""
    figures = {"rate": median(each.rate for each in samples)}
    for name in (each.name for each in fields(Sample) if each.name.endswith("_ms")):
        figures[name] = median(getattr(each, name) for each in samples)
    return {**figures, "errors": sum(each.errors for each in samples)}

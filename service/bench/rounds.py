"""Alternating short rounds: A B C, A B C, …, so that a busy moment of the machine hits all alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

from service.bench.load import Answer, Target
from service.bench.questions import Check
from service.bench.sample import Sample, typical
from service.errors import CommandError

Drive = Callable[[Target, int, float], tuple[Sample, list[Answer]]]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who is asked what. A slow one has longer rounds, so that there is something to count."""

    name: str
    target: Target
    check: Check
    stretch: float = 1.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """`one` as a multiple of `other`, in the rate or the tail; `bar` is what the project wants of it."""

    one: str
    other: str
    bar: float | None = None
    of: str = "rate"
    # The only number of connections that is compared; None: each.
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class Rounds:
    """How much is measured."""

    connections: tuple[int, ...] = (32, 128)
    rounds: int = 5
    seconds: float = 2.0


Samples = dict[tuple[str, int], list[Sample]]


def alternate(contestants: Sequence[Contestant], plan: Rounds, drive: Drive, tell: Tell) -> Samples:
    """The samples of each contestant and number of connections, in the order of the rounds.

    Raises CommandError for a wrong answer, or none.
    """
    samples: Samples = {}
    for number, connections in product(range(plan.rounds), plan.connections):
        tell(f"Round {number + 1} of {plan.rounds}, {connections} connections")
        for contestant in contestants:
            sample, answers = drive(contestant.target, connections, plan.seconds * contestant.stretch)
            check(contestant, answers)
            samples.setdefault((contestant.name, connections), []).append(sample)
    return samples


def check(contestant: Contestant, answers: Sequence[Answer]) -> None:
    for answer in answers:
        try:
            is_right = contestant.check(answer.number, answer.body)
        except (ValueError, KeyError, TypeError, SyntaxError) as error:
            raise CommandError(f"{contestant.name} answers otherwise: {answer.body[:200]!r}") from error
        if not is_right:
            raise CommandError(f"{contestant.name} answers wrongly: {answer.body[:200]!r}")


def results(samples: Samples) -> list[dict[str, Any]]:
    """A row for each contestant and number of connections: medians of the rounds, and all errors."""
    return [{"name": name, "connections": n, **typical(each)} for (name, n), each in samples.items()]


def ratios(samples: Samples, wanted: Sequence[Ratio]) -> list[dict[str, Any]]:
    """The median of the rounds' own ratios, and the least and greatest. One whose rival did not run is left out."""
    return [
        _compared(ratio, connections, samples)
        for ratio in wanted
        for connections in dict.fromkeys(n for _, n in samples)
        if ratio.connections in (None, connections)
        if {(ratio.one, connections), (ratio.other, connections)} <= samples.keys()
    ]


def _compared(ratio: Ratio, connections: int, samples: Samples) -> dict[str, Any]:
    pairs = zip(samples[ratio.one, connections], samples[ratio.other, connections], strict=True)
    each = [getattr(one, ratio.of) / getattr(other, ratio.of) for one, other in pairs]
    return {
        "ratio": f"{ratio.one} / {ratio.other}",
        "of": ratio.of,
        "connections": connections,
        "median": median(each),
        "least": min(each),
        "greatest": max(each),
        "bar": ratio.bar,
    }


def in_turn(names: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Who begins changes from round to round: the machine may grow slower or quicker meanwhile."""
    return names if number % 2 == 0 else names[::-1]

"""Measured numbers under their labels: a value for each round, and what the rounds say together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Label = str | int
Labels = Mapping[str, Label]
RATIO_UNIT = "times"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, measured once a round. `bar` is what the project wants of it: at most so much, or at least."""

    labels: Labels
    unit: str
    values: Sequence[float]
    is_more_better: bool = False
    bar: float | None = None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps to the bar; None without one."""
        if self.bar is None:
            return None
        return self.median >= self.bar if self.is_more_better else self.median <= self.bar

    def as_json(self) -> dict[str, Any]:
        return {
            "labels": dict(self.labels),
            "unit": self.unit,
            "better": "more" if self.is_more_better else "less",
            "median": self.median,
            "least": min(self.values),
            "greatest": max(self.values),
            "rounds": len(self.values),
            "bar": self.bar,
            "met": self.is_met,
        }


class Figures:
    """The figures of one unit, filled round by round."""

    def __init__(self, unit: str, *, is_more_better: bool = False) -> None:
        self._unit = unit
        self._is_more_better = is_more_better
        self._values: dict[frozenset[tuple[str, Label]], list[float]] = {}
        self._labels: list[Labels] = []

    def add(self, value: float, **labels: Label) -> None:
        key = frozenset(labels.items())
        if key not in self._values:
            self._labels.append(labels)
        self._values.setdefault(key, []).append(value)

    def __iter__(self) -> Iterator[Figure]:
        return (self.of(**labels) for labels in self._labels)

    def of(self, **labels: Label) -> Figure:
        """The figure with exactly these labels. Raises KeyError where there is none."""
        return Figure(labels, self._unit, self._values[frozenset(labels.items())], self._is_more_better)

    def has(self, **labels: Label) -> bool:
        return frozenset(labels.items()) in self._values


def ratio(one: Figure, other: Figure, labels: Labels, *, is_more_better: bool, bar: float | None) -> Figure:
    """`one` as a multiple of `other`, round by round: what disturbs a round disturbs both.

    A round that only one of them took part in is left out.
    """
    values = [mine / yours for mine, yours in zip(one.values, other.values, strict=False)]
    return Figure(labels, RATIO_UNIT, values, is_more_better, bar)

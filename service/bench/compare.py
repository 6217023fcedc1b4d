"""Two runs of one benchmark, figure by figure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from service.bench.figures import RATIO_UNIT
from service.errors import CommandError

Key = frozenset[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that both runs have. `worse_percent` is negative where it got better."""

    labels: Mapping[str, Any]
    unit: str
    old: float
    new: float
    worse_percent: float


def read_report(path: Path) -> dict[str, Any]:
    """A report as `--json` wrote it. Raises CommandError where the file holds something else."""
    try:
        report: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        if "figures" not in report and "phases" not in report:
            raise msgspec.ValidationError("neither figures nor phases")
    except msgspec.MsgspecError as error:
        raise CommandError(f"{path} is not a benchmark's report: {error}.") from error
    return report


def compare(old: Mapping[str, Any], new: Mapping[str, Any], *, ratios_only: bool = False) -> list[Change]:
    """What became of each figure, the worst first. Raises CommandError where the two have no figure in common."""
    before = dict(_figures(old))
    changes = [_change(before[key], figure) for key, figure in _figures(new) if key in before]
    if ratios_only:
        changes = [each for each in changes if each.unit == RATIO_UNIT]
    if not changes:
        raise CommandError("The two reports have no figure in common.")
    return sorted(changes, key=lambda each: -each.worse_percent)


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    grown = (new["median"] - old["median"]) / old["median"] * 100 if old["median"] else 0.0
    if new["better"] == "more":
        # Half the rate is twice the time: 100 % worse, not 50 %.
        grown = (old["median"] / new["median"] - 1) * 100 if new["median"] else float("inf")
    return Change(new["labels"], new["unit"], old["median"], new["median"], grown)


def _figures(report: Mapping[str, Any]) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    for figure in report["figures"] if "figures" in report else _of_phases(report["phases"]):
        yield frozenset((*figure["labels"].items(), ("unit", figure["unit"]))), figure


def _of_phases(phases: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The figures of `bench http`, which stand in tables."""
    for phase in phases:
        shared = {"written_per_second": phase["written_per_second"]}
        for row in phase["results"]:
            labels = {**shared, "contestant": row["name"], "connections": row["connections"]}
            yield {"labels": labels, "unit": "answers/s", "better": "more", "median": row["rate"]}
            yield {"labels": labels, "unit": "ms", "better": "less", "median": row["p99_ms"]}
        for row in phase["ratios"]:
            labels = {**shared, "ratio": row["ratio"], "of": row["of"], "connections": row["connections"]}
            better = "more" if row["of"] == "rate" else "less"
            yield {"labels": labels, "unit": RATIO_UNIT, "better": better, "median": row["median"]}

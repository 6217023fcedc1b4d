"""Charts of benchmark results: python -m tests.load.charts RESULT.json FOLDER

RESULT.json is the output of `queuestats bench sql|write --json` or `python -m tests.load.http|control --json`.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from matplotlib.figure import Figure

Row = Mapping[str, Any]
SLOT_SECONDS = 5
# The same input creates the same file: no random ids, and no date.
mpl.rcParams["svg.hashsalt"] = "queuestats"


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes the SVG charts of a report, and returns their paths. Raises KeyError for an unknown benchmark."""
    kind = report["benchmark"].rpartition(" ")[2].rpartition(".")[2]
    paths = []
    for name, figure in CHARTS[kind](report):
        paths.append(folder / f"{kind}-{name}.svg")
        figure.savefig(paths[-1], format="svg", bbox_inches="tight", metadata={"Date": None})
    return paths


def _sql(report: Row) -> Iterator[tuple[str, Figure]]:
    """Time against the length of the queue, with a line for each variant."""
    results = report["results"]
    for state, group in dict.fromkeys((each["state"], each["group"]) for each in results):
        figure, axes = _axes(f"group {group}, {state}")
        found = [each for each in results if (each["state"], each["group"]) == (state, group)]
        for variant in dict.fromkeys(each["variant"] for each in found):
            points = sorted((each["messages"], each["client_ms"]) for each in found if each["variant"] == variant)
            axes.plot(*zip(*points, strict=True), marker="o", label=variant)
        axes.set(xscale="log", yscale="log", xlabel="messages in the queue", ylabel="ms seen by the client")
        axes.legend(fontsize="small")
        yield f"{state}-{group}".replace(" ", "-").replace(",", ""), figure


def _write(report: Row) -> Iterator[tuple[str, Figure]]:
    results = report["results"]
    for load in dict.fromkeys(each["load"] for each in results):
        found = [each for each in results if each["load"] == load]
        yield load.replace(" ", "-").replace(",", ""), _bars(load, found, "messages_per_second")


def _http(report: Row) -> Iterator[tuple[str, Figure]]:
    results = report["results"]
    for writing, connections in dict.fromkeys((each["written_per_second"], each["connections"]) for each in results):
        title = f"{connections} connections, {writing} messages written a second"
        found = [
            each for each in results if (each["written_per_second"], each["connections"]) == (writing, connections)
        ]
        yield f"{connections}-connections-{writing}-written", _bars(title, found, "answers_per_second")


def _control(report: Row) -> Iterator[tuple[str, Figure]]:
    """The slowest response in each five seconds, over the time of the run."""
    figure, axes = _axes("stats of the sender, while its messages are held, released and purged")
    for name, samples in report["latency"].items():
        slowest: dict[int, float] = {}
        for at, ms in samples:
            slot = int(at / SLOT_SECONDS) * SLOT_SECONDS
            slowest[slot] = max(ms, slowest.get(slot, 0))
        axes.plot(*zip(*slowest.items(), strict=True), label=name)
    axes.set(yscale="log", xlabel="seconds", ylabel=f"ms, the slowest of {SLOT_SECONDS} seconds")
    axes.legend(fontsize="small")
    yield "stats-latency", figure


def _bars(title: str, rows: Iterable[Row], column: str) -> Figure:
    figure, axes = _axes(title)
    rows = list(rows)
    bars = axes.barh([each["variant"] for each in rows], [each[column] for each in rows])
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(column.replace("_", " "))
    return figure


def _axes(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


CHARTS = {"sql": _sql, "write": _write, "http": _http, "control": _control}


def main() -> None:
    report, folder = json.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for path in draw(report, folder):
        click.echo(path)


if __name__ == "__main__":
    main()

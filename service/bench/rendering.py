"""How long a report takes to render, and the longest stretch of it: for that long nobody else has the event loop."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

from service.model import Format, StatsReport, StatsRow
from service.rendering import render_report, render_report_in_slices

ROUNDS = 15


def measure_rendering(rows: int) -> list[dict[str, Any]]:
    """A row for each format: medians of `ROUNDS` alternating rounds, in milliseconds."""
    report = StatsReport([StatsRow(n % 50, n, 0, "", 1, 2, 3, 6) for n in range(rows)])
    whole: dict[Format, list[float]] = {each: [] for each in Format}
    longest: dict[Format, list[float]] = {each: [] for each in Format}
    for _ in range(ROUNDS):
        for format in Format:
            stretches = _stretches(render_report_in_slices(report, format))
            whole[format].append(sum(stretches))
            longest[format].append(max(stretches))
    return [
        {
            "format": each.value,
            "rows": rows,
            "bytes": len(render_report(report, each)),
            "whole_ms": round(statistics.median(whole[each]), 2),
            "longest_piece_ms": round(statistics.median(longest[each]), 2),
        }
        for each in Format
    ]


def _stretches(pieces: Iterator[bytes]) -> list[float]:
    """The milliseconds that each piece took."""
    stretches = []
    began = time.perf_counter()
    for _ in pieces:
        ended = time.perf_counter()
        stretches.append((ended - began) * 1000)
        began = ended
    return stretches

"""A benchmark's rates as an SVG picture: a bar for each contestant and number of connections."""

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

WIDTH, NAMES, BAR, GAP, TOP = 900, 320, 16, 10, 40
COLOURS = ("#2b6cb0", "#90cdf4", "#2f855a", "#9ae6b4")


def draw_rates(report: Mapping[str, Any]) -> str:
    """One picture below the other for the phases. Raises nothing for an empty one."""
    pictures, height = [], TOP
    for phase in report["phases"]:
        written = phase["written_per_second"]
        title = f"Answers a second{f' while {written:,} messages a second are written' if written else ''}"
        bars = _bars(phase["results"])
        pictures.append(f'<g transform="translate(0 {height})">{_text(0, -14, title, "bold")}{"".join(bars)}</g>')
        height += len(bars) * (BAR + GAP) + TOP
    told = report["circumstances"]
    foot = f"commit {told['commit']}, PostgreSQL {told['postgresql']}, Python {told['python']}, {told['cpus']} CPUs"
    pictures.append(_text(0, height - 14, foot))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {WIDTH + 10} {height}" font-family="sans-serif">'
    return f"{head}{''.join(pictures)}</svg>\n"


def _bars(results: list[dict[str, Any]]) -> list[str]:
    longest = max((row["rate"] for row in results), default=1)
    numbers = list(dict.fromkeys(row["connections"] for row in results))
    bars = []
    for index, row in enumerate(sorted(results, key=lambda row: -row["rate"])):
        y = index * (BAR + GAP)
        width = max(1, round((WIDTH - NAMES - 80) * row["rate"] / longest))
        colour = COLOURS[numbers.index(row["connections"]) % len(COLOURS)]
        name = _text(0, y + BAR - 3, f"{row['name']}, {row['connections']} connections")
        rate = _text(NAMES + width + 6, y + BAR - 3, f"{row['rate']:,.0f}")
        bars.append(f'{name}<rect x="{NAMES}" y="{y}" width="{width}" height="{BAR}" fill="{colour}"/>{rate}')
    return bars


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-size="13" font-weight="{weight}">{escape(text)}</text>'

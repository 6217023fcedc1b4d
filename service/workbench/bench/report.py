"""The environment of a run, and its results as Markdown."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median
from typing import Any

from service.db import fetch
from service.resources import sql_path


async def describe(connection: Any, **data_set: Any) -> dict[str, Any]:
    """What a result depends on: versions, commit, machine, server settings, and the data set that is given."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "queuestats": version("queuestats"),
        "postgresql": await connection.fetchval("SHOW server_version"),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        # Other work on the machine shows here.
        "load_before": round(os.getloadavg()[0], 2),
        "server_settings": {row["name"]: row["value"] for row in await fetch(connection, "bench/server")},
        **data_set,
    }


def median_ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the rounds' own ratios."""
    return median(one / other for one, other in zip(values, base, strict=True))


def markdown(report: Mapping[str, Any]) -> str:
    """A list of the environment, and a table with a line for each result."""
    lines = [f"# {report['benchmark']}", ""]
    lines += [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in report["environment"].items()]
    columns = list(report["results"][0])
    lines += ["", _line(columns), _line(["---"] * len(columns))]
    lines += [_line([_text(row[column]) for column in columns]) for row in report["results"]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        # Three significant digits.
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def _commit() -> str:
    """The commit in use, with a plus where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(sql_path()), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

"""The common parts of benchmarks: the environment of a run, ratios, and the results as Markdown."""

import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median
from typing import Any

from service.db import Connection, fetch
from service.resources import sql_path

# Prints one line.
Progress = Callable[[str], None]


async def read_environment(connection: Connection, **data_set: Any) -> dict[str, Any]:
    """The environment of a result: versions, commit, machine, server settings, and the given data set."""
    settings = {row["name"]: row["value"] for row in await fetch(connection, "bench/server")}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "queuestats": version("queuestats"),
        "postgresql": settings.pop("server_version"),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        # Shows other load on the machine.
        "load_before": round(os.getloadavg()[0], 2),
        "server_settings": settings,
        **data_set,
    }


def median_ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios of the rounds."""
    return median(one / other for one, other in zip(values, base, strict=True))


def markdown(report: Mapping[str, Any]) -> str:
    """A list of the environment, and a table with a line for each result."""
    environment, results = report["environment"], report["results"]
    lines = [f"# {report['benchmark']}", ""]
    lines += [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in environment.items()]
    table = [list(results[0]), ["---"] * len(results[0]), *(map(_text, result.values()) for result in results)]
    return "\n".join([*lines, "", *(f"| {' | '.join(cells)} |" for cells in table)]) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        # Three significant digits.
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def _commit() -> str:
    """The current commit, with a plus if files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(sql_path()), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

"""A benchmark's figures for a person, or for a machine."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from service.cli.table import print_table


def print_report(report: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    click.echo(describe(report["circumstances"]))
    for phase in report["phases"]:
        rate = phase["written_per_second"]
        click.echo(f"\nWhile {rate:,} messages a second are written:" if rate else "\nWhile nobody writes:")
        print_table([_result(row) for row in phase["results"]], RESULT_COLUMNS, False)
        print_table([_ratio(row) for row in phase["ratios"]], RATIO_COLUMNS, False)


RESULT_COLUMNS = ("contestant", "connections", "answers/s", "p50 ms", "p95 ms", "p99 ms", "errors")
RATIO_COLUMNS = ("ratio", "of", "connections", "median", "least", "greatest", "bar", "met")


def describe(circumstances: Mapping[str, Any]) -> str:
    """A line for each; settings stand in the JSON only."""
    lines = []
    for name, value in circumstances.items():
        if name not in ("settings", "server_settings"):
            lines.append(f"{name.replace('_', ' ')}: {_in_words(value)}")
    return "\n".join(lines)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(each)}" for key, each in value.items())
    return f"{value:,}" if type(value) is int else str(value)


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "contestant": row["name"],
        "connections": row["connections"],
        "answers/s": round(row["rate"]) if row["rate"] >= 100 else f"{row['rate']:.1f}",
        **{f"{each} ms": f"{row[f'{each}_ms']:.2f}" for each in ("p50", "p95", "p99")},
        "errors": row["errors"],
    }


def _ratio(row: Mapping[str, Any]) -> dict[str, Any]:
    # Of rates, more is better; of tails, less.
    is_met = row["bar"] is None or (row["median"] >= row["bar"]) == (row["of"] == "rate")
    return {
        **{name: row[name] for name in ("ratio", "of", "connections")},
        **{name: f"{row[name]:.2f}" for name in ("median", "least", "greatest")},
        "bar": "" if row["bar"] is None else f"{row['bar']:g}",
        "met": "" if row["bar"] is None else "yes" if is_met else "no",
    }

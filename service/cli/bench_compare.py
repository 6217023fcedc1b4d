"""queuestats bench compare"""

import sys
from pathlib import Path
from typing import Any

import click

from service.cli.bench_output import REPORT

COLUMNS = ("figure", "unit", "old", "new", "worse by %")


@click.command()
@click.argument("old", type=REPORT)
@click.argument("new", type=REPORT)
@click.option("--regression", type=click.FloatRange(0), default=20.0, show_default=True, help="percent that fail")
@click.option("--ratios-only", is_flag=True, help="leave out what depends on the machine")
@click.option("--json", "as_json", is_flag=True, help="every figure that both have")
def compare(old: Path, new: Path, regression: float, ratios_only: bool, as_json: bool) -> None:
    """Two reports of the same benchmark: exit code 1 where a figure got worse by more than --regression percent.

    \b
    Example: queuestats bench compare docs/benchmarks/sql.json sql.json --regression 20 --ratios-only
    """
    from service.bench import compare as comparison
    from service.cli.output import print_table

    reports = (comparison.read_report(path) for path in (old, new))
    changes = comparison.compare(*reports, ratios_only=ratios_only)
    worse = [each for each in changes if each.worse_percent > regression]
    print_table([_row(each) for each in (changes if as_json else worse)], COLUMNS, as_json)
    click.echo(f"{len(worse)} of {len(changes)} figures got worse by more than {regression:g} %.", err=True)
    sys.exit(1 if worse else 0)


def _row(change: Any) -> dict[str, Any]:
    figure = ", ".join(f"{name} {value}" for name, value in change.labels.items())
    old, new, worse = (round(each, 4) for each in (change.old, change.new, change.worse_percent))
    return dict(zip(COLUMNS, (figure, change.unit, old, new, worse), strict=True))

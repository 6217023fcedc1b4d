"""queuestats bench show"""

from pathlib import Path

import click

from service.cli.bench_output import REPORT, put_out, report_option


@click.command()
@click.argument("file", type=REPORT)
@report_option
def show(file: Path, report_folder: Path | None) -> None:
    """A report that --json wrote, as tables; also one of a run that ended early.

    \b
    Example: queuestats bench show docs/benchmarks/sql.json --report pages
    """
    from service.bench.compare import read_report

    put_out(read_report(file), None, report_folder)

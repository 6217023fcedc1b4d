"""queuestats bench write"""

from pathlib import Path
from typing import Any

import click

from service.cli.bench_output import output_options, put_out, set_option
from service.cli.options import settings_options
from service.settings import Settings


@click.command()
@click.option("--pairs", type=click.IntRange(1, 100), default=7, show_default=True, help="with counters, and without")
@click.option("--seconds", type=click.IntRange(1, 600), default=5, show_default=True, help="of a run")
@click.option("--index-rounds", type=click.IntRange(0, 100), default=5, show_default=True, help="the price of indexes")
@click.option("--seed-rounds", type=click.IntRange(0, 100), default=3, show_default=True, help="the speed of seeding")
@click.option(
    "--seed-messages", type=click.IntRange(1, 10**9), default=1_000_000, show_default=True, help="that are seeded there"
)
@click.option(
    "--messages", type=click.IntRange(1, 10**9), default=100_000, show_default=True, help="in the queue meanwhile"
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="of the data set")
@set_option
@output_options
@settings_options("database_url", "admin_database_url")
def write(settings: Settings, json_file: str | None, report_folder: Path | None, **options: Any) -> None:
    """What counters and indexes cost the writers, in alternating runs, and how fast seeding is.

    On a scratch PostgreSQL of its own, in /var/tmp or TMPDIR, unless an address is given: that database must be marked
    disposable, and LOSES ITS MESSAGES. Whoever else writes to this disk meanwhile spoils the figures.

    \b
    Example: queuestats bench write --pairs 3 --json write.json --report pages
    """
    from service.bench.write import WritePlan, measure_write

    report = measure_write(settings, WritePlan(**options), lambda line: click.echo(line, err=True))
    put_out(report, json_file, report_folder)

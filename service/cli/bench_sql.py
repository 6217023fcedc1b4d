"""queuestats bench sql"""

from pathlib import Path
from typing import Any

import click

from service.cli.bench_output import keep, output_options, put_out, set_option
from service.cli.options import settings_options
from service.settings import Settings


def _sizes(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    words = text.replace("_", "").split(",")
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= 10**9 for word in words):
        raise click.BadParameter("whole numbers from 1 to 1,000,000,000 with commas between.")
    return tuple(map(int, words))


@click.command()
@click.option(
    "--sizes", default="100000,1000000,10000000", show_default=True, callback=_sizes, help="messages in each queue"
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="of everybody in turn")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="of the data set")
@click.option("--cold", is_flag=True, help="also the first answer after a restart of the scratch server")
@set_option
@output_options
@settings_options("database_url", "admin_database_url")
def sql(settings: Settings, json_file: str | None, report_folder: Path | None, **options: Any) -> None:
    """How long an answer takes by the length of the queue: counters beside every way to scan.

    On a scratch PostgreSQL of its own, in /var/tmp or TMPDIR, unless an address is given: that database must be marked
    disposable, and LOSES ITS MESSAGES. A queue of 10,000,000 messages wants 8 GB of disk and ten minutes, one of
    100,000,000 ten times as much; whatever ends the run, the file of --json has what was measured until then.

    \b
    Example: queuestats bench sql --sizes 10000,1000000 --json sql.json --report pages
    """
    from service.bench.sql import SqlPlan, measure_sql

    def tell(line: str) -> None:
        click.echo(line, err=True)

    report = measure_sql(settings, SqlPlan(**options), tell, lambda so_far: keep(so_far, json_file))
    put_out(report, json_file, report_folder)

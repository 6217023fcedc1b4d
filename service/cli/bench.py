from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import click
import msgspec

from service.cli.interrupts import run
from service.cli.options import in_order, json_option, settings_options
from service.settings import Settings

Measure = Callable[..., Coroutine[Any, Any, dict[str, Any]]]

SIZE = click.IntRange(1, 10**9)
COMMON_OPTIONS = in_order(
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, help="of the data set"),
    json_option("the environment and all results"),
    settings_options("database_url", "admin_database_url"),
)
rounds_option = partial(click.option, "--rounds", type=click.IntRange(1, 100), help="of each variant in turn")


def _sizes(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    return tuple(SIZE(size, parameter, context) for size in text.split(","))


@click.group()
def bench() -> None:
    """Measure the database: what an answer takes, and what counting costs the writers.

    Both run on a scratch PostgreSQL of their own, in /var/tmp or TMPDIR, unless an address is given. That database must
    be marked disposable, and LOSES ITS MESSAGES.

    \b
    Example: queuestats bench sql --sizes 10000,1000000
    """


@bench.command()
@click.option("--sizes", default="100000,1000000,10000000", callback=_sizes, help="messages in each queue")
@rounds_option(default=3)
@COMMON_OPTIONS
def sql(settings: Settings, as_json: bool, **options: Any) -> None:
    """How long an answer takes by the length of the queue: counters, scan and other candidates.

    A queue of 10,000,000 messages needs 8 GB of disk and ten minutes, one of 100,000,000 ten times as much.

    \b
    Example: queuestats bench sql --sizes 10000,1000000 --json > sql.json
    """
    from service.workbench.bench.sql import measure_sql

    _measure(measure_sql, settings, as_json, options)


@bench.command()
@rounds_option(default=7)
@click.option("--seconds", type=click.IntRange(1, 600), default=5, help="of a run of pgbench")
@click.option("--messages", type=SIZE, default=100_000, help="in the queue meanwhile")
@click.option("--candidates", "has_candidates", is_flag=True, help="also what the indexes of sql/candidates cost")
@COMMON_OPTIONS
def write(settings: Settings, as_json: bool, **options: Any) -> None:
    """How many messages a second pgbench writes with the counters' triggers and without.

    Other writes to the same disk change the results.

    \b
    Example: queuestats bench write --rounds 3
    """
    from service.workbench.bench.write import measure_write

    _measure(measure_write, settings, as_json, options)


def _measure(measure: Measure, settings: Settings, as_json: bool, options: dict[str, Any]) -> None:
    from service.workbench.bench.report import markdown
    from service.workbench.bench.scratch import open_scratch

    with open_scratch(settings) as scratch:
        report = run(measure(scratch, lambda line: click.echo(line, err=True), **options))
    click.echo(msgspec.json.format(msgspec.json.encode(report)) if as_json else markdown(report), nl=as_json)

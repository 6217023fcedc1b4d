"""queuestats bench"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.bench_compare import compare
from service.cli.bench_output import output_options, put_out
from service.cli.bench_show import show
from service.cli.bench_sql import sql
from service.cli.bench_write import write
from service.cli.options import database_options, open_database, settings_options
from service.cli.serve import listen, run_server
from service.settings import Settings

if TYPE_CHECKING:
    from service.bench.http import HttpPlan

FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


@click.group()
def bench() -> None:
    """Measure, on this machine and a disposable database.

    \b
    Example: queuestats bench http --rounds 5
    """


for _each in (sql, write, compare, show):
    bench.add_command(_each)


@bench.command()
@click.option("--rows", type=click.IntRange(1, 10**6), default=10_000, show_default=True, help="of the report")
@click.option("--json", "as_json", is_flag=True, help="print a list of figures as JSON")
def render(rows: int, as_json: bool) -> None:
    """How long a report takes to render, and for how long at a stretch; no database is asked.

    \b
    Example: queuestats bench render --rows 10000
    """
    from service.bench.rendering import measure_rendering
    from service.cli.output import print_table

    figures = measure_rendering(rows)
    print_table(figures, tuple(figures[0]), as_json)


@bench.command()
@click.option("--connections", type=click.IntRange(1, 1000), multiple=True, help="how many at once  [default: 32, 128]")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="of each contestant")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=2.0, show_default=True, help="of a round")
@click.option("--messages", type=click.IntRange(1, 10**9), default=1_000_000, show_default=True, help="in a new queue")
@click.option(
    "--writing", type=click.IntRange(0, 10**6), multiple=True, help="messages a second meanwhile  [default: 0]"
)
@click.option(
    "--generator", type=click.Choice(["own", "wrk"]), help="of the load  [default: wrk where it is installed]"
)
@click.option("--naive", type=FILE, help="also FastAPI and a scan: tests/load/naive_fastapi.py")
@click.option("--postgraphile", type=FOLDER, help="also PostGraphile: the folder that holds its node_modules")
@output_options
@database_options
def http(settings: Settings, json_file: str | None, report_folder: Path | None, **options: Any) -> None:
    """Requests a second and latencies, beside a bare endpoint and other rivals.

    The servers are started here, on free ports of the loopback interface, and take turns in short rounds. The queue is
    used as it is, and seeded where it is empty; the database must be marked disposable.

    \b
    Example: queuestats bench http --writing 0 --writing 1000 --json http.json --report pages
    """
    from service.bench.http import measure_http

    plan = _plan(options)
    with open_database(settings) as opened:
        report = measure_http(opened, plan, lambda line: click.echo(line, err=True))
    put_out(report, json_file, report_folder)


def _plan(options: dict[str, Any]) -> "HttpPlan":
    from service.bench import wrk
    from service.bench.http import HttpPlan
    from service.bench.rounds import Rounds
    from service.errors import CommandError

    generator = options.pop("generator")
    use_wrk = wrk.is_installed() if generator is None else generator == "wrk"
    if generator == "wrk" and not wrk.is_installed():
        raise CommandError(wrk.MISSING)
    if not use_wrk and generator is None:
        click.echo(f"{wrk.MISSING} The generator that comes along is used instead.", err=True)
    rounds = Rounds(options.pop("connections") or (32, 128), options.pop("rounds"), options.pop("seconds"))
    return HttpPlan(rounds=rounds, write_rates=options.pop("writing") or (0,), use_wrk=use_wrk, **options)


@bench.command(hidden=True)
@settings_options("host", "port", "workers")
def bare(settings: Settings) -> None:
    """Serve the bare endpoint that `http` compares with, as `serve` serves the service."""
    with listen(settings) as listener:
        run_server(settings, listener, "service.bench.bare:create_app")

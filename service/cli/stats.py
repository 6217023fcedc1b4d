"""queuestats stats"""

import asyncio
import csv
import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from service.cli.interrupts import run, until_stopped
from service.cli.options import ID, Number, database_options, open_database, service_url
from service.errors import ServiceError
from service.model import Grouping, StatsQuery, StatsReport
from service.settings import Settings

COLUMNS = ("account_id", "campaign_id", "isp", "new", "proc", "retry", "hold", "total")


def query_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of a query, and `query` and `is_from_messages` as arguments."""

    @functools.wraps(function)
    def command(*args: Any, sender: int, account: int, campaign: int, isp: str, group: str, **kwargs: Any) -> Any:
        query = StatsQuery(sender, account, campaign, isp or None, Grouping(group))
        return function(*args, query=query, **kwargs)

    for option in (
        click.option(
            "--from-messages",
            "is_from_messages",
            is_flag=True,
            help="add up the messages themselves: the definition of the answer, in time that grows with the queue",
        ),
        click.option(
            "--group",
            type=click.Choice([each.value for each in Grouping]),
            default="total",
            help="what a row stands for",
        ),
        click.option("--isp", help="only this ISP's messages, exact name"),
        click.option("--campaign", type=ID, help="only this campaign's messages"),
        click.option("--account", type=ID, help="only this account's messages"),
        click.option("--sender", type=ID, required=True, help="whose queue"),
    ):
        command = option(command)
    return command


@click.command()
@query_options
@click.option("--json", "as_json", is_flag=True, help="print a list of rows as JSON")
@click.option("--csv", "as_csv", is_flag=True, help="print the rows as CSV, with a head")
@click.option(
    "--watch",
    "watch_seconds",
    type=Number(0.1, 3600, float),
    is_flag=False,
    flag_value="1",
    help="ask again every so many seconds, 1 where none is given, until Ctrl-C",
)
@database_options
def stats(
    settings: Settings,
    query: StatsQuery,
    is_from_messages: bool,
    as_json: bool,
    as_csv: bool,
    watch_seconds: float | None,
) -> None:
    """Show what is in a sender's queue, as a table.

    \b
    Example: queuestats stats --sender 119 --group isp --watch
    """
    from service.cli.output import print_table, printable

    if (watch_seconds is not None) + as_json + as_csv > 1:
        raise click.UsageError("--watch, --json and --csv exclude each other.")
    with open_database(settings) as opened:
        if watch_seconds is not None:
            with until_stopped():
                run(_watch(opened, query, is_from_messages, watch_seconds))
            return
        report = run(ask_once(opened, query, is_from_messages))
        if query.isp and not any(row.total for row in report.rows):
            for name in run(_similar_isps(opened, query)):
                click.echo(f"There is no ISP {printable(query.isp)} here, but {printable(name)}.", err=True)
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerows([COLUMNS, *([getattr(row, column) for column in COLUMNS] for row in report.rows)])
    else:
        print_table(_rows(report), COLUMNS, as_json)


def _rows(report: StatsReport) -> list[dict[str, Any]]:
    return [{column: getattr(row, column) for column in COLUMNS} for row in report.rows]


async def _watch(settings: Settings, query: StatsQuery, is_from_messages: bool, seconds: float) -> None:
    """A table that is drawn anew; on no terminal, one after the other. An outage is told, and waited for."""
    from rich.console import Console
    from rich.live import Live

    from service.cli.output import table_of
    from service.db import Database
    from service.stats import ask

    console = Console()
    database = Database.from_settings(settings, service_url(settings), pool_size=1)
    async with database:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while True:
                try:
                    report = await ask(database, query, is_from_messages=is_from_messages)
                    shown: Any = table_of(_rows(report), COLUMNS)
                except ServiceError as error:
                    shown = f"{error.text}."
                if console.is_terminal:
                    live.update(shown, refresh=True)
                else:
                    console.print(shown)
                await asyncio.sleep(seconds)


async def _similar_isps(settings: Settings, query: StatsQuery) -> list[str]:
    """The sender's ISPs that the one of the query differs from by case alone."""
    everything = StatsQuery(query.sender_id, None, None, None, Grouping.ISP)
    names = [row.isp for row in (await ask_once(settings, everything)).rows]
    return [name for name in names if name.casefold() == str(query.isp).casefold() and name != query.isp]


async def ask_once(settings: Settings, query: StatsQuery, is_from_messages: bool = False) -> StatsReport:
    from service.db import Database
    from service.stats import ask

    database = Database.from_settings(settings, service_url(settings), pool_size=1)
    async with database:
        return await ask(database, query, is_from_messages=is_from_messages)

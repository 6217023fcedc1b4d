import asyncio
import csv
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from service.cli.options import ID, Number, Text, names_option, on_database, open_pool
from service.errors import ServiceError
from service.model import Grouping, StatsQuery, StatsReport
from service.settings import Settings

if TYPE_CHECKING:
    from service.db import Database

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
        click.option("--isp", type=Text(), help="only this ISP's messages, exact name"),
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
@names_option
@on_database
async def stats(
    settings: Settings,
    query: StatsQuery,
    is_from_messages: bool,
    as_json: bool,
    as_csv: bool,
    watch_seconds: float | None,
    has_names: bool,
) -> None:
    """Show what is in a sender's queue, as a table.

    \b
    Example: queuestats stats --sender 119 --group isp --watch
    """
    from service.cli.output import print_table, printable
    from service.queue.stats import fetch_report

    if (watch_seconds is not None) + as_json + as_csv > 1:
        raise click.UsageError("--watch, --json and --csv exclude each other.")
    async with open_pool(settings) as database:
        if watch_seconds is not None:
            await _watch(database, query, is_from_messages, watch_seconds, has_names)
            return
        report = await fetch_report(database, query, is_from_messages=is_from_messages)
        columns, rows = await _table(database, query, report, has_names)
        has_messages = any(row.total for row in report.rows)
        similar = await _similar_isps(database, query) if query.isp and not has_messages else []
    for name in similar:
        click.echo(f"There is no ISP {printable(query.isp)} here, but {printable(name)}.", err=True)
    if as_csv:
        csv.writer(sys.stdout).writerows([columns, *rows])
    else:
        print_table(columns, rows, as_json)


async def _table(
    database: "Database", query: StatsQuery, report: StatsReport, has_names: bool
) -> tuple[Sequence[str], list[list[Any]]]:
    """The columns and the rows."""
    if not has_names:
        return COLUMNS, [[getattr(row, column) for column in COLUMNS] for row in report.rows]
    from service.queue.names import name_rows

    columns = (*COLUMNS, "account_name", "campaign_name", "sender_name")
    return columns, [
        [row[column] for column in columns] for row in await name_rows(database, report.rows, query.sender_id)
    ]


async def _watch(
    database: "Database", query: StatsQuery, is_from_messages: bool, seconds: float, has_names: bool
) -> None:
    """Until Ctrl-C, a table that is drawn anew; on no terminal, one after the other. An outage is waited for."""
    from rich.console import Console
    from rich.live import Live

    from service.cli.output import table_of
    from service.queue.stats import fetch_report

    console = Console()
    with suppress(asyncio.CancelledError), Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                report = await fetch_report(database, query, is_from_messages=is_from_messages)
                shown: Any = table_of(*await _table(database, query, report, has_names))
            except ServiceError as error:
                shown = f"{error.text}."
            if console.is_terminal:
                live.update(shown, refresh=True)
            else:
                console.print(shown)
            await asyncio.sleep(seconds)
    click.echo("Stopped.", err=True)


async def _similar_isps(database: "Database", query: StatsQuery) -> list[str]:
    """The sender's ISPs that the one of the query differs from by case alone."""
    from service.queue.stats import fetch_report

    names = [row.isp for row in (await fetch_report(database, StatsQuery(query.sender_id, grouping=Grouping.ISP))).rows]
    return [name for name in names if name.casefold() == str(query.isp).casefold() and name != query.isp]

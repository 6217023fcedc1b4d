import asyncio
import csv
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.cli.options import filter_options, in_order, json_option, names_option, on_database, open_pool
from service.cli.output import add_names, print_table, printable, table_of, values
from service.cli.types import FiniteRange, Text
from service.errors import ServiceError
from service.model import Grouping, StatsQuery
from service.settings import Settings

if TYPE_CHECKING:
    from service.db import Database

COLUMNS = ("account_id", "campaign_id", "isp", "new", "proc", "retry", "hold", "total")
QUERY_OPTIONS = in_order(
    filter_options(click.option, isp=Text()),
    click.option(
        "--group", "grouping", type=click.Choice([*map(str, Grouping)]), default="total", help="what a row stands for"
    ),
    click.option(
        "--from-messages",
        "is_from_messages",
        is_flag=True,
        help="add up the messages themselves: the definition of the answer, in time that grows with the queue",
    ),
)


@click.command()
@QUERY_OPTIONS
@json_option("a list of rows")
@click.option("--csv", "as_csv", is_flag=True, help="print the rows as CSV, with a head")
@click.option(
    "--watch",
    "watch_seconds",
    type=FiniteRange(0.1, 3600),
    is_flag=False,
    flag_value="1",
    help="repeat the query every so many seconds, 1 where none is given, until Ctrl-C",
)
@names_option
@on_database
async def stats(
    settings: Settings,
    is_from_messages: bool,
    as_json: bool,
    as_csv: bool,
    watch_seconds: float | None,
    has_names: bool,
    **of_query: Any,
) -> None:
    """Show what is in a sender's queue, as a table.

    \b
    Example: queuestats stats --sender 119 --group isp --watch
    """
    from service.queue.stats import fetch_report

    async def read() -> tuple[Sequence[str], Sequence[Any]]:
        rows = (await fetch_report(database, query, is_from_messages=is_from_messages)).rows
        return await add_names(database, COLUMNS, rows, query.sender_id) if has_names else (COLUMNS, rows)

    if (watch_seconds is not None) + as_json + as_csv > 1:
        raise click.UsageError("--watch, --json and --csv exclude each other.")
    query = query_of(**of_query)
    async with open_pool(settings) as database:
        if watch_seconds is not None:
            await _watch(read, watch_seconds)
            return
        columns, rows = await read()
        has_messages = any(total for (total,) in values(["total"], rows))
        similar = await _similar_isps(database, query) if query.isp and not has_messages else []
    for name in similar:
        click.echo(f"There is no ISP {printable(query.isp)} here, but {printable(name)}.", err=True)
    if as_csv:
        csv.writer(sys.stdout).writerows([columns, *values(columns, rows)])
    else:
        print_table(columns, rows, as_json)


def query_of(isp: str | None, grouping: str, **ids: int | None) -> StatsQuery:
    """The query that QUERY_OPTIONS gave."""
    return msgspec.convert({**ids, "isp": isp or None, "grouping": grouping}, StatsQuery)


async def _watch(read: Callable[[], Awaitable[tuple[Sequence[str], Sequence[Any]]]], seconds: float) -> None:
    """Until Ctrl-C, a table that is drawn anew; on no terminal, one after the other. Goes on after an outage."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with suppress(asyncio.CancelledError), Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                columns, rows = await read()
                shown: Any = table_of(columns, values(columns, rows))
            except ServiceError as error:
                shown = f"{error.text}."
            if console.is_terminal:
                live.update(shown, refresh=True)
            else:
                console.print(shown)
            await asyncio.sleep(seconds)
    click.echo("Stopped.", err=True)


async def _similar_isps(database: "Database", query: StatsQuery) -> list[str]:
    """The sender's ISPs that differ from the query's by case alone."""
    from service.queue.stats import fetch_report

    names = [row.isp for row in (await fetch_report(database, StatsQuery(query.sender_id, grouping=Grouping.ISP))).rows]
    return [name for name in names if name.casefold() == str(query.isp).casefold() and name != query.isp]

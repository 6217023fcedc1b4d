import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec import to_builtins

from service.cli.options import command, in_order, json_option, names_option, on_database, open_pool, query_options
from service.cli.output import Rows, add_names, echo, print_csv, print_json, print_table, table_of
from service.cli.types import FiniteRange, Member, Text
from service.errors import ServiceError
from service.model import Grouping, StatsQuery, With
from service.reports import Explanation
from service.settings import Settings
from service.telemetry.text import escape

if TYPE_CHECKING:
    from service.db import Database

COLUMNS = ("account_id", "campaign_id", "isp", "new", "proc", "retry", "hold", "total")
# Members of a row that --with adds.
_PARTS = ("arrived", "left", "window", "empty_in", "last_left", "oldest")
GROUP = click.option(
    "--group", "grouping", type=Member(Grouping), default="total", help="keys by which the messages are grouped"
)
WITH = click.option(
    "--with",
    "parts",
    type=Member(With),
    multiple=True,
    help="add the arrival times of the oldest messages, or the numbers of messages that arrived and left in the last"
    " five full minutes",
)
QUERY_OPTIONS = in_order(
    query_options(click.option, isp=Text(), grouping=GROUP, parts=WITH),
    click.option(
        "--from-messages",
        "is_from_messages",
        is_flag=True,
        help="count the messages instead of reading the counters; slow for a long queue",
    ),
)


@command("stats --sender 119 --group isp --watch")
@QUERY_OPTIONS
@json_option("a list of rows")
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="print the rows as CSV, with a header; a text that begins with = + - @, a tab or CR is prefixed with '",
)
@click.option(
    "--watch",
    "watch_seconds",
    type=FiniteRange(0.1, 3600),
    is_flag=False,
    flag_value="1",
    help="repeat the query at this interval in seconds (default: 1), until Ctrl-C",
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
    """Show the queue of a sender as a table."""
    from service.queue.stats import fetch_report

    async def read() -> tuple[Sequence[str], Rows]:
        found = (await fetch_report(database, query, is_from_messages=is_from_messages)).rows
        if has_names:
            columns, rows = await add_names(database, COLUMNS, found, query.sender_id)
        else:
            columns, rows = COLUMNS, list(map(to_builtins, found))
        parts = [name for name in _PARTS if rows and name in rows[0]]
        if as_json or not parts:
            return (*columns, *parts), rows
        added = [dict(_flat({name: row[name] for name in parts})) for row in rows]
        return (*columns, *added[0]), [{**row, **of_row} for row, of_row in zip(rows, added, strict=True)]

    if (watch_seconds is not None) + as_json + as_csv > 1:
        raise click.UsageError("--watch, --json and --csv exclude each other.")
    async with open_pool(settings) as database:
        if watch_seconds is not None:
            await _watch(read, watch_seconds)
            return
        columns, rows = await read()
        if query.isp and not any(row["total"] for row in rows):
            for name in await _similar_isps(database, query.sender_id, query.isp):
                echo(f"There is no ISP {query.isp} here, but {name}.", err=True)
    if as_csv:
        print_csv(columns, rows)
    else:
        print_table(columns, rows, as_json)


def _flat(members: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in members.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{inner}", each) for inner, each in value.items())
        else:
            yield name, value


async def _watch(read: Callable[[], Awaitable[tuple[Sequence[str], Rows]]], seconds: float) -> None:
    """Until Ctrl-C, redraws a table; without a terminal, prints tables in sequence. Continues after an outage."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with suppress(asyncio.CancelledError), Live(console=console, auto_refresh=False) as live:
        while True:
            at = datetime.now()  # noqa: DTZ005 the person's own time
            try:
                shown: Any = Group(Text(f"as of {at:%H:%M:%S}"), table_of(*await read()))
            except ServiceError as error:
                shown = escape(f"{at:%H:%M:%S}: {error.text}.")
            if console.is_terminal:
                live.update(shown, refresh=True)
            else:
                console.print(shown)
            await asyncio.sleep(seconds)
    click.echo("Stopped.", err=True)


async def _similar_isps(database: "Database", sender_id: int, isp: str) -> list[str]:
    """The sender's ISPs that differ from this one only in case."""
    from service.queue.stats import fetch_report

    names = [row.isp for row in (await fetch_report(database, StatsQuery(sender_id, grouping=Grouping.ISP))).rows]
    return [name for name in names if name.casefold() == isp.casefold() and name != isp]


@command("explain --sender 119 --group isp --analyze")
@QUERY_OPTIONS
@click.option("--analyze", is_flag=True, help="run the statement, and show the actual times, rows and buffers")
@click.option(
    "--batched",
    is_flag=True,
    help="explain one statement for two queries: this query, and the same query for the next sender",
)
@json_option("{statement, sql, parameters, plan, warnings}")
@on_database
async def explain(
    settings: Settings, query: StatsQuery, is_from_messages: bool, analyze: bool, batched: bool, as_json: bool
) -> None:
    """Show the exact SQL of a query, its plan, and warnings.

    The command connects with the service's role and settings, and warns if the plan is not the intended one. The plan
    of a query of the counters is the generic plan of a prepared statement; a scan of the messages is planned for the
    given options.
    """
    from service.queue.explain import explain as explain_query
    from service.queue.explain import with_values

    async with open_pool(settings) as database:
        scan = await explain_query(database, query, analyze=False, is_from_messages=True)
        explained = await explain_query(
            database, query, analyze=analyze, is_batched=batched, is_from_messages=is_from_messages
        )
    if as_json:
        names = ("statement", "sql", "parameters", "warnings")
        shown = {name: getattr(explained, name) for name in names} | {"plan": [explained.tree]}
        print_json(shown)
        return
    echo(_verdict(explained, scan.tree["Plan"]))
    for warning in explained.warnings:
        echo(f"Warning: {warning}", err=True)
    echo(f"\n{with_values(explained.sql, explained.parameters)}\n" + "\n".join(explained.lines))


def _verdict(explained: Explanation, scan: Mapping[str, Any]) -> str:
    """Whether the plan is the intended one, its cost, and the cost of a scan of the messages."""
    from service.queue.explain import nodes_of

    top = explained.tree["Plan"]
    if "Actual Rows" in top:
        pages = top.get("Shared Hit Blocks", 0) + top.get("Shared Read Blocks", 0)
        cost = f"{top['Actual Rows']:,.0f} rows, {pages:,} pages, {explained.tree['Execution Time']:.2f} ms"
    else:
        cost = f"about {top['Plan Rows']:,} rows, cost {top['Total Cost']:,.0f}; --analyze measures"
    read = max(node["Plan Rows"] for node in nodes_of(scan))
    return (
        f"{'Not as intended' if explained.warnings else 'As intended'}: {explained.statement}, {cost}.\n"
        f"A scan of the messages would read about {read:,.0f} of them, cost {scan['Total Cost']:,.0f}."
    )

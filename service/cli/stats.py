"""queuestats stats"""

import functools
from collections.abc import Callable
from typing import Any

import click

from service.cli.interrupts import run
from service.cli.options import ID, database_options, open_database, service_url
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
@database_options
def stats(settings: Settings, query: StatsQuery, is_from_messages: bool, as_json: bool) -> None:
    """Show what is in a sender's queue, as a table.

    \b
    Example: queuestats stats --sender 119 --group isp
    """
    from service.cli.output import print_table, printable

    with open_database(settings) as opened:
        report = run(ask_once(opened, query, is_from_messages))
        if query.isp and not any(row.total for row in report.rows):
            for name in run(_similar_isps(opened, query)):
                click.echo(f"There is no ISP {printable(query.isp)} here, but {printable(name)}.", err=True)
    rows = [{column: getattr(row, column) for column in COLUMNS} for row in report.rows]
    print_table(rows, COLUMNS, as_json)


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

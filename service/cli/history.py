from typing import Any

import click

from service.cli.options import command, json_option, on_database, open_pool
from service.cli.output import print_table
from service.cli.types import ID, Member, Text
from service.errors import BadRequest
from service.model import Format, HistoryGrouping
from service.settings import Settings

COLUMNS = ("at", "isp", "new", "proc", "retry", "hold", "total", "arrived", "left")
TIME = "such as 2026-03-01T12:00:00Z, or seconds before now"


@command("history --sender 119 --from 3600")
@click.option("--sender", "id", type=ID, required=True, help="sender of the queue")
@click.option("--isp", type=Text(), help="only the messages of this ISP (exact name)")
@click.option(
    "--group", type=Member(HistoryGrouping), default="total", help="total: one row for each step; isp: for each ISP"
)
@click.option("--from", "from_", help=f"start: a time {TIME} (default: an hour ago)")
@click.option("--to", help=f"end: a time {TIME} (default: now)")
@click.option(
    "--step",
    type=click.Choice(["60", "600", "3600"]),
    help="length of a step in seconds; 60 is not available with --isp or --group isp",
)
@json_option("a list of rows")
@on_database
async def history(settings: Settings, as_json: bool, group: HistoryGrouping, from_: str | None, **given: Any) -> None:
    """Show the history of a sender's counts by step.

    A step is a minute, ten minutes or an hour. A row has the counts at the end of the step, and the numbers of
    messages that arrived and left within it.
    """
    from service.queue.history import fetch_history
    from service.wire.parsing import Envelope, parse_history

    try:
        given |= {"group": group.value, "from": from_}
        members = {name: value for name, value in given.items() if value is not None}
        query = parse_history(Envelope(Format.JSON, members), list(settings.history_kept.values()))
    except BadRequest as error:
        raise click.UsageError(f"{error.text}.") from error
    async with open_pool(settings) as database:
        print_table(COLUMNS, (await fetch_history(database, query)).rows, as_json)

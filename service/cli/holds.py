import click

from service.cli.control import open_control
from service.cli.options import json_option, names_option, on_database, open_pool
from service.cli.output import add_names, print_table
from service.cli.types import ID
from service.settings import Settings

COLUMNS = (
    *("id", "sender_id", "account_id", "campaign_id", "isp", "messages", "reason"),
    *("created_by_kind", "created_by", "created_at", "expires_at"),
)


@click.command()
@click.option("--sender", type=ID, help="only this sender's")
@names_option
@json_option()
@on_database
async def holds(settings: Settings, sender: int | None, has_names: bool, as_json: bool) -> None:
    """List the active holds, each with the number of messages that it holds now.

    \b
    Example: queuestats holds --sender 119
    """
    async with open_control(settings) as control, open_pool(settings) as database:
        found = await control.holds(sender)
        columns, rows = await add_names(database, COLUMNS, found) if has_names else (COLUMNS, found)
    print_table(columns, rows, as_json)

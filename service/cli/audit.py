import click

from service.cli.control import open_control
from service.cli.options import json_option, on_database
from service.cli.output import print_table
from service.cli.types import ID
from service.settings import Settings

COLUMNS = (
    *("at", "action", "subject", "sender_id", "account_id", "campaign_id", "isp", "messages", "actor_kind"),
    *("actor_name", "request_id", "reason", "hold_id", "job_id"),
)


@click.command()
@click.option("--sender", type=ID, help="only this sender's")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, help="how many entries")
@json_option()
@on_database
async def audit(settings: Settings, sender: int | None, limit: int, as_json: bool) -> None:
    """List the audit log, the latest entries first: holds, releases, purges, and changes of tokens.

    \b
    Example: queuestats audit --sender 119
    """
    async with open_control(settings) as control:
        rows = await control.audit(sender, limit)
    print_table(COLUMNS, rows, as_json)

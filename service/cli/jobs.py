import click

from service.cli.control import open_control
from service.cli.options import json_option, names_option, on_database, open_pool
from service.cli.output import add_names, print_table
from service.cli.types import ID
from service.control.actor import of_command
from service.errors import CommandError
from service.settings import Settings

COLUMNS = (
    *("id", "action", "sender_id", "account_id", "campaign_id", "isp", "state", "matched", "changed"),
    *("requested_by_kind", "requested_by", "created_at", "finished_at"),
)


@click.command()
@click.option("--cancel", "cancelled", type=ID, help="end this job; what it has changed stays")
@names_option
@json_option()
@on_database
async def jobs(settings: Settings, cancelled: int | None, has_names: bool, as_json: bool) -> None:
    """List the latest jobs, or end one.

    \b
    Example: queuestats jobs --cancel 12
    """
    async with open_control(settings) as control, open_pool(settings) as database:
        if cancelled is not None:
            if not await control.cancel(cancelled, of_command()):
                raise CommandError(f"There is no open job {cancelled}.")
            click.echo(f"Job {cancelled} is cancelled.")
            return
        found = await control.jobs()
        columns, rows = await add_names(database, COLUMNS, found) if has_names else (COLUMNS, found)
    print_table(columns, rows, as_json)

"""queuestats migrate"""

import sys

import click

from service.cli.interrupts import run
from service.cli.options import database_options, open_database, owner_url
from service.settings import Settings


@click.command()
@database_options
@click.option("--check", is_flag=True, help="only tell, by exit code, whether there is something to do")
def migrate(settings: Settings, check: bool) -> None:
    """Bring the database to the newest schema, and give the service's role its rights.

    \b
    Example: queuestats migrate --check || queuestats migrate
    """
    from service.db import connect
    from service.schema.migrate import migrate as bring_up
    from service.schema.migrate import missing_rights, pending_changes
    from service.schema.roles import login

    async def pending() -> list[str]:
        async with connect(owner_url(opened)) as connection:
            changes = await pending_changes(connection)
            return changes or await missing_rights(connection, login(opened.database_url or owner_url(opened))[0])

    with open_database(settings) as opened:
        if not check:
            run(bring_up(owner_url(opened), opened.database_url, click.echo, opened.messages_schema))
        missing = run(pending())
    click.echo(f"To do: {', '.join(missing)}" if missing else "The schema is current.")
    sys.exit(1 if missing else 0)

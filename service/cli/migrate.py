"""queuestats migrate"""

import click

from service.cli.options import on_database, owner_url
from service.settings import Settings


@click.command()
@click.option("--check", is_flag=True, help="only tell, by exit code, whether there is something to do")
@on_database
async def migrate(settings: Settings, check: bool) -> int:
    """Bring the database to the newest schema, and give the service's role its rights.

    \b
    Example: queuestats migrate --check || queuestats migrate
    """
    from service.db import connect
    from service.schema import migrate as bring_up
    from service.schema.migrate import missing_rights, pending_changes
    from service.schema.roles import login

    url = owner_url(settings)
    if not check:
        await bring_up(url, settings.database_url, click.echo, settings.messages_schema)
    async with connect(url) as connection:
        role, _ = login(settings.database_url or url)
        missing = await pending_changes(connection) or await missing_rights(connection, role)
    click.echo(f"To do: {', '.join(missing)}" if missing else "The schema is current.")
    return 1 if missing else 0

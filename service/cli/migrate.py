import click

from service.cli.options import command, on_database, owner_url
from service.settings import Settings


@command("migrate --check || queuestats migrate")
@click.option("--check", is_flag=True, help="change nothing; the exit code says whether there is something to do")
@click.option("--distribute", is_flag=True, help="on a Citus coordinator: distribute messages over the nodes")
@click.option("--shards", type=click.IntRange(1, 10_000), default=32, help="with --distribute: how many")
@on_database
async def migrate(settings: Settings, check: bool, distribute: bool, shards: int) -> int:
    """Bring the database to the newest schema, and give the service's role its rights.

    Where Citus has distributed messages, every node and shard too.
    """
    from service.cluster.distribute import bring_up_nodes
    from service.cluster.distribute import distribute as distribute_messages
    from service.db import connect
    from service.schema import migrate as bring_up
    from service.schema.migrate import missing_rights, pending_changes
    from service.schema.roles import login

    url = owner_url(settings)
    if not check:
        await bring_up(url, settings.database_url, click.echo, settings.messages_schema)
        if distribute:
            await distribute_messages(url, shards, click.echo)
        await bring_up_nodes(url, settings.database_url, click.echo)
    async with connect(url) as connection:
        role, _ = login(settings.database_url or url)
        missing = await pending_changes(connection) or await missing_rights(connection, role)
    click.echo(f"To do: {', '.join(missing)}" if missing else "The schema is current.")
    return 1 if missing else 0

import click

from service.cli.options import command, on_database, owner_url
from service.cli.output import echo
from service.settings import Settings


@command("migrate --check || queuestats migrate")
@click.option(
    "--check",
    is_flag=True,
    help="change nothing; exit code 1 if the database must be migrated or has a condition that is an error",
)
@click.option("--distribute", is_flag=True, help="on a Citus coordinator: distribute messages over the nodes")
@click.option("--shards", type=click.IntRange(1, 10_000), default=32, help="with --distribute: number of shards")
@on_database
async def migrate(settings: Settings, check: bool, distribute: bool, shards: int) -> int:
    """Migrate the database to the newest schema.

    The command also grants the service's role the rights that it needs. If Citus has distributed messages, it migrates
    all nodes and shards. At the end, and with --check, it checks the conditions of `queuestats doctor`, except those
    that take long to check. The exit code is 1 if one of them is an error.
    """
    from service.cluster.distribute import bring_up_nodes
    from service.cluster.distribute import distribute as distribute_messages
    from service.counters.doctor import diagnose
    from service.counters.health import Severity
    from service.db import connect
    from service.schema import migrate as bring_up

    url = owner_url(settings)
    if not check:
        await bring_up(url, settings.database_url, echo, settings.messages_schema)
        if distribute:
            await distribute_messages(url, shards, echo)
        await bring_up_nodes(url, settings.database_url, echo)
    async with connect(url) as connection:
        findings = await diagnose(connection, url, settings, is_quick=True)
    errors = [found for found in findings if found.severity is Severity.ERROR]
    for found in errors:
        echo(f"{found.place}: {found.finding.rstrip('.')}. {found.advice}")
    if not errors:
        echo("The schema is current.")
    return 1 if errors else 0

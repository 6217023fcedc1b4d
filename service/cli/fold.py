import click

from service.cli.options import on_database, open_pool
from service.settings import Settings


@click.command()
@on_database
async def fold(settings: Settings) -> None:
    """Move all pending deltas into the counters, by hand. While the service runs it does so by itself.

    \b
    Example: queuestats fold
    """
    from service.cluster.shards import nodes_of
    from service.counters.folding import Folder

    async with open_pool(settings) as database:
        nodes = await nodes_of(database)
        folders = [Folder(node, "queries/citus") for node in nodes] or [Folder(database)]
        folded = sum([await folder.fold_all() for folder in folders])
    click.echo(f"{folded:,} deltas folded.")

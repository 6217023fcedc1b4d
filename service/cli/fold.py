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
    from service.cluster import find_topology
    from service.counters.folding import Folder

    async with open_pool(settings) as database:
        nodes = await (await find_topology(database)).nodes()
        folded = sum([await Folder(node).fold_all() for node in nodes])
    click.echo(f"{folded:,} deltas folded.")

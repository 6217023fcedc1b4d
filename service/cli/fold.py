"""queuestats fold"""

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
    from service.counters.folding import Folder

    async with open_pool(settings) as database:
        folded = await Folder(database).fold_all()
    click.echo(f"{folded:,} deltas folded.")

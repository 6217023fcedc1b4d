"""queuestats fold"""

import click

from service.cli.interrupts import run
from service.cli.options import database_options, open_database, service_url
from service.settings import Settings


@click.command()
@database_options
def fold(settings: Settings) -> None:
    """Move all pending deltas into the counters, by hand. While the service runs it does so by itself.

    \b
    Example: queuestats fold
    """
    with open_database(settings) as opened:
        folded = run(_fold_all(opened))
    click.echo(f"{folded:,} deltas folded.")


async def _fold_all(settings: Settings) -> int:
    from service.counters.folding import Folder
    from service.db import Database

    async with Database.from_settings(settings, service_url(settings), pool_size=1) as database:
        return await Folder(database).fold_all()

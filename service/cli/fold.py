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
    from service.db import Database
    from service.folding import fold as fold_once

    total = 0
    async with Database.from_settings(settings, service_url(settings), pool_size=1) as database:
        is_more = True
        while is_more:
            folded, is_more = await fold_once(database)
            total += folded
    return total

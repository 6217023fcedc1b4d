"""queuestats verify"""

import sys
from typing import TYPE_CHECKING

import click

from service.cli.interrupts import run
from service.cli.options import ID, database_options, open_database, owner_url, service_url
from service.settings import Settings

if TYPE_CHECKING:
    from service.counters.verify import Difference

COLUMNS = ("sender_id", "grouping_set", "account_id", "campaign_id", "isp", "status", "counted", "kept")
# A person reads no more; --json lists all.
MOST_LINES = 50


@click.command()
@click.option("--sender", type=ID, help="only this sender  [default: all]")
@click.option("--repair", is_flag=True, help="count every sender with a difference anew, online, as the owner")
@click.option("--json", "as_json", is_flag=True, help="print the list of differences as JSON")
@database_options
def verify(settings: Settings, sender: int | None, repair: bool, as_json: bool) -> None:
    """Recount the messages and compare with what the service would answer, in one snapshot.

    It may run at any moment, under full load. The exit code is 1 where anything differs and was not repaired.

    \b
    Example: queuestats verify --sender 119
    """
    with open_database(settings) as opened:
        differences, left = run(_verify(opened, sender, repair))
    _show(differences, as_json)
    if differences and not left:
        click.echo(f"Repaired: {len({each.sender_id for each in differences}):,} senders were counted anew.", err=True)
    sys.exit(1 if left else 0)


def _show(differences: "list[Difference]", as_json: bool) -> None:
    from service.cli.output import print_table

    rows = [{column: getattr(each, column) for column in COLUMNS} for each in differences]
    if as_json:
        print_table(rows, COLUMNS, as_json)
    elif not rows:
        click.echo("No difference.")
    else:
        print_table(rows[:MOST_LINES], COLUMNS, as_json)
        click.echo(f"{len(rows):,} differences.")


async def _verify(
    settings: Settings, sender_id: int | None, is_repairing: bool
) -> "tuple[list[Difference], list[Difference]]":
    """What differs, and what is left of it."""
    from service.counters.verify import find_differences, repair
    from service.db import connect

    url = owner_url(settings) if is_repairing else service_url(settings)
    async with connect(url, prepared_statements=settings.has_prepared_statements, is_direct=False) as connection:
        differences = await find_differences(connection, sender_id)
        if not (differences and is_repairing):
            return differences, differences
        await repair(connection, differences)
        return differences, await find_differences(connection, sender_id)

import click

from service.cli.options import json_option, on_database, owner_url, service_url
from service.cli.output import print_table
from service.cli.types import ID
from service.settings import Settings

COLUMNS = ("sender_id", "grouping_set", "account_id", "campaign_id", "isp", "status", "counted", "kept")
# A person reads no more; --json lists all.
MOST_LINES = 50


@click.command()
@click.option("--sender", type=ID, help="only this sender  [default: all]")
@click.option(
    "--repair", "is_repairing", is_flag=True, help="count each sender that differs anew, online, as the owner"
)
@json_option("the list of differences")
@on_database
async def verify(settings: Settings, sender: int | None, is_repairing: bool, as_json: bool) -> int:
    """Recount the messages and compare with what the service would answer, in one snapshot.

    It may run at any moment, under full load. The exit code is 1 where anything differs and was not repaired.

    \b
    Example: queuestats verify --sender 119
    """
    from service.counters.verify import keep_result, verify_database
    from service.db import connect

    url = owner_url(settings) if is_repairing else service_url(settings)
    async with connect(url, prepared_statements=settings.has_prepared_statements, is_direct=False) as connection:
        differences, left = await verify_database(connection, url, sender, is_repairing=is_repairing)
        if sender is None:
            await keep_result(connection, len(left))
    if differences or as_json:
        print_table(COLUMNS, differences if as_json else differences[:MOST_LINES], as_json)
    if not as_json:
        click.echo(f"{len(differences):,} differences." if differences else "No difference.")
    if differences and not left:
        senders = {difference.sender_id for difference in differences}
        click.echo(f"Repaired: {len(senders):,} senders were counted anew.", err=True)
    return 1 if left else 0

from dataclasses import asdict

import click

from service.cli.options import command, json_option, on_database, open_pool, owner_url, service_url
from service.cli.output import print_table
from service.cli.types import ID
from service.settings import Settings

DIFFERENCE_COLUMNS = (
    "sender_id",
    "grouping_set",
    "account_id",
    "campaign_id",
    "isp",
    "status",
    "counted",
    "kept",
    "hold_id",
)
# More is too much to read; --json lists all.
MOST_LINES = 50
FINDING_COLUMNS = ("severity", "condition", "finding", "meaning", "advice")


@command("verify --sender 119")
@click.option("--sender", type=ID, help="only this sender  [default: all]")
@click.option(
    "--repair",
    "is_repairing",
    is_flag=True,
    help="recount the senders with differences, with the login of the owner",
)
@json_option("the list of differences")
@on_database
async def verify(settings: Settings, sender: int | None, is_repairing: bool, as_json: bool) -> int:
    """Compare the reports with a recount of the messages.

    Both come from one snapshot. You can run the command at any time, also under full load. The exit code is 1 if a
    difference was found and not repaired.
    """
    from service.counters.verify import keep_result, verify_database
    from service.db import connect

    url = owner_url(settings) if is_repairing else service_url(settings)
    async with connect(url, prepared_statements=settings.has_prepared_statements, is_direct=False) as connection:
        differences, left = await verify_database(connection, url, sender, is_repairing=is_repairing)
        await keep_result(connection, sender, left)
    if differences or as_json:
        shown = differences if as_json else differences[:MOST_LINES]
        print_table(DIFFERENCE_COLUMNS, list(map(asdict, shown)), as_json)
    if not as_json:
        click.echo(f"{len(differences):,} differences." if differences else "No difference.")
    if differences and not left:
        senders = {difference.sender_id for difference in differences}
        click.echo(f"Repaired: {len(senders):,} senders.", err=True)
    return 1 if left else 0


@command("doctor --json")
@json_option("a list of {severity, condition, finding, meaning, advice}")
@on_database
async def doctor(settings: Settings, as_json: bool) -> int:
    """Check a live database for all health conditions.

    The table has a row for each condition, with its severity (error, warning, note, or ok if it was not found) and
    the remedy. With --json, only the conditions that were found are printed. docs/health.md describes the conditions.
    The exit code is 4 if an error was found, 3 if a warning was found, and otherwise 0.
    """
    from service.counters.doctor import diagnose
    from service.db import connect

    url = owner_url(settings)
    examined: list[str] = []
    async with connect(url) as connection:
        findings = await diagnose(connection, url, settings, examined.append)
    rows = [{**asdict(found), "severity": found.severity.name.lower()} for found in findings]
    if not as_json:
        passed = [name for name in examined if name not in {found.condition for found in findings}]
        rows += [dict.fromkeys(FINDING_COLUMNS, "") | {"severity": "ok", "condition": name} for name in passed]
    print_table(FINDING_COLUMNS, rows, as_json)
    if not findings and not as_json:
        click.echo("Nothing to repair.")
    return max((found.severity for found in findings), default=0)


@command("fold")
@on_database
async def fold(settings: Settings) -> None:
    """Move all pending deltas into the counters now. A running service does this automatically."""
    from service.cluster import find_topology
    from service.counters.folding import Folder

    async with open_pool(settings) as database:
        nodes = await (await find_topology(database)).nodes()
        folded = sum([await Folder(node).fold_all() for node in nodes])
    click.echo(f"{folded:,} deltas folded.")

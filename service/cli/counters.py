from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from service.cli.options import command, json_option, on_database, open_pool, owner_url, service_url
from service.cli.output import print_table
from service.cli.types import ID
from service.settings import Settings

if TYPE_CHECKING:
    from service.counters.verify import Verified

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
NOT_COMPARED = 3
# More is too much to read; --json lists all.
MOST_LINES = 50
FINDING_COLUMNS = ("severity", "node", "condition", "finding", "meaning", "advice")


@command("verify --sender 119")
@click.option("--sender", type=ID, help="only this sender  [default: all]")
@click.option(
    "--repair",
    "is_repairing",
    is_flag=True,
    help="recount the senders with differences, with the login of the owner",
)
@json_option("the differences, and the parts that were not compared (`not_compared`),")
@on_database
async def verify(settings: Settings, sender: int | None, is_repairing: bool, as_json: bool) -> int:
    """Compare the reports with a recount of the messages.

    Both come from one snapshot. You can run the command at any time, also under full load. The exit code is 1 if a
    difference was found and not repaired. It is 3 if no difference was found, but a part of the queue could not be
    compared, for example a node that does not respond.
    """
    from service.counters.verify import keep_result, verify_database
    from service.db import connect

    url = owner_url(settings) if is_repairing else service_url(settings)
    async with connect(url, prepared_statements=settings.has_prepared_statements, is_direct=False) as connection:
        verified = await verify_database(connection, url, sender, is_repairing=is_repairing)
        await keep_result(connection, sender, verified)
    _print_verified(verified, as_json=as_json)
    return 1 if verified.left else NOT_COMPARED if verified.not_compared else 0


def _print_verified(verified: "Verified", *, as_json: bool) -> None:
    rows = [*map(asdict, verified.differences)]
    if as_json:
        empty = dict.fromkeys(DIFFERENCE_COLUMNS)
        rows = [row | {"not_compared": None} for row in rows]
        rows += [empty | {"not_compared": str(each)} for each in verified.not_compared]
        print_table((*DIFFERENCE_COLUMNS, "not_compared"), rows, as_json)
        return
    if rows:
        print_table(DIFFERENCE_COLUMNS, rows[:MOST_LINES], as_json)
    for each in verified.not_compared:
        click.echo(f"Not compared: {each}.")
    others = " in what was compared" if verified.not_compared else ""
    click.echo(f"{len(rows):,} differences{others}." if rows else f"No difference{others}.")
    if rows and not verified.left:
        click.echo(f"Repaired: {len({row['sender_id'] for row in rows}):,} senders.", err=True)


@command("doctor --json")
@json_option("a list of {severity, node, condition, finding, meaning, advice}")
@on_database
async def doctor(settings: Settings, as_json: bool) -> int:
    """Check a live database, and each node of a cluster, for all health conditions.

    The table has a row for each condition and node, with its severity (error, warning, note, or ok if it was not
    found) and the remedy. With --json, only the conditions that were found are printed. docs/health.md describes the
    conditions. The exit code is 4 if an error was found, 3 if a warning was found, and otherwise 0.
    """
    from service.counters.doctor import diagnose
    from service.db import connect

    url = owner_url(settings)
    examined: list[tuple[str, str]] = []
    async with connect(url) as connection:
        findings = await diagnose(connection, url, settings, lambda *condition: examined.append(condition))
    rows = [{**asdict(found), "severity": found.severity.name.lower()} for found in findings]
    if not as_json:
        failed = {(found.condition, found.node) for found in findings}
        rows += [
            dict.fromkeys(FINDING_COLUMNS, "") | {"severity": "ok", "condition": name, "node": node}
            for name, node in examined
            if (name, node) not in failed
        ]
    # One machine has no node to show.
    columns = [name for name in FINDING_COLUMNS if as_json or name != "node" or any(row["node"] for row in rows)]
    print_table(columns, rows, as_json)
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

"""queuestats doctor"""

import sys
from typing import TYPE_CHECKING

import click

from service.cli.interrupts import run
from service.cli.options import database_options, open_database, owner_url
from service.settings import Settings

if TYPE_CHECKING:
    from service.counters.doctor import Finding

COLUMNS = ("severity", "check", "finding", "advice")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print a list of {severity, check, finding, advice} as JSON")
@database_options
def doctor(settings: Settings, as_json: bool) -> None:
    """Look at a live database and say what a DBA should mend.

    Each check is a row of the table: ok, note, warning or error. With --json only what was found.
    Exit code 0: nothing, or only notes; 3: a warning; 4: an error, something is broken.

    \b
    Example: queuestats doctor --json
    """
    from service.cli.output import print_table

    with open_database(settings) as opened:
        checks, findings = run(_examine(opened))
    rows = [
        {"severity": each.severity.name.lower(), "check": each.check, "finding": each.finding, "advice": each.advice}
        for each in findings
    ]
    if not as_json:
        found = {each.check for each in findings}
        well = {"severity": "ok", "finding": "", "advice": ""}
        rows += [{**well, "check": check} for check in checks if check not in found]
        rows.sort(key=lambda row: checks.index(row["check"]))
    print_table(rows, COLUMNS, as_json)
    if not findings and not as_json:
        click.echo("Nothing to mend.")
    sys.exit(max((each.severity for each in findings), default=0))


async def _examine(settings: Settings) -> "tuple[list[str], list[Finding]]":
    """The names of the checks that were made, and what they found."""
    from service.counters.doctor import examine
    from service.db import connect
    from service.schema.roles import login

    role, _ = login(settings.database_url or owner_url(settings))
    checks: list[str] = []
    async with connect(owner_url(settings)) as connection:
        return checks, await examine(connection, role, checks.append)

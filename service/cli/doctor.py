import click

from service.cli.options import json_option, on_database, owner_url
from service.cli.output import print_table
from service.settings import Settings

COLUMNS = ("severity", "check", "finding", "advice")


@click.command()
@json_option("a list of {severity, check, finding, advice}")
@on_database
async def doctor(settings: Settings, as_json: bool) -> int:
    """Look at a live database and say what a DBA should mend.

    Each check is a row of the table: ok, note, warning or error. With --json only what was found.
    Exit code 0: nothing, or only notes; 3: a warning; 4: an error, something is broken.

    \b
    Example: queuestats doctor --json
    """
    from service.counters.doctor import examine
    from service.db import connect
    from service.schema.roles import login

    url = owner_url(settings)
    role, _ = login(settings.database_url or url)
    checks: list[str] = []
    async with connect(url) as connection:
        findings = await examine(connection, role, checks.append, url)
    rows = [(found.severity.name.lower(), found.check, found.finding, found.advice) for found in findings]
    if not as_json:
        rows += [("ok", check, "", "") for check in checks if check not in {row[1] for row in rows}]
        rows.sort(key=lambda row: checks.index(row[1]))
    print_table(COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows], as_json)
    if not findings and not as_json:
        click.echo("Nothing to mend.")
    return max((found.severity for found in findings), default=0)

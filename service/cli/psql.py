import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from service.cli.options import DATABASE_SETTINGS, command, open_database, owner_url, service_url, settings_options
from service.errors import CommandError
from service.settings import Settings
from service.telemetry.origin import application_name


@command(
    "psql -c 'SELECT count(*) FROM messages'",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@settings_options(*DATABASE_SETTINGS)
@click.option("--as-service", is_flag=True, help="connect as the service's role instead of the owner")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(settings: Settings, as_service: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the database in use. Arguments are passed to psql, and its exit code is returned.

    The command passes the address of the database to psql before your arguments, so omit -h, -p, -U and -d. A file
    of sql/ needs the parameters that its header lists: -v sender_id=119 -f sql/… The command replaces placeholders of
    the file, such as "{schema}", by the names for the table messages, and not by those for an adopted table.
    """
    from service.db.address import for_programs

    with open_database(settings) as opened, tempfile.TemporaryDirectory(prefix="queuestats-") as folder:
        url, environment = for_programs(service_url(opened) if as_service else owner_url(opened))
        command = [_program(settings), "--dbname", url]
        command += [fill_file(argument, Path(folder), settings.messages_schema) for argument in arguments]
        # Ctrl-C is for psql, which cancels its statement.
        signal.signal(signal.SIGINT, lambda *_: None)
        named = {"PGAPPNAME": application_name(), **os.environ, **environment}
        exit_code = subprocess.call(command, env=named)
    sys.exit(exit_code if exit_code >= 0 else 128 - exit_code)


def fill_file(argument: str, folder: Path, messages_schema: str) -> str:
    """The argument; for a file with named places, the same file with these filled."""
    from service.db.statements import DECLARED, fill
    from service.schema.files import own_table

    before, _, name = argument.rpartition("=") if argument.startswith("--file=") else ("", "", argument)
    path = Path(name)
    if path.suffix != ".sql" or not path.is_file() or DECLARED not in (source := path.read_text("utf-8")):
        return argument
    filled = folder / path.name
    filled.write_text(fill(str(path.with_suffix("")), source, own_table(messages_schema).places), "utf-8")
    return f"{before}={filled}" if before else str(filled)


def _program(settings: Settings) -> str:
    from service.embedded import binaries

    # An installed psql works with every server; the embedded server has its own.
    found = shutil.which("psql") if settings.owner_url else None
    try:
        return found or str(binaries(18) / "psql")
    except CommandError:
        raise CommandError("psql is not installed; install PostgreSQL's client programs.") from None

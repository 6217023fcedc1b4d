import os
import shutil
import signal
import subprocess
import sys

import click

from service.cli.options import DATABASE_SETTINGS, open_database, owner_url, service_url, settings_options
from service.errors import CommandError
from service.settings import Settings
from service.telemetry.origin import application_name


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@settings_options(*DATABASE_SETTINGS)
@click.option("--as-service", is_flag=True, help="connect as the service's role instead of the owner")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(settings: Settings, as_service: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the database in use; psql's own arguments are passed on, and its exit code is ours.

    The database's address is put before them, so -h, -p, -U and -d are better left out. A file of sql/ takes the
    parameters that its header names: -v sender_id=119 -f sql/…

    \b
    Example: queuestats psql -c 'SELECT count(*) FROM messages'
    """
    from service.db.address import for_programs

    with open_database(settings) as opened:
        url, environment = for_programs(service_url(opened) if as_service else owner_url(opened))
        command = [_program(settings), "--dbname", url, *arguments]
        # Ctrl-C is psql's: it cancels the statement there.
        signal.signal(signal.SIGINT, lambda *_: None)
        named = {"PGAPPNAME": application_name(), **os.environ, **environment}
        exit_code = subprocess.call(command, env=named)
    sys.exit(exit_code if exit_code >= 0 else 128 - exit_code)


def _program(settings: Settings) -> str:
    from service.embedded import binaries

    # A psql that is installed speaks to every server; the embedded one has its own.
    found = shutil.which("psql") if settings.owner_url else None
    try:
        return found or str(binaries(18) / "psql")
    except CommandError:
        raise CommandError("There is no psql here; install PostgreSQL's client programs.") from None

import asyncio
import os
import socket
import tempfile

import click
from msgspec.structs import replace

from service.cli.interrupts import on_signals, run, until_stopped
from service.cli.options import DATABASE_SETTINGS, command, open_database, owner_url, service_url, settings_options
from service.errors import CommandError
from service.settings import Settings, dump_settings

APPLICATION = "service.app:create_app_from_environment"
EMPTY_CHECK_SECONDS = 1.0
NEXT_STEPS = """This database is empty. Next, in another terminal:
  queuestats migrate
  queuestats token create dashboard
  queuestats stats --sender 119"""


@command("serve --port 8080 --workers 2")
@settings_options("host", "port", "workers", *DATABASE_SETTINGS)
@click.option("--dump-config", is_flag=True, help="print the effective settings, with secrets masked, and exit")
def serve(settings: Settings, dump_config: bool) -> None:
    """Serve over HTTP until Ctrl-C or SIGTERM."""
    if dump_config:
        click.echo(dump_settings(settings))
        return
    from service.db import load_statements
    from service.http.server.sockets import address, listen

    load_statements()
    with until_stopped(), listen(settings) as listener, open_database(settings) as opened:
        served = replace(opened, database_url=service_url(opened))
        if run(_is_empty(owner_url(opened)), has_more=True):
            click.echo(NEXT_STEPS, err=True)
        run_server(served, listener, f"Serving on {address(listener, served)}")


async def _is_empty(url: str) -> bool:
    """Whether the database was never migrated. False if it can't be reached: the service reports that itself."""
    from service.db import connect, fetch

    try:
        async with asyncio.timeout(EMPTY_CHECK_SECONDS), connect(url) as connection:
            return not (await fetch(connection, "queries/disposable"))[0]["is_migrated"]
    except (CommandError, TimeoutError):
        return False


def run_server(settings: Settings, listener: socket.socket, announcement: str = "") -> None:
    """Serves until a signal. Raises CommandError if the server could not start."""
    from service.http.server.processes import Server, Workers, raise_descriptor_limit, server_config
    from service.http.server.sockets import duplicates
    from service.settings import as_environment
    from service.telemetry.logs import announce, configure_logging

    configure_logging(settings.log_level, settings.log_format)
    if announcement:
        announce(announcement)
    raise_descriptor_limit()
    # A worker is a new process, which reads the settings from its environment.
    os.environ.update(as_environment(settings))
    config, sockets = server_config(settings, APPLICATION, factory=True), duplicates(listener)
    server: Server | Workers
    if settings.workers == 1:
        server = Server(config)
        # uvicorn raises the signal again when it ends, which must not interrupt anything.
        on_signals(server.handle_exit)
        server.run(sockets)
    else:
        server = Workers(config, sockets)
        # The workers store their metrics there, so that each worker can report the sums.
        with tempfile.TemporaryDirectory(prefix="queuestats-metrics-") as os.environ["PROMETHEUS_MULTIPROC_DIR"]:
            server.run()
    if not server.started:
        raise CommandError("The server could not start; the log has the reason.")

"""queuestats serve"""

import socket
from dataclasses import replace

import click

from service.cli.interrupts import on_signals, until_stopped
from service.cli.options import DATABASE_SETTINGS, open_database, service_url, settings_options
from service.errors import CommandError
from service.settings import Settings, dump_settings

APPLICATION = "service.app:create_app_from_environment"


@click.command()
@settings_options("host", "port", "workers", *DATABASE_SETTINGS)
@click.option("--dump-config", is_flag=True, help="print the settings in force, secrets masked, and end")
def serve(settings: Settings, dump_config: bool) -> None:
    """Serve over HTTP until Ctrl-C or SIGTERM.

    \b
    Example: queuestats serve --port 8080 --workers 2
    """
    if dump_config:
        click.echo(dump_settings(settings))
        return
    from service.db import load_statements

    load_statements()
    with until_stopped(), listen(settings) as listener, open_database(settings) as opened:
        served = replace(opened, database_url=service_url(opened))
        click.echo(f"Serving on {address(listener)}", err=True)
        run_server(served, listener)


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on, bound before anything else is begun. Raises CommandError where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise CommandError(f"Can't listen on {settings.host} port {settings.port}: {error.strerror}.") from error
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(settings: Settings, listener: socket.socket, application: str = APPLICATION) -> None:
    """Serves until a signal; open requests get `shutdown_timeout_ms` to finish.

    Raises CommandError where the server could not start.
    """
    import os

    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    from service.logs import configure_logging
    from service.protocol import http_protocol
    from service.settings import as_environment

    configure_logging(settings.log_level)
    # Worker processes are new ones: they learn the settings from the environment.
    os.environ.update(as_environment(settings))
    config = uvicorn.Config(
        application,
        factory=True,
        http=http_protocol(settings),
        workers=settings.workers,
        log_config=None,
        access_log=False,
        # Nothing here asks who the client is.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=-(-settings.shutdown_timeout_ms // 1000),
    )
    if settings.workers > 1:
        supervisor = Multiprocess(config, sockets=[listener])
        supervisor.run()
        started = all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    else:
        server = uvicorn.Server(config)
        # It raises the signal that ended it once more, amid its last tasks: by then that must interrupt nothing.
        on_signals(server.handle_exit)
        server.run(sockets=[listener])
        started = server.started
    if not started:
        raise CommandError("The server could not start; the log says why.")

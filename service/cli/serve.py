import asyncio
import logging
import math
import os
import resource
import signal
import socket
import ssl
import tempfile
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from service.cli.interrupts import on_signals, run, until_stopped
from service.cli.options import DATABASE_SETTINGS, open_database, owner_url, service_url, settings_options
from service.errors import CommandError
from service.settings import Settings, dump_settings

if TYPE_CHECKING:
    import uvicorn

logger = logging.getLogger(__name__)

APPLICATION = "service.app:create_app_from_environment"
# Connections that wait to be accepted, and how long a silent one waits.
BACKLOG = 2048
DEFER_ACCEPT_SECONDS = 30
ACCEPTS_A_TURN = 16
FEW_DESCRIPTORS = 4096
# The start does not wait longer for a database.
LOOK_SECONDS = 1.0
NEXT_STEPS = """This database is empty. Next, in another terminal:
  queuestats migrate
  queuestats token create dashboard
  queuestats stats --sender 119"""


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
        if run(_is_empty(owner_url(opened))):
            click.echo(NEXT_STEPS, err=True)
        run_server(served, listener, f"Serving on {address(listener, served)}")


async def _is_empty(url: str) -> bool:
    """Whether the database was never migrated; not where it can't be asked, which the service itself will tell."""
    from service.db import connect, fetch

    try:
        async with asyncio.timeout(LOOK_SECONDS), connect(url) as connection:
            return not (await fetch(connection, "queries/disposable"))[0]["is_migrated"]
    except (CommandError, TimeoutError):
        return False


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on, bound before anything else is begun.

    Raises CommandError where it is taken, or where the certificate and its key cannot be used.
    """
    check_tls(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CommandError(f"Can't listen on {settings.host} port {settings.port}: {error.strerror}.") from error
    # A head and its body are two writes; asyncio sees to this only where it has made the socket.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Linux has both, and accepted connections inherit them. One that never sends stays with the kernel for a while,
    # and one whose peer does not read is ended by it.
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.send_timeout_ms)
    return listener


def address(listener: socket.socket, settings: Settings) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def handles(listener: socket.socket) -> list[socket.socket]:
    """The socket several times over, each a descriptor of its own: uvloop accepts one connection a turn on each.

    Beside 200 busy connections and 320 a second that come and go, a new client waited up to 2.5 s on a single one.
    """
    return [listener, *(listener.dup() for _ in range(ACCEPTS_A_TURN - 1))]


def server_options(settings: Settings) -> dict[str, Any]:
    """The options of uvicorn: all of them are documented there."""
    from service.http.server.protocol import HttpProtocol

    return {
        "loop": "uvloop",
        "http": HttpProtocol,
        "ws": "none",
        "backlog": BACKLOG,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Nothing here asks who the client is.
        "proxy_headers": False,
        "timeout_keep_alive": math.ceil(settings.keep_alive_timeout_ms / 1000),
        "timeout_graceful_shutdown": math.ceil(settings.shutdown_timeout_ms / 1000),
        # A new worker of a rolling restart may take that long to start on a busy machine.
        "timeout_worker_healthcheck": 60,
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
    }


def run_server(settings: Settings, listener: socket.socket, announcement: str = "") -> None:
    """Serves until a signal; open requests get `shutdown_timeout_ms` to finish.

    Raises CommandError where the server could not start.
    """
    import uvicorn

    from service.settings import as_environment
    from service.telemetry.logs import announce, configure_logging

    configure_logging(settings.log_level, settings.log_format)
    if announcement:
        announce(announcement)
    _raise_descriptor_limit()
    # Worker processes are new ones: they learn the settings from the environment.
    os.environ.update(as_environment(settings))
    config = uvicorn.Config(APPLICATION, factory=True, workers=settings.workers, **server_options(settings))
    if settings.workers == 1:
        has_started = _run_one(config, listener)
    else:
        # There the workers keep their metrics, so that each can tell those of all.
        with tempfile.TemporaryDirectory(prefix="queuestats-metrics-") as os.environ["PROMETHEUS_MULTIPROC_DIR"]:
            has_started = _run_workers(config, listener)
    if not has_started:
        raise CommandError("The server could not start; the log says why.")


def _run_one(config: "uvicorn.Config", listener: socket.socket) -> bool:
    import uvicorn

    server = uvicorn.Server(config)
    # It raises the signal that ended it once more, amid its last tasks: by then that must interrupt nothing.
    on_signals(server.handle_exit)
    server.run(sockets=handles(listener))
    return server.started


def _run_workers(config: "uvicorn.Config", listener: socket.socket) -> bool:
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    sockets = handles(listener)
    supervisor = Multiprocess(config, sockets=sockets)
    end: Any = signal.getsignal(signal.SIGTERM)

    def close_and_end(number: int, frame: FrameType | None) -> None:
        # The workers close theirs. As long as ours is open, connections are taken that nobody accepts any more.
        for each in sockets:
            each.close()
        end(number, frame)

    signal.signal(signal.SIGTERM, close_and_end)
    supervisor.run()
    return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)


def check_tls(settings: Settings) -> None:
    """Raises CommandError where certificate and key are no pair that can be used."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if bool(certificate) != bool(key):
        raise CommandError("QUEUESTATS_TLS_CERTIFICATE and QUEUESTATS_TLS_KEY are set together or not at all.")
    if certificate is None or key is None:
        return
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise CommandError(f"The file {path} can't be read.")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise CommandError(f"{certificate} and {key} are no certificate and its key.") from error


def _raise_descriptor_limit() -> None:
    """Each connection takes a descriptor. The soft limit is for old programs; the hard one is the system's."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FEW_DESCRIPTORS:
        logger.warning("few file descriptors limit=%d: more connections than that are not accepted", hard)

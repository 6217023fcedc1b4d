"""The listening socket: bound before anything else is begun, with the options that its connections inherit."""

import os
import socket
import ssl

from service.errors import CommandError
from service.settings import Settings

# Connections that wait to be accepted, and how long a silent one stays with the kernel.
BACKLOG = 2048
DEFER_ACCEPT_SECONDS = 30
ACCEPTS_PER_TURN = 16
# What the kernel takes of a response before it is sent. Its own limit is 4 MB, for each client that does not read.
UNSENT_IN_KERNEL_BYTES = 1 << 17


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on. Raises CommandError if it is taken, or if the certificate and its key cannot be used."""
    check_tls(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CommandError(f"Can't listen on {settings.host} port {settings.port}: {error.strerror}.") from error
    # A large response is several writes. asyncio sets this only on sockets that it has made.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Linux keeps a connection until it sends something, and ends one whose peer does not read.
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.send_timeout_ms)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL_BYTES)
    return listener


def address(listener: socket.socket, settings: Settings) -> str:
    """The URL of the service."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def duplicates(listener: socket.socket) -> list[socket.socket]:
    """The socket 16 times, each a descriptor of its own: uvloop accepts one connection on each in a turn of its loop.

    With one descriptor, beside 200 busy connections and 320 a second that come and go, a new client waited up to 2.5 s.
    """
    return [listener, *(listener.dup() for _ in range(ACCEPTS_PER_TURN - 1))]


def check_tls(settings: Settings) -> None:
    """Raises CommandError unless the certificate and the key are a pair that can be used, or neither is set."""
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

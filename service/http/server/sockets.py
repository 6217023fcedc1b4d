"""The listening socket: bound before all other steps, with options that its connections inherit."""

import os
import socket
import ssl

from service.errors import CommandError
from service.settings import Settings

# The number of connections that wait to be accepted, and the time for which the kernel keeps a silent one.
BACKLOG = 2048
DEFER_ACCEPT_SECONDS = 30
ACCEPTS_PER_TURN = 16
# The part of a response that the kernel buffers. Its own limit is 4 MB, for each client that does not read.
UNSENT_IN_KERNEL_BYTES = 1 << 17


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises CommandError if the port is taken, or if the certificate and its key are invalid."""
    check_tls(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CommandError(f"Can't listen on {settings.host} port {settings.port}: {error.strerror}.") from error
    # A large response is several writes. asyncio sets this only on sockets that it has made.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Linux delays a connection until it sends data, and closes a connection whose peer does not read.
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
    """The socket as 16 descriptors, because uvloop accepts one connection per descriptor in a turn of its loop.

    With one descriptor, 200 busy connections and 320 short ones per second, a new client waited for up to 2.5 s.
    """
    return [listener, *(listener.dup() for _ in range(ACCEPTS_PER_TURN - 1))]


def check_tls(settings: Settings) -> None:
    """Raises CommandError unless the certificate and the key are a valid pair, or neither is set."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if bool(certificate) != bool(key):
        raise CommandError("Set both QUEUESTATS_TLS_CERTIFICATE and QUEUESTATS_TLS_KEY, or neither.")
    if certificate is None or key is None:
        return
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise CommandError(f"The file {path} can't be read.")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise CommandError(f"{certificate} and {key} are not a certificate and its key.") from error

"""The kernel gives the port that a test has chosen for its server to no other process before the server binds it."""

import socket
from contextlib import ExitStack

from tests.clusters import free_port

PORTS = 500


def test_the_kernel_gives_a_free_port_to_no_other_process() -> None:
    chosen = [free_port() for _ in range(PORTS)]
    with ExitStack() as others:
        given = [others.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(PORTS)]
    assert set(given).isdisjoint(chosen)


def test_a_server_can_bind_its_free_port() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port

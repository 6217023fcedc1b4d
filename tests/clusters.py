"""Starts a PostgreSQL for a test: a disposable cluster, with the programs of any version and any settings."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from service.embedded.accounts import give_away, server_account
from service.embedded.binaries import reachable_binaries

# A test server needs no durability.
FORGETFUL = {
    **dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off"),
    "max_connections": "200",
    "max_prepared_transactions": "4",
}
INITDB = ("-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C")


class Cluster:
    """A server with its data and its socket in `folder`, which its user must reach. It asks for no password."""

    def __init__(self, binaries: Path, folder: Path, port: int = 5432) -> None:
        self.folder = folder
        self.port = port
        self.binaries = binaries
        self._account = server_account()
        folder.mkdir(mode=0o700)
        self.hand_over(folder)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def initialise(self) -> None:
        initialiser = self._account.initialiser
        os.chown(self.folder, initialiser.uid, initialiser.gid)
        done = initialiser.run([self.binaries / "initdb", "-D", self.folder, *INITDB, "--no-sync"])
        assert done.returncode == 0, done.stdout
        give_away(self.folder, initialiser.uid, self._account)

    def start(self, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        given = {**FORGETFUL, "listen_addresses": "", "port": str(self.port), **settings}
        options = "".join(f" -c {name}={value}" for name, value in given.items())
        # Without its own log, the server would keep our end of the pipe open while it runs.
        self.run("pg_ctl", "-D", self.folder, "-l", self.log, "-o", f"-k {self.folder}{options}", "-w", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.folder, "-m", "immediate", "-w", "stop")

    def run(self, program: str, *arguments: object) -> None:
        done = self._account.run([self.binaries / program, *map(str, arguments)])
        assert done.returncode == 0, done.stdout + (self.log.read_text() if self.log.exists() else "")

    def hand_over(self, path: Path) -> None:
        """Gives the path to the server's user."""
        os.chown(path, self._account.uid, self._account.gid)


def binaries(folder: Path) -> Path:
    """The programs of the version that this run tests; copied to `folder` if the server's user can't reach them."""
    wanted = os.environ.get("QUEUESTATS_TEST_BINARIES", "")
    if wanted and not wanted.isdigit():
        return Path(wanted)
    return reachable_binaries(int(wanted or 18), server_account(), folder)


@contextmanager
def running(cluster: Cluster, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Cluster]:
    cluster.start(settings)
    try:
        yield cluster
    finally:
        cluster.stop()


def free_port() -> int:
    """A port for a server that can't take port 0.

    A closed connection keeps the port in TIME_WAIT for a minute. During this time the kernel gives it to no other
    process, but a server that binds it by its number, with SO_REUSEADDR, gets it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as accepted:
            accepted.close()  # the end that closes first is in TIME_WAIT
            client.recv(1)
    return port

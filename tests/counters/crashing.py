"""A PostgreSQL with durable commits, which can be killed and restarted."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.clusters import Cluster, binaries, running
from tests.servers import scratch_folder

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
PATIENCE_SECONDS = 120


class CrashableServer(Cluster):
    def address(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def kill(self) -> None:
        """Kills all processes of the server, the postmaster first, so that no process cleans up."""
        postmaster = int((self.folder / "postmaster.pid").read_text().split()[0])
        # A stopped postmaster starts no process between the listing and the kill.
        os.kill(postmaster, signal.SIGSTOP)
        family = [postmaster, *_children(postmaster)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(_is_alive(pid) for pid in family):
            assert time.monotonic() < deadline, "a killed process still exists"
            time.sleep(0.01)
        # If zombies are not reaped, the next start would find the process ids in these files in use.
        for trace in ("postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            (self.folder / trace).unlink()

    def psql(self, database: str) -> "subprocess.Popen[bytes]":
        """A client in its own process, which runs the statements that are written to its input."""
        command: list[Any] = [self.binaries / "psql", "--no-psqlrc", "--quiet", self.address(database)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def crashable_server() -> Iterator[CrashableServer]:
    with scratch_folder() as folder:
        server = CrashableServer(binaries(folder), folder / "data")
        server.initialise()
        with running(server, DURABLE):
            yield server


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True).stdout
    pairs = (line.split() for line in found.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def _is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True).stdout
    return bool(found.strip()) and not found.startswith("Z")

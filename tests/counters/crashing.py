"""A PostgreSQL that keeps its promises at a power cut, and can be killed and started again."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from service.embedded.accounts import server_account
from service.embedded.binaries import reachable_binaries
from tests.servers import scratch_folder

SETTINGS = ("listen_addresses=", "fsync=on", "full_page_writes=on", "synchronous_commit=on", "max_connections=40")
PATIENCE_SECONDS = 30


class CrashableServer:
    """A cluster in a folder of its own, of the version that this run tests."""

    def __init__(self, folder: Path) -> None:
        self._account = server_account()
        wanted = os.environ.get("QUEUESTATS_TEST_BINARIES", "")
        is_named = wanted and not wanted.isdigit()
        self._programs = Path(wanted) if is_named else reachable_binaries(int(wanted or 18), self._account, folder)
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        os.chown(self._data, self._account.uid, self._account.gid)
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self._data}"

    def start(self) -> None:
        options = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"unix_socket_directories={self._data}"))
        self._run("pg_ctl", "-D", self._data, "-l", self._data / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def kill(self) -> None:
        """Every process of the server at once, the postmaster first: nobody is left to clean up."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        # It must not start another one between the look and the kill.
        os.kill(postmaster, signal.SIGSTOP)
        family = [postmaster, *_children(postmaster)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(_is_alive(pid) for pid in family):
            assert time.monotonic() < deadline, "a killed process is still there"
            time.sleep(0.01)
        # Where nobody collects the dead, their numbers look alive to the next start.
        for trace in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self._data / trace).unlink()

    def psql(self, database: str) -> "subprocess.Popen[bytes]":
        """A client of its own process, which does what is written to its input."""
        command: list[Any] = [self._programs / "psql", "--no-psqlrc", "--quiet", self.url(database)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _run(self, program: str, *arguments: object) -> None:
        done = self._account.run([self._programs / program, *map(str, arguments)])
        assert done.returncode == 0, done.stdout


@contextmanager
def crashable_server() -> Iterator[CrashableServer]:
    with scratch_folder() as folder:
        server = CrashableServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True).stdout
    pairs = (line.split() for line in found.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def _is_alive(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has asked after."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True).stdout
    return bool(found.strip()) and not found.startswith("Z")

"""One PostgreSQL cluster in a data folder: initialised, started, stopped. Only one caller at a time may do so."""

import hashlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from service.embedded.accounts import Account, current_account
from service.embedded.binaries import binaries, reachable_binaries
from service.embedded.files import POLL_SECONDS, create_whole, give_away, is_held, open_lock, own_folder, try_lock
from service.errors import CommandError

SUPERUSER = "postgres"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
START_SECONDS = 60
# A fast shutdown writes out what is only in memory. One that takes longer is cut off, and the next start recovers.
# An immediate shutdown gives a process that hangs five seconds.
STOP_SECONDS = {"fast": 4, "immediate": 7}
DEFAULT_OPTIONS = {"shared_buffers": "256MB", "max_wal_size": "2GB"}
INITDB = (
    *("--encoding=UTF8", "--locale-provider=libc", "--locale=C", "--data-checksums"),
    *("--auth-local=peer", "--auth-host=reject", f"--username={SUPERUSER}"),
)


class Cluster:
    """Every process of a running server holds `postgres-….server.lock`: the lock is free when none is left."""

    def __init__(self, data_dir: Path, version: int, account: Account, options: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.version = version
        self.folder = data_dir / f"postgres-{version}"
        self.socket_dir = _socket_folder(data_dir, version)
        self._account = account
        self._options = {**DEFAULT_OPTIONS, **options}
        self._clients = binaries(version)

    def beside(self, suffix: str) -> Path:
        """A file in the data folder that goes with this cluster."""
        return self.data_dir / f"{self.folder.name}.{suffix}"

    def bring_up(self) -> None:
        """Returns when the server takes connections; takes over one that runs already."""
        deadline = time.monotonic() + START_SECONDS
        while self._is_alive():
            if self._ping() == 0:
                return
            if time.monotonic() > deadline:
                raise self._failure("runs, but takes no connections; its log may say why.")
            time.sleep(POLL_SECONDS)
        if not self.folder.exists():
            create_whole(self.folder, self._initialise)
        own_folder(self.folder, self._account)
        own_folder(self.socket_dir, self._account)
        self._write_access_rules()
        self._launch()

    def shut_down(self) -> None:
        """Returns when no process of the server is left."""
        if not self._is_alive():
            return
        for mode, seconds in STOP_SECONDS.items():
            deadline = time.monotonic() + seconds
            while self._is_alive() and time.monotonic() < deadline:
                # Repeated, because a server that has just been started may miss the first signal.
                self._pg_ctl("stop", "-s", "-W", "-m", mode)
                time.sleep(POLL_SECONDS)
        if self._is_alive():
            raise self._failure("does not stop; its log may say why.")
        with suppress(OSError):
            self.socket_dir.rmdir()  # it may be the only thing outside the data folder

    def run_sql_file(self, file: Path, url: str) -> None:
        """Runs a psql script with the bundled psql. Raises CommandError with its first error."""
        done = current_account().run(
            [self._clients / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}", url]
        )
        if done.returncode != 0:
            raise self._failure(f"refused {file.name}: {_first_error(done.stdout)}")

    def _initialise(self, unfinished: Path) -> None:
        initialiser = self._account.initialiser
        if not self._account.is_ours:
            unfinished.parent.chmod(0o710)
            os.chown(unfinished.parent, -1, self._account.gid)
            os.chown(unfinished, initialiser.uid, initialiser.gid)
        durability = ["--no-sync"] if self._options.get("fsync") == "off" else []
        environment = {"PGDATA": str(unfinished)}
        done = initialiser.run([self._programs / "initdb", *INITDB, *durability], environment=environment)
        if done.returncode != 0:
            raise self._failure(f"could not be set up: {_first_error(done.stdout)}")
        give_away(unfinished, initialiser.uid, self._account)

    def _write_access_rules(self) -> None:
        """Outside the cluster's folder, where the server's user could have put a link in the place of a file."""
        users = sorted({self._account.name, current_account().name})
        rules = {
            "hba.conf": "local all all peer map=queuestats\n",
            "ident.conf": "".join(f'queuestats "{user}" all\n' for user in users),
        }
        for name, text in rules.items():
            self.beside(name).unlink(missing_ok=True)
            self.beside(name).write_text(text)
            self.beside(name).chmod(0o644)

    def _launch(self) -> None:
        # No process of this server is left. The process ids in its files may be another program's by now.
        for trace in (self.folder / "postmaster.pid", self.socket_dir / f"{SOCKET_NAME}.lock"):
            trace.unlink(missing_ok=True)
        settings = {
            **self._options,
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self.socket_dir),
            "hba_file": str(self.beside("hba.conf")),
            "ident_file": str(self.beside("ident.conf")),
        }
        # pg_ctl hands them to a shell.
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        with open_lock(self.beside("server.lock")) as lock, self.beside("log").open("a+", errors="replace") as log:
            self.beside("log").chmod(0o600)
            try_lock(lock)
            begin = log.seek(0, os.SEEK_END)
            start = ("start", "-s", "-w", "-t", str(START_SECONDS), "-o", options)
            if self._pg_ctl(*start, log=log, inherited=(lock.fileno(),)).returncode != 0:
                log.seek(begin)
                raise self._failure(f"did not start: {_first_error(log.read())}")

    def _is_alive(self) -> bool:
        """Whether a process of the server is left; on file systems that can't inherit locks, the socket shows it."""
        return is_held(self.beside("server.lock")) or self._ping() in (0, 1)

    def _ping(self) -> int:
        """pg_isready's exit code: 0 takes connections, 1 starts or stops, 2 no response."""
        return current_account().run([self._clients / "pg_isready", "-h", self.socket_dir, "-p", str(PORT)]).returncode

    def _pg_ctl(
        self, *arguments: str, log: IO[Any] | int = subprocess.DEVNULL, inherited: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        # Not `-D`: pg_ctl puts that folder into a shell's command line, unquoted.
        environment = {"PGDATA": str(self.folder)}
        return self._account.run(
            [self._programs / "pg_ctl", *arguments], environment=environment, output=log, pass_fds=inherited
        )

    @cached_property
    def _programs(self) -> Path:
        return reachable_binaries(self.version, self._account, self.data_dir)

    def _failure(self, what: str) -> CommandError:
        return CommandError(f"The embedded PostgreSQL in {self.data_dir} {what}")


def _socket_folder(data_dir: Path, version: int) -> Path:
    """In the data folder; under /tmp if that path is too long for a socket, or has the comma that separates hosts."""
    inside = data_dir / f"socket-{version}"
    if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_BYTES and "," not in str(inside):
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    return Path("/tmp", f"queuestats-{os.geteuid()}-{digest}")  # noqa: S108 - its owner and mode are checked before use


def _first_error(output: str) -> str:
    """The first line of a program's output that names an error, else the last line."""
    if found := re.search(r"(?:PANIC|FATAL|ERROR|error):\s*(.*)", output):
        return found[1].strip()
    return output.strip().rpartition("\n")[2] or "it does not say why."

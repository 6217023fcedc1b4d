"""One PostgreSQL cluster in a data folder: set up, started, asked, stopped. Only one caller at a time may do so."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from service.embedded.accounts import Account, current_account
from service.embedded.binaries import binaries, create_whole, reachable_binaries
from service.embedded.folders import PORT, SOCKET_NAME, give_away, own_folder, socket_folder
from service.embedded.locks import POLL_SECONDS, is_held, open_lock, try_lock
from service.errors import CommandError

SUPERUSER = "postgres"
START_SECONDS = 60
# A shutdown writes out what is only in memory; one that takes longer is cut, and the next start recovers from the log.
# PostgreSQL itself gives a process that hangs five seconds, then kills it.
STOP_SECONDS = {"fast": 4, "immediate": 7}
DEFAULT_OPTIONS = {"shared_buffers": "256MB", "max_wal_size": "2GB"}
INITDB = ("--encoding=UTF8", "--locale-provider=libc", "--locale=C", "--data-checksums")
NO_PASSWORDS = ("--auth-local=peer", "--auth-host=reject")
IDENT_MAP = "queuestats"


class Cluster:
    """Every process of a running server holds `postgres-….server.lock`: the lock is free when none is left."""

    def __init__(self, data_dir: Path, version: int, account: Account, options: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.version = version
        self.folder = data_dir / f"postgres-{version}"
        self.socket_dir = socket_folder(data_dir, version)
        self._account = account
        self._options = {**DEFAULT_OPTIONS, **options}
        self._clients = binaries(version)
        self._log = self.beside("log")

    def beside(self, suffix: str) -> Path:
        """A file in the data folder that goes with this cluster."""
        return self.data_dir / f"{self.folder.name}.{suffix}"

    def bring_up(self) -> None:
        """Returns when the server takes connections; one that runs already is taken over."""
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
                # Asked again until it is gone: one that has only just been started may not have heard the first call.
                self._pg_ctl("stop", "-s", "-W", "-m", mode)
                time.sleep(POLL_SECONDS)
        if self._is_alive():
            raise self._failure("does not stop; its log may say why.")
        with suppress(OSError):
            self.socket_dir.rmdir()  # it may be the one thing that stands outside the data folder

    def run_sql_file(self, file: Path, url: str) -> None:
        """Runs a psql script with the bundled psql; its first error is a CommandError."""
        done = current_account().run(
            [self._clients / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}", url]
        )
        if done.returncode != 0:
            raise self._failure(f"refused {file.name}: {_verdict(done.stdout)}")

    def _initialise(self, unfinished: Path) -> None:
        initialiser = self._account.initialiser
        if not self._account.is_ours:
            unfinished.parent.chmod(0o710)
            os.chown(unfinished.parent, -1, self._account.gid)
            os.chown(unfinished, initialiser.uid, initialiser.gid)
        durability = ["--no-sync"] if self._options.get("fsync") == "off" else []
        done = initialiser.run(
            [self._programs / "initdb", f"--username={SUPERUSER}", *INITDB, *NO_PASSWORDS, *durability],
            environment={"PGDATA": str(unfinished)},
        )
        if done.returncode != 0:
            raise self._failure(f"could not be set up: {_verdict(done.stdout)}")
        give_away(unfinished, initialiser.uid, self._account)

    def _write_access_rules(self) -> None:
        """Outside the cluster: root writes nothing where the server's user could have laid a link."""
        users = sorted({self._account.name, current_account().name})
        rules = {
            "hba.conf": f"local all all peer map={IDENT_MAP}\n",
            "ident.conf": "".join(f'{IDENT_MAP} "{user}" all\n' for user in users),
        }
        for name, text in rules.items():
            unfinished = self.beside(f"{name}.new")
            unfinished.unlink(missing_ok=True)
            unfinished.write_text(text)
            unfinished.chmod(0o644)
            unfinished.rename(self.beside(name))

    def _launch(self) -> None:
        # No process of this server is left, so its process number, if it left one, may be a stranger's by now.
        for trace in (self.folder / "postmaster.pid", self.socket_dir / f"{SOCKET_NAME}.lock"):
            trace.unlink(missing_ok=True)
        arguments = ("start", "-s", "-w", "-t", str(START_SECONDS), "-o", self._settings())
        with open_lock(self.beside("server.lock")) as lock, self._log.open("a+", errors="replace") as log:
            self._log.chmod(0o600)
            try_lock(lock)
            begin = log.seek(0, os.SEEK_END)
            if self._pg_ctl(*arguments, log=log, inherit=(lock.fileno(),)).returncode != 0:
                log.seek(begin)
                raise self._failure(f"did not start: {_verdict(log.read())}")

    def _settings(self) -> str:
        """The options as pg_ctl wants them, quoted for a shell."""
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self.socket_dir),
            "hba_file": str(self.beside("hba.conf")),
            "ident_file": str(self.beside("ident.conf")),
        }
        return shlex.join(f"--{name}={value}" for name, value in {**self._options, **fixed}.items())

    def _is_alive(self) -> bool:
        """Whether any process of the server is left; the socket tells where a file system can't inherit locks."""
        return is_held(self.beside("server.lock")) or self._ping() in (0, 1)

    def _ping(self) -> int:
        """pg_isready's exit code: 0 takes connections, 1 starts or stops, 2 no answer."""
        return current_account().run([self._clients / "pg_isready", "-h", self.socket_dir, "-p", str(PORT)]).returncode

    def _pg_ctl(
        self, *arguments: str, log: IO[Any] | int = subprocess.DEVNULL, inherit: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        return self._account.run(
            [self._programs / "pg_ctl", *arguments],
            # By the environment: pg_ctl puts a folder given by option into a shell's command line, unquoted.
            environment={"PGDATA": str(self.folder)},
            output=log,
            pass_fds=inherit,
        )

    @cached_property
    def _programs(self) -> Path:
        return reachable_binaries(self.version, self._account, self.data_dir)

    def _failure(self, what: str) -> CommandError:
        return CommandError(f"The embedded PostgreSQL in {self.data_dir} {what}")


def _verdict(output: str) -> str:
    """What went wrong, from a program's output: the first line that says so, else the last line."""
    if found := re.search(r"(?:PANIC|FATAL|ERROR|error):\s*(.*)", output):
        return found[1].strip()
    return output.strip().rpartition("\n")[2] or "it does not say why."

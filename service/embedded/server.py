"""The embedded PostgreSQL, shared by processes: the first one starts it, the last one to exit stops it."""

import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self
from urllib.parse import quote

from service.embedded import files
from service.embedded.accounts import current_account, give_away, own_folder, prepare_data_dir, server_account
from service.embedded.binaries import binaries, first_error, reachable_binaries
from service.errors import CommandError

DATABASE = "queuestats"
SUPERUSER, OWNER, SERVICE = "postgres", "queuestats", "queuestats_service"
BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")
START_SECONDS = 60
# A fast shutdown writes all data from memory to disk. After this time it is cut, and the next start recovers.
# In an immediate shutdown, a process that hangs has five seconds.
STOP_SECONDS = {"fast": 4, "immediate": 7}
DEFAULT_OPTIONS = {"shared_buffers": "256MB", "max_wal_size": "2GB"}
INITDB = (
    *("--encoding=UTF8", "--locale-provider=libc", "--locale=C", "--data-checksums"),
    *("--auth-local=peer", "--auth-host=reject", f"--username={SUPERUSER}"),
)


class EmbeddedServer:
    """One use of the PostgreSQL in a data folder, from `start` to `stop`; any number of processes may use it at once.

    Errors that a person can correct are CommandErrors. `options` are server settings; a running server keeps its own.
    Every process of a server holds `postgres-….server.lock`, which is free when no process is left.
    """

    def __init__(self, data_dir: Path, version: int = 18, *, options: Mapping[str, str] = MappingProxyType({})) -> None:
        self._data_dir = Path(os.path.realpath(data_dir.expanduser()))
        self._version = version
        self._options = {**DEFAULT_OPTIONS, **options}
        self._account = server_account()
        self._clients = binaries(version)
        self._folder = self._data_dir / f"postgres-{version}"
        self._socket_dir = files.socket_folder(self._data_dir / f"socket-{version}")
        self._use: IO[bytes] | None = None
        self.owner_url, self.service_url, self.superuser_url = map(self._url, (OWNER, SERVICE, SUPERUSER))

    def start(self) -> Self:
        """Starts the server if necessary. Returns when it runs and has the owner's database."""
        with self._plain_errors():
            prepare_data_dir(self._data_dir, self._account)
            try:
                with self._alone():
                    self._use = files.open_lock(self._beside("users.lock"))
                    files.try_lock(self._use, shared=True)  # held exclusively only while the start lock is held
                    self._bring_up()
                    self._bootstrap()
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self, *exception: object) -> None:
        """Ends this use; the last one stops the server."""
        if self._use is None:
            return
        use, self._use = self._use, None
        # `use` is closed in any case, before the start lock is released.
        with use, self._plain_errors(), self._alone(), use:
            if files.try_lock(use):
                self._shut_down()

    __enter__, __exit__ = start, stop

    def _bring_up(self) -> None:
        """Returns when the server accepts connections; uses a server that already runs."""
        deadline = time.monotonic() + START_SECONDS
        while self._is_alive():
            if self._ping() == 0:
                return
            if time.monotonic() > deadline:
                raise self._failure("runs, but accepts no connections; see its log.")
            time.sleep(files.POLL_SECONDS)
        if not self._folder.exists():
            files.create_whole(self._folder, self._initialise)
        own_folder(self._folder, self._account)
        own_folder(self._socket_dir, self._account)
        self._write_access_rules()
        self._launch()

    def _bootstrap(self) -> None:
        script = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={BOOTSTRAP}")
        done = self._run_client("psql", *script, self._url(SUPERUSER, "postgres"))
        if done.returncode != 0:
            raise self._failure(f"refused {BOOTSTRAP.name}: {first_error(done.stdout)}")

    def _shut_down(self) -> None:
        """Returns when no process of the server is left."""
        if not self._is_alive():
            return
        for mode, seconds in STOP_SECONDS.items():
            deadline = time.monotonic() + seconds
            while self._is_alive() and time.monotonic() < deadline:
                # Repeated, because a server that has just been started may miss the first signal.
                self._pg_ctl("stop", "-s", "-W", "-m", mode, stdout=subprocess.DEVNULL)
                time.sleep(files.POLL_SECONDS)
        if self._is_alive():
            raise self._failure("does not stop; see its log.")
        with suppress(OSError):
            self._socket_dir.rmdir()  # may be the only folder outside the data folder

    def _initialise(self, unfinished: Path) -> None:
        initialiser = self._account.initialiser
        if not self._account.is_ours:
            unfinished.parent.chmod(0o710)
            os.chown(unfinished.parent, -1, self._account.gid)
            os.chown(unfinished, initialiser.uid, initialiser.gid)
        durability = ["--no-sync"] if self._options.get("fsync") == "off" else []
        done = initialiser.run([self._programs / "initdb", f"--pgdata={unfinished}", *INITDB, *durability])
        if done.returncode != 0:
            raise self._failure(f"could not be set up: {first_error(done.stdout)}")
        give_away(unfinished, initialiser.uid, self._account)

    def _write_access_rules(self) -> None:
        """Outside the cluster's folder, in which the server's user could have replaced a file by a link."""
        users = sorted({self._account.name, current_account().name})
        identities = "".join(f'queuestats "{user}" all\n' for user in users)
        for name, text in (("hba.conf", "local all all peer map=queuestats\n"), ("ident.conf", identities)):
            self._beside(name).unlink(missing_ok=True)
            self._beside(name).write_text(text)
            self._beside(name).chmod(0o644)

    def _launch(self) -> None:
        # No process of this server is left. The process ids in its files may now be those of another program.
        for trace in (self._folder / "postmaster.pid", self._socket_dir / f"{files.SOCKET_NAME}.lock"):
            trace.unlink(missing_ok=True)
        settings = {
            **self._options,
            "listen_addresses": "",
            "port": str(files.PORT),
            "unix_socket_directories": str(self._socket_dir),
            "hba_file": str(self._beside("hba.conf")),
            "ident_file": str(self._beside("ident.conf")),
        }
        # pg_ctl passes them to a shell.
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        log_path = self._beside("log")
        with files.open_lock(self._beside("server.lock")) as lock, log_path.open("a+", errors="replace") as log:
            log_path.chmod(0o600)
            files.try_lock(lock)
            begin = log.seek(0, os.SEEK_END)
            start = ("start", "-s", "-w", "-t", str(START_SECONDS), "-o", options)
            if self._pg_ctl(*start, stdout=log, pass_fds=[lock.fileno()]).returncode != 0:
                log.seek(begin)
                raise self._failure(f"did not start: {first_error(log.read())}")

    def _is_alive(self) -> bool:
        """Whether a process of the server is left; on file systems that can't inherit locks, found by the socket."""
        return files.is_held(self._beside("server.lock")) or self._ping() in (0, 1)

    def _ping(self) -> int:
        """pg_isready's exit code: 0 accepts connections, 1 starts or stops, 2 no response."""
        return self._run_client("pg_isready", "-h", str(self._socket_dir), "-p", str(files.PORT)).returncode

    def _run_client(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return current_account().run([self._clients / program, *arguments])

    def _pg_ctl(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        # Not `-D`: pg_ctl puts that folder into a shell's command line, unquoted.
        return self._account.run([self._programs / "pg_ctl", *arguments], {"PGDATA": str(self._folder)}, **options)

    @cached_property
    def _programs(self) -> Path:
        return reachable_binaries(self._version, self._account, self._data_dir)

    def _beside(self, suffix: str) -> Path:
        return self._data_dir / f"{self._folder.name}.{suffix}"

    def _alone(self) -> AbstractContextManager[None]:
        return files.exclusively(self._beside("start.lock"), 2 * START_SECONDS)

    def _url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self._socket_dir))}&port={files.PORT}"

    def _failure(self, what: str) -> CommandError:
        return CommandError(f"The embedded PostgreSQL in {self._data_dir} {what}")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self._data_dir
            raise CommandError(f"The embedded PostgreSQL can't use {place}: {error.strerror}.") from error

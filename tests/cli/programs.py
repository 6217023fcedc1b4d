"""Runs the program as a user does: real processes, real sockets, real signals."""

import contextlib
import multiprocessing
import os
import pkgutil
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

import service.cli
from service.cli import main
from service.embedded.files import is_held

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
STATS = "/api/v1.1/admin/senders/queue/stats/"
# Long enough for a busy machine. A longer wait is an error.
PATIENCE_SECONDS = 120.0
# A command may take minutes (`bench`). A hanging one is stopped before the timeout of pytest ends the run.
COMMAND_PATIENCE_SECONDS = 500.0
FORKS = multiprocessing.get_context("forkserver")
# All modules that commands import when they run. Names that do not exist are ignored.
FORKS.set_forkserver_preload(
    [
        *("asyncpg", "alembic.command", "sqlalchemy.ext.asyncio", "rich.console", "rich.progress", "rich.table"),
        *(f"service.cli.{module.name}" for module in pkgutil.iter_modules(service.cli.__path__)),
        *("service.schema", "service.queue.explain", "service.queue.top", "service.access.tokens"),
        *("service.control.jobs", "service.counters.doctor", "service.counters.verify", "service.adoption.attach"),
    ]
)


def program() -> list[str]:
    return [sys.executable, "-m", "service"]


def environment(**settings: str) -> dict[str, str]:
    """The environment of this process, without settings and without the variables of pytest."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("QUEUESTATS_", "PYTEST", "COV"))}
    return kept | settings


def queuestats(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end, in a folder without a `.env` file."""
    return queuestats_in(Path("/"), *arguments, **settings)


def queuestats_in(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process that is forked from one with all imports, which saves half a second."""
    with tempfile.TemporaryDirectory() as written:
        output, errors = Path(written, "output"), Path(written, "errors")
        process = FORKS.Process(target=_command, args=(folder, arguments, environment(**settings), output, errors))
        process.start()
        process.join(COMMAND_PATIENCE_SECONDS)
        assert process.exitcode is not None, f"it does not end: {arguments}"
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read_text(), errors.read_text())


def _command(folder: Path, arguments: Sequence[str], environ: dict[str, str], output: Path, errors: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    written = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for descriptor, path, flags in (0, os.devnull, os.O_RDONLY), (1, output, written), (2, errors, written):
        os.dup2(os.open(path, flags, 0o600), descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    try:
        main(arguments, prog_name="queuestats")
    finally:
        sys.stdout.flush()


def sentence(ended: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The single line on standard error of a command that has failed as expected."""
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("Error: "), lines[0]
    return lines[0].removeprefix("Error: ")


def _at_work(group: int) -> list[str]:
    """The processes of a group, each with its state and command.

    A process that has ended is left out. It is listed until its parent has read its exit code.
    """
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    found = (line.split(maxsplit=1) for line in listed.stdout.splitlines())
    return [printed for pgid, printed in found if int(pgid) == group and not printed.startswith("Z")]


class Program:
    """A command that runs in its own process group until it is stopped. `output` and `errors` grow during the run."""

    def __init__(self, folder: Path, command: list[str], **settings: str) -> None:
        self._files = folder / "output", folder / "errors"
        self.log = ""
        """The complete output, available after the end."""
        with self._files[0].open("w") as output, self._files[1].open("w") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                # A test run under nohup ignores SIGHUP, and the command would inherit this.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 there is no other thread
            )

    @property
    def output(self) -> str:
        return self._files[0].read_text()

    @property
    def errors(self) -> str:
        return self._files[1].read_text()

    @property
    def url(self) -> str:
        """The address that the service prints. Waits for it."""
        return self.wait_for(r"Serving on (https?://\S+)")[1]

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := re.search(pattern, self.output + self.errors)) is None:
            assert self.process.poll() is None, f"it ended: {self.output}{self.errors}"
            assert time.monotonic() < deadline, f"no {pattern} in {self.output}{self.errors}"
            time.sleep(0.02)
        return found

    def wait_until_ready(self) -> None:
        """Waits for a response of /healthz, which does not depend on the database."""
        httpx.get(f"{self.url}/healthz", timeout=PATIENCE_SECONDS).raise_for_status()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal. Returns the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.output}{self.errors}") from None

    def left_behind(self) -> list[str]:
        """The processes of the group that still run after a time in which all should have ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (at_work := _at_work(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return at_work

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running_command(folder: Path, command: list[str], **settings: str) -> Iterator[Program]:
    """A running command in a folder. It is always stopped at the end."""
    started = Program(folder, command, **settings)
    try:
        yield started
    finally:
        # If it were killed first, its database would keep running.
        try:
            if started.process.poll() is None:
                started.stop()
            started.log = started.output + started.errors
        finally:
            started.kill()


def running(folder: Path, *arguments: str, **settings: str) -> contextlib.AbstractContextManager[Program]:
    """The program of this checkout, running in a folder."""
    return running_command(folder, [*program(), *arguments], **settings)


def run_on_terminal(
    command: list[str], folder: Path, until: bytes = b"", keys: bytes | Callable[[], bytes] = b"", **settings: str
) -> tuple[str, int]:
    """The terminal output of a command, and its exit code. When it has written `until`, the keys are sent."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environment(TERM="xterm", **settings))
    seen, pressed = b"", not keys
    try:
        while piece := os.read(terminal, 65536):
            seen += piece
            if until in seen and not pressed:
                pressed = True
                os.write(terminal, keys() if callable(keys) else keys)
    except OSError:  # Linux signals the end of a terminal with this error
        pass
    finally:
        os.close(terminal)
    return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_stopped(data_dir: Path) -> bool:
    """Whether the embedded PostgreSQL was shut down cleanly: no process, no pid file, and the last line of its log."""
    log = data_dir / "postgres-18.log"
    said = log.read_text().splitlines() if log.exists() else []
    return (
        not ((data_dir / "postgres-18.server.lock").exists() and is_held(data_dir / "postgres-18.server.lock"))
        and not (data_dir / "postgres-18" / "postmaster.pid").exists()
        and (not said or said[-1].endswith("database system is shut down"))
    )


def ask(url: str, token: str, sender: int = 119, **parameters: object) -> httpx.Response:
    body = {"token": token, "id": sender, "group": "account_campaign", **parameters}
    return httpx.post(url + STATS, json=body, timeout=PATIENCE_SECONDS)

"""The program as somebody runs it: real processes, real sockets, real signals."""

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
# No test measures time: so long a busy machine may take before something has gone wrong.
PATIENCE_SECONDS = 120.0
# A command may do the work of minutes (`bench`); a hanging one is stopped before pytest's own timeout ends the run.
COMMAND_PATIENCE_SECONDS = 500.0
FORKS = multiprocessing.get_context("forkserver")
# All that commands import when they run; a name that is gone is passed over.
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
    """This process's, without its settings and what marks a run under pytest."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("QUEUESTATS_", "PYTEST", "COV"))}
    return kept | settings


def queuestats(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command, run to its end, far from any `.env` file."""
    return queuestats_in(Path("/"), *arguments, **settings)


def queuestats_in(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, forked from one that has imported the libraries: that takes half a second of each start."""
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
    """The one line on standard error of a command that failed as it should."""
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("Error: "), lines[0]
    return lines[0].removeprefix("Error: ")


def _at_work(group: int) -> list[str]:
    """The processes of a group, each with its state and command; none that has ended, if it is listed still.

    It is until whoever adopted it has asked for its exit code.
    """
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    found = (line.split(maxsplit=1) for line in listed.stdout.splitlines())
    return [told for pgid, told in found if int(pgid) == group and not told.startswith("Z")]


class Program:
    """A command that runs until it is stopped, in a process group of its own; `output` and `errors` grow meanwhile."""

    def __init__(self, folder: Path, command: list[str], **settings: str) -> None:
        self._files = folder / "output", folder / "errors"
        self.log = ""
        """All that it has written, once it has ended."""
        with self._files[0].open("w") as output, self._files[1].open("w") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                # A run of the tests under nohup would hand on to it that it is not to hear of a closed terminal.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 no thread is at work
            )

    @property
    def output(self) -> str:
        return self._files[0].read_text()

    @property
    def errors(self) -> str:
        return self._files[1].read_text()

    @property
    def url(self) -> str:
        """Where it serves, as it says; waits until it does."""
        return self.wait_for(r"Serving on (https?://\S+)")[1]

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := re.search(pattern, self.output + self.errors)) is None:
            assert self.process.poll() is None, f"it ended: {self.output}{self.errors}"
            assert time.monotonic() < deadline, f"no {pattern} in {self.output}{self.errors}"
            time.sleep(0.02)
        return found

    def wait_until_ready(self) -> None:
        """Until it answers at all; it may say that its database does not."""
        httpx.get(f"{self.url}/healthz", timeout=PATIENCE_SECONDS).raise_for_status()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.output}{self.errors}") from None

    def left_behind(self) -> list[str]:
        """Who of its group is at work still, when all have had the time to end."""
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
    """A command at work in a folder; whatever happens, it is stopped at the end."""
    started = Program(folder, command, **settings)
    try:
        yield started
    finally:
        # Killed at once, it would leave its database running.
        try:
            if started.process.poll() is None:
                started.stop()
            started.log = started.output + started.errors
        finally:
            started.kill()


def running(folder: Path, *arguments: str, **settings: str) -> contextlib.AbstractContextManager[Program]:
    """The program of this checkout at work in a folder."""
    return running_command(folder, [*program(), *arguments], **settings)


def run_on_terminal(
    command: list[str], folder: Path, until: bytes = b"", keys: bytes | Callable[[], bytes] = b"", **settings: str
) -> tuple[str, int]:
    """What a command wrote to its terminal, and its exit code; once it has written `until`, the keys are pressed."""
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
    except OSError:  # how Linux tells the end of a terminal
        pass
    finally:
        os.close(terminal)
    return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_stopped(data_dir: Path) -> bool:
    """Whether the embedded PostgreSQL was shut down in good order: no process, no pid file, and its log says so."""
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

"""The servers under load: real processes on free ports of this machine, ended with the benchmark."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.bench.load import HOST
from service.errors import CommandError

START_SECONDS = 60.0
STOP_SECONDS = 15.0


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str], is_ready: Callable[[], bool]
) -> Iterator[None]:
    """Runs a process, once it is ready. Raises CommandError with its last line where it ends, or does not get ready."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CommandError(f"{name} did not start: {_last_line(log.fileno())}")
                time.sleep(0.05)
            yield
            if process.poll() is not None:
                raise CommandError(f"{name} ended: {_last_line(log.fileno())}")
        finally:
            _end(process)


def listens(port: int) -> bool:
    """Whether somebody does, on this machine."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: int) -> str:
    """The end of what a process has written; the file is shared with it."""
    text = os.pread(log, 1 << 20, max(0, os.fstat(log).st_size - (1 << 12))).decode("utf-8", "replace")
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing."


def script_beside(folder: Path, *parts: str) -> str:
    """A file that must be there. Raises CommandError naming it where it is not."""
    path = folder.joinpath(*parts)
    if not path.is_file():
        raise CommandError(f"There is no {path}; tests/load/README.md says how to install it.")
    return str(path)

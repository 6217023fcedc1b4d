"""Advisory locks on files. The kernel frees a lock with its last holder, however that ended."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from service.errors import CommandError

POLL_SECONDS = 0.05


class FileLock:
    """One open lock file. Two of them on the same path exclude each other, in one process too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def try_exclusive(self) -> bool:
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        return self._try(fcntl.LOCK_SH)

    def close(self) -> None:
        """Lets go, unless a child process that inherited the file still holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _try(self, operation: int) -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(self.fd, operation | fcntl.LOCK_NB)
            return True
        return False


@contextmanager
def exclusively(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Holds the lock while the block runs; a CommandError where somebody else holds it for too long."""
    deadline = time.monotonic() + timeout_seconds
    with FileLock(path) as lock:
        while not lock.try_exclusive():
            if time.monotonic() > deadline:
                raise CommandError(f"Another process has been holding {path} for {timeout_seconds:.0f} seconds.")
            time.sleep(POLL_SECONDS)
        yield


def is_held(path: Path) -> bool:
    with FileLock(path) as lock:
        return not lock.try_exclusive()

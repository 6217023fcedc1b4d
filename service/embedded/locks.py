"""Advisory locks on files. The kernel frees a lock with its last holder, however that ended."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.errors import CommandError

POLL_SECONDS = 0.05


def open_lock(path: Path) -> IO[bytes]:
    """Its lock, once taken, lasts until the file is closed, also by a child process that inherited it."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)


def try_lock(file: IO[bytes], *, shared: bool = False) -> bool:
    """Two open files on the same path exclude each other, in one process too, unless both are shared."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusively(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Holds the lock while the block runs; a CommandError where somebody else holds it for too long."""
    deadline = time.monotonic() + timeout_seconds
    with open_lock(path) as lock:
        while not try_lock(lock):
            if time.monotonic() > deadline:
                raise CommandError(f"Another process has been holding {path} for {timeout_seconds:.0f} seconds.")
            time.sleep(POLL_SECONDS)
        yield


def is_held(path: Path) -> bool:
    with open_lock(path) as lock:
        return not try_lock(lock)

"""Files and folders: the path of the socket, complete folders, and locks.

The locks are advisory. The kernel releases a lock when the last process that holds it has ended, also by a crash.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.errors import CommandError

POLL_SECONDS = 0.05
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107


def socket_folder(inside: Path) -> Path:
    """In the data folder; under /tmp if that path is too long for a socket, or has a comma, which separates hosts."""
    if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_BYTES and "," not in str(inside):
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    return Path("/tmp", f"queuestats-{os.geteuid()}-{digest}")  # noqa: S108 - its owner and mode are checked before use


def create_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fills a private folder and renames it, so that `folder` is never incomplete. The caller holds a lock."""
    prefix = f"{folder.name}.new-"
    for leftover in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    # A program of an interrupted `fill` may still be writing. The next call removes its files.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as private:
        unfinished = Path(private, "new")
        unfinished.mkdir(mode=0o700)
        fill(unfinished)
        unfinished.rename(folder)


def open_lock(path: Path) -> IO[bytes]:
    """A lock on the file lasts until it is closed, also in a child process that inherited it."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)


def try_lock(file: IO[bytes], *, shared: bool = False) -> bool:
    """Two open files of the same path exclude each other, also in one process, unless both are shared."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    with open_lock(path) as lock:
        return not try_lock(lock)


@contextmanager
def exclusively(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Holds the lock during the block. Raises CommandError if another process holds it longer than the timeout."""
    deadline = time.monotonic() + timeout_seconds
    with open_lock(path) as lock:
        while not try_lock(lock):
            if time.monotonic() > deadline:
                raise CommandError(f"Another process has been holding {path} for {timeout_seconds:.0f} seconds.")
            time.sleep(POLL_SECONDS)
        yield

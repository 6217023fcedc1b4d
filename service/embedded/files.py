"""Folders and locks on files: who owns them, who reaches them, how long they last.

The locks are advisory. The kernel frees one when the last process that holds it has ended, in whatever way.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from service.embedded.accounts import Account
from service.errors import CommandError

POLL_SECONDS = 0.05


def prepare_data_dir(data_dir: Path, account: Account) -> None:
    """Creates the folder if it is missing. Raises CommandError if it can't serve; nothing on disk has changed then."""
    missing = [folder for folder in (data_dir, *data_dir.parents) if not os.path.lexists(folder)]
    nearest = missing[-1].parent if missing else data_dir
    if not nearest.is_dir():
        raise CommandError(f"{nearest} is not a folder: choose another place with QUEUESTATS_DATA_DIR.")
    barrier = None if account.is_ours else account.first_unreachable(nearest)
    if barrier is not None:
        raise CommandError(
            f"PostgreSQL runs as the user {account.name} here, who can't pass through {barrier}: choose a data folder "
            "elsewhere with QUEUESTATS_DATA_DIR, /var/lib/queuestats for one."
        )
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if not account.is_ours:
                folder.chmod(0o755)
    if (owner := data_dir.stat().st_uid) not in (os.geteuid(), account.uid):
        raise CommandError(
            f"The data folder {data_dir} belongs to the user id {owner}: choose another one with QUEUESTATS_DATA_DIR."
        )


def own_folder(folder: Path, account: Account) -> None:
    """Creates a folder with mode 0700 for the account if it is missing. Raises CommandError if it is anything else."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in account.earlier_uids:
        raise CommandError(f"{folder} is not a folder of the user {account.name} alone: remove it.")
    if status.st_uid != account.uid:
        give_away(folder, status.st_uid, account)


def give_away(folder: Path, from_uid: int, account: Account) -> None:
    """Gives everything in the folder that belongs to one user to the account. Follows no link."""
    for _, folders, files, inside in os.fwalk(folder):
        for name in (".", *folders, *files):
            if os.stat(name, dir_fd=inside, follow_symlinks=False).st_uid == from_uid:
                os.chown(name, account.uid, account.gid, dir_fd=inside, follow_symlinks=False)


def create_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fills a new folder in a private one and renames it, so that `folder` is never half full.

    Removes what a killed attempt left behind. The caller holds the lock that makes it the only one.
    """
    for leftover in folder.parent.glob(f"{folder.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.new-", dir=folder.parent) as private:
        unfinished = Path(private, "new")
        unfinished.mkdir(mode=0o700)
        fill(unfinished)
        unfinished.rename(folder)


def open_lock(path: Path) -> IO[bytes]:
    """A lock on it lasts until the file is closed, also by a child process that inherited it."""
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

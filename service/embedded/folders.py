"""The data folder and the socket's folder: who may own them, who must reach them, what is created."""

import hashlib
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from service.embedded.accounts import Account
from service.errors import CommandError

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107


def prepare_data_dir(data_dir: Path, account: Account) -> None:
    """Creates the folder where it is missing. Where it can't serve, a CommandError, and nothing has changed on disk."""
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
    """Makes sure of a folder with mode 0700 that belongs to the account alone; anything else is an error."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in account.earlier_uids:
        raise CommandError(f"{folder} is not a folder of the user {account.name} alone: remove it.")
    if status.st_uid != account.uid:
        give_away(folder, status.st_uid, account)


def give_away(folder: Path, from_uid: int, account: Account) -> None:
    """Everything in the folder that belongs to one user, to the account. No link is followed."""
    for _, folders, files, inside in os.fwalk(folder):
        for name in (".", *folders, *files):
            if os.stat(name, dir_fd=inside, follow_symlinks=False).st_uid == from_uid:
                os.chown(name, account.uid, account.gid, dir_fd=inside, follow_symlinks=False)


def socket_folder(data_dir: Path, version: int) -> Path:
    """Inside the data folder; under /tmp where that path can't name a socket.

    It can't where it is too long, or has a comma, which parts several hosts in a URL.
    """
    inside = data_dir / f"socket-{version}"
    if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_BYTES and "," not in str(inside):
        return inside
    digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
    return Path("/tmp", f"queuestats-{os.geteuid()}-{digest}")  # noqa: S108 - its owner and mode are checked before use

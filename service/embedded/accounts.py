"""The operating system's user as which the server runs: its programs and folders."""

import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from service.errors import CommandError

# Ids that neither systemd nor Debian assigns. The server runs as one of them if root starts it.
UNUSED_IDS = range(65520, 65534)
# Without the PG* variables, library paths and languages of the caller.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """A user of the operating system."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    @property
    def initialiser(self) -> "Account":
        """Runs initdb, which refuses a user without an entry in the user database: `nobody` in place of a number.

        Its group is this account's, and only this group can enter its working directory. So other processes of `nobody`
        can't reach the files, and the kernel does not permit them to trace a process of another group.
        """
        return self if self.is_ours else replace(_entry("nobody"), gid=self.gid)

    def run(
        self, command: Sequence[str | Path], environment: Mapping[str, str] = MappingProxyType({}), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command as this user, in its own session, so Ctrl-C does not reach it. stderr is part of stdout."""
        switch: dict[str, Any] = {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            env={**ENVIRONMENT, **environment},
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            encoding="utf-8",
            errors="replace",
            check=False,
            **{"stdout": subprocess.PIPE, **switch, **options},
        )


def current_account() -> Account:
    return _entry(os.geteuid())


def server_account() -> Account:
    """The current user. For root, which PostgreSQL refuses, an id that no user and no group has."""
    if os.geteuid() != 0:
        return current_account()
    for number in UNUSED_IDS:
        if not _is_known(number):
            return Account(str(number), number, number)
    raise CommandError(f"Every user id from {UNUSED_IDS[0]} to {UNUSED_IDS[-1]} is taken, and the server needs one.")


def _is_known(number: int) -> bool:
    """Whether the machine's files or its directory of users (LDAP) have the id."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look_up(number)
            return True
    return False


def _entry(user: int | str) -> Account:
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except KeyError:
        raise CommandError(
            f"This machine has no entry for the user {user} in its user database, and PostgreSQL needs one."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def prepare_data_dir(data_dir: Path, account: Account) -> None:
    """Creates the folder if it is missing. Raises CommandError, before any change, if it can't be used."""
    missing = [folder for folder in (data_dir, *data_dir.parents) if not os.path.lexists(folder)]
    nearest = missing[-1].parent if missing else data_dir
    if not nearest.is_dir():
        raise CommandError(f"{nearest} is not a folder: choose another place with QUEUESTATS_DATA_DIR.")
    for folder in () if account.is_ours else (*reversed(nearest.parents), nearest):
        if account.run(["test", "-x", folder]).returncode != 0:
            raise CommandError(
                f"PostgreSQL runs as the user {account.name} here, who can't enter {folder}: choose a data"
                " folder elsewhere with QUEUESTATS_DATA_DIR, /var/lib/queuestats for one."
            )
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            folder.chmod(0o700 if account.is_ours else 0o755)
    if (owner := data_dir.stat().st_uid) not in (os.geteuid(), account.uid):
        raise CommandError(
            f"The data folder {data_dir} belongs to the user id {owner}: choose another one with QUEUESTATS_DATA_DIR."
        )


def own_folder(folder: Path, account: Account) -> None:
    """Creates a folder with mode 0700 for the account if it is missing. Raises CommandError if it is anything else."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # An id that was assigned later, or `nobody`, as in version 0.1.
    earlier = {account.uid} if account.is_ours else {os.geteuid(), account.initialiser.uid, *UNUSED_IDS}
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in earlier:
        raise CommandError(f"{folder} is not a folder of the user {account.name} alone: remove it.")
    if status.st_uid != account.uid:
        give_away(folder, status.st_uid, account)


def give_away(folder: Path, from_uid: int, account: Account) -> None:
    """Transfers all files of one user in the folder to the account. Does not follow links."""
    for _, folders, files, inside in os.fwalk(folder):
        for name in (".", *folders, *files):
            if os.stat(name, dir_fd=inside, follow_symlinks=False).st_uid == from_uid:
                os.chown(name, account.uid, account.gid, dir_fd=inside, follow_symlinks=False)

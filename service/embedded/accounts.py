"""The operating system's user that the server runs as, and running programs as that user."""

import grp
import os
import pwd
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from service.errors import CommandError

# Numbers that neither systemd nor Debian assigns. The server runs as one of them if root starts it.
UNUSED_IDS = range(65520, 65534)
# Free of PG* variables, library paths and languages of the caller.
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

        Its group is this account's, and only that group passes through the folder that it works in. So other processes
        of `nobody` do not reach the files, and the kernel does not let them trace a process of another group.
        """
        return self if self.is_ours else replace(_entry(pwd.getpwnam, "nobody"), gid=self.gid)

    @property
    def earlier_uids(self) -> set[int]:
        """Possible owners of an existing cluster: numbers that were assigned since, or `nobody`, as in version 0.1."""
        return {self.uid} if self.is_ours else {os.geteuid(), self.initialiser.uid, *UNUSED_IDS}

    def run(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        output: IO[Any] | int = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command as this user, in a session of its own, which Ctrl-C does not reach. stderr joins stdout."""
        switch: dict[str, Any] = {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            env={**ENVIRONMENT, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
            umask=0o077,
            encoding="utf-8",
            errors="replace",
            check=False,
            **switch,
        )

    def can_run(self, program: Path) -> bool:
        """Runs it to see: modes alone do not show mounts, access lists and security modules."""
        try:
            return self.run([program, "--version"]).returncode == 0
        except PermissionError:
            return False

    def first_unreachable(self, folder: Path) -> Path | None:
        """The topmost of `folder` and its parents that this user can't pass through; None if all can be passed."""
        folders = [*reversed(folder.parents), folder]
        return next((folder for folder in folders if self.run(["test", "-x", folder]).returncode != 0), None)


def current_account() -> Account:
    return _entry(pwd.getpwuid, os.geteuid())


def server_account() -> Account:
    """The current user. For root, which PostgreSQL refuses, a number that no user and no group has."""
    if os.geteuid() != 0:
        return current_account()
    for number in UNUSED_IDS:
        if not _is_known(number):
            return Account(str(number), number, number)
    raise CommandError(f"Every user id from {UNUSED_IDS[0]} to {UNUSED_IDS[-1]} is taken, and the server needs one.")


def _is_known(number: int) -> bool:
    """Whether the machine's files or its directory of users (LDAP) have the number."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look_up(number)
            return True
    return False


def _entry(look_up: Callable[[Any], pwd.struct_passwd], user: int | str) -> Account:
    try:
        entry = look_up(user)
    except KeyError:
        raise CommandError(
            f"This machine has no entry for the user {user} in its user database, and PostgreSQL needs one."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

"""Which of the operating system's users the server runs as, and running commands as that one."""

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

# Numbers that neither systemd nor Debian gives to anybody: the server's, where root starts it.
UNUSED_IDS = range(65520, 65534)
# initdb refuses a user without an entry in the user database, so for root it runs as this one.
INITIALISER = "nobody"
# Nothing of the caller's environment: no PG* variable, no library path, no language leads the server astray.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    @property
    def initialiser(self) -> "Account":
        """Who runs initdb for this account: another one where this one has no entry in the user database.

        Its files lie in a folder that only this account's group passes through, which keeps other processes of that
        user out; the kernel keeps them from tracing a process of another group.
        """
        return self if self.is_ours else replace(_entry(pwd.getpwnam, INITIALISER), gid=self.gid)

    @property
    def earlier_uids(self) -> set[int]:
        """Whose an existing cluster may be: made for a number that was given to somebody since, or by version 0.1."""
        return {self.uid} if self.is_ours else {os.geteuid(), self.initialiser.uid, *UNUSED_IDS}

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        output: IO[Any] | int = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command as this user, out of the reach of the terminal's Ctrl-C; stderr comes with stdout."""
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
            user=None if self.is_ours else self.uid,
            group=None if self.is_ours else self.gid,
            extra_groups=None if self.is_ours else [],
        )

    def can_run(self, program: Path) -> bool:
        """Found out by running it: modes alone don't tell about mounts, access lists and security modules."""
        try:
            return self.run([program, "--version"]).returncode == 0
        except PermissionError:
            return False

    def first_unreachable(self, folder: Path) -> Path | None:
        """The topmost folder on the way to `folder`, itself included, that this user can't pass through."""
        way = [*reversed(folder.parents), folder]
        return next((each for each in way if self.run(["test", "-x", each]).returncode != 0), None)


def current_account() -> Account:
    return _entry(pwd.getpwuid, os.geteuid())


def server_account() -> Account:
    """The current user. For root, whom PostgreSQL refuses, a number that is nobody's: no other process runs as it."""
    if os.geteuid() != 0:
        return current_account()
    for number in UNUSED_IDS:
        if not _is_known(number):
            return Account(str(number), number, number)
    raise CommandError(f"Every user id from {UNUSED_IDS[0]} to {UNUSED_IDS[-1]} is taken, and the server needs one.")


def _is_known(number: int) -> bool:
    """To the machine's files or to a directory of users, LDAP say, as a user's number or a group's."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        with suppress(KeyError):
            look_up(number)
            return True
    return False


def _entry(look_up: Callable[[Any], pwd.struct_passwd], who: int | str) -> Account:
    try:
        entry = look_up(who)
    except KeyError:
        raise CommandError(
            f"This machine has no entry for the user {who} in its user database, and PostgreSQL needs one."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

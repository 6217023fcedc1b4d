"""Which of the operating system's users the server runs as, and running commands as that one."""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from service.errors import CommandError

UNPRIVILEGED = "nobody"
# Nothing of the caller's environment: no PG* variable, no library path, no language leads the server astray.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

FIRST_UNREACHABLE = 'for folder; do [ -x "$folder" ] || { printf %s "$folder"; exit; }; done'


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

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
        answer = self.run(["/bin/sh", "-c", FIRST_UNREACHABLE, "sh", *way]).stdout
        return Path(answer) if answer else None


def current_account() -> Account:
    return _account(os.geteuid())


def server_account() -> Account:
    """The current user, or, as PostgreSQL refuses to run as root, an unprivileged one in its place."""
    return _account(UNPRIVILEGED) if os.geteuid() == 0 else current_account()


def _account(who: int | str) -> Account:
    try:
        entry = pwd.getpwnam(who) if isinstance(who, str) else pwd.getpwuid(who)
    except KeyError:
        raise CommandError(
            f"This machine has no entry for the user {who} in its user database, and PostgreSQL needs one to run as."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

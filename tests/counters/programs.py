"""The programs of PostgreSQL in the version that this run tests."""

import os
from pathlib import Path

from service.embedded import binaries


def program(name: str) -> Path:
    """psql, pg_dump and others: of the chosen folder or version, or the newest ones, which support older servers."""
    wanted = os.environ.get("QUEUESTATS_TEST_BINARIES", "")
    folder = Path(wanted) if wanted and not wanted.isdigit() else binaries(int(wanted or 18))
    return folder / name

"""PostgreSQL's programs of the version that this run tests."""

import os
from pathlib import Path

from service.embedded import binaries


def program(name: str) -> Path:
    """psql, pg_dump, …: of the folder or the version that was asked for; else the newest, which knows older servers."""
    wanted = os.environ.get("QUEUESTATS_TEST_BINARIES", "")
    folder = Path(wanted) if wanted and not wanted.isdigit() else binaries(int(wanted or 18))
    return folder / name

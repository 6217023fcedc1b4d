"""A folder for the embedded PostgreSQL, and its users in their own processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import service
from tests.embedded.using import QUICK, USER, StartUser
from tests.servers import scratch_folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """The path of a data folder that does not exist yet and that every user can reach."""
    with scratch_folder() as folder:
        yield folder / "data"


@pytest.fixture
def start_user() -> Iterator[StartUser]:
    users: list[subprocess.Popen[str]] = []

    def start(data_dir: Path) -> subprocess.Popen[str]:
        users.append(
            subprocess.Popen(
                [sys.executable, "-c", USER, json.dumps([str(data_dir), 18, QUICK])],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(service.__path__[0]).parent), *sys.path])},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return users[-1]

    yield start
    for user in users:
        user.communicate(timeout=120)

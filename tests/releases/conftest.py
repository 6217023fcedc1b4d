import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TestDatabase
from tests.servers import scratch_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch


def settings_of(database: TestDatabase) -> dict[str, str]:
    return {"QUEUESTATS_DATABASE_URL": database.service_url, "QUEUESTATS_ADMIN_DATABASE_URL": database.owner_url}


def secret_of(output: str) -> str:
    """The secret in the output of `token create --json`."""
    secret: str = json.loads(output)["token"]
    return secret

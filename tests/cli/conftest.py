"""A folder that the user of an embedded server can reach."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import scratch_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch

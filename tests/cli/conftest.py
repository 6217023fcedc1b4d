"""A folder that an embedded server's user reaches too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import scratch_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as scratch:
        yield scratch

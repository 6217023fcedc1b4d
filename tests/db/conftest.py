"""Fixtures of this folder."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.conftest import TestDatabase


@pytest.fixture
async def admin(empty_database: TestDatabase) -> AsyncIterator[Any]:
    """A connection to a database without any schema, as its owner."""
    connection = await asyncpg.connect(empty_database.owner_url)
    yield connection
    await connection.close()

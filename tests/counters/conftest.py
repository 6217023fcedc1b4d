"""Fixtures for the counters: the pool of the service, and connections."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.db import Database
from tests.conftest import TestDatabase, open_pool, url_of

Connect = Callable[[], Awaitable[Any]]


@pytest.fixture
async def service(database: TestDatabase) -> AsyncIterator[Database]:
    """The database for the role of the service, on one connection."""
    async with open_pool(database.service_url) as opened:
        yield opened


@pytest.fixture
async def connect(database: TestDatabase) -> AsyncIterator[Connect]:
    """Opens connections as the owner of the database. They are closed at the end of the test."""
    opened: list[Any] = []

    async def open_one() -> Any:
        opened.append(await asyncpg.connect(database.owner_url))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
async def superuser(database: TestDatabase) -> AsyncIterator[Any]:
    """A connection as a superuser. Skips the test if this server allows none."""
    try:
        connection = await asyncpg.connect(url_of(database.owner_url, database.name, "postgres"))
    except asyncpg.PostgresError as error:
        pytest.skip(f"no superuser here: {type(error).__name__}")
    yield connection
    await connection.close()

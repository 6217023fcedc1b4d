"""The service on its own database, and a token for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from service.access.admin import create_token
from service.model import Scope
from service.settings import Settings
from tests.api.operator import QUEUE, Operator
from tests.api.wire import client_of, serving
from tests.conftest import PATIENCE_SECONDS, TestDatabase
from tests.oracle import insert


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """These tests use the event loop of production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def settings(database: TestDatabase) -> Settings:
    return Settings(
        database_url=database.service_url,
        admin_database_url=database.owner_url,
        data_dir=Path("/nonexistent"),
        # Long enough for a busy machine. A test of a time limit sets its own.
        connect_timeout_ms=1000 * PATIENCE_SECONDS,
        request_time_limit_ms=1000 * PATIENCE_SECONDS,
        # A recount in the background would repair the counts that a test damages.
        proof_percent=0,
    )


@pytest.fixture
async def token(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "tests")


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings) as url, client_of(url) as client:
        yield client


@pytest.fixture
def nowhere() -> Settings:
    """Settings whose database does not respond: for responses that need no database, and for outages."""
    return Settings(database_url="postgresql://nobody@127.0.0.1:1/none", data_dir=Path("/nonexistent"))


@pytest.fixture
async def client_of_nowhere(nowhere: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(nowhere) as url, client_of(url) as client:
        yield client


@pytest.fixture
async def control_token(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "operator", list(Scope))


@pytest.fixture
async def queue(owner: Any) -> None:
    await insert(owner, QUEUE)


@pytest.fixture
def operator(client: httpx.AsyncClient, control_token: str, queue: None) -> Operator:
    return Operator(client, control_token)

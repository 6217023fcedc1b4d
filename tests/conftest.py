"""A real PostgreSQL for all tests: one server per run, one migrated template, and a clone for each test."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings

from service.db import Database
from service.errors import ServiceError
from service.reports import StatsReport
from service.schema import migrate
from service.settings import Settings
from tests.servers import choose_server, docker_container, run_folder

# A busy machine is not an error.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# The process that chose the server sets it. The processes of xdist read it.
SERVER_URL, SERVER_WORDS = "TEST_SERVER_URL_OF_THIS_RUN", "TEST_SERVER_WORDS_OF_THIS_RUN"
TEMPLATE = "queuestats_template"
PATIENCE_SECONDS = 120
_run = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    _run.enter_context(run_folder())
    server = _run.enter_context(choose_server(os.environ, docker_container))
    version = asyncio.run(_on(server.url, "SHOW server_version"))
    os.environ[SERVER_URL], os.environ[SERVER_WORDS] = server.url, f"PostgreSQL {version}: {server.words}"
    for name in (SERVER_URL, SERVER_WORDS):
        _run.callback(os.environ.pop, name)


def pytest_unconfigure(config: pytest.Config) -> None:
    _run.close()


def pytest_report_header(config: pytest.Config) -> str:
    return os.environ.get(SERVER_WORDS, "no PostgreSQL")


@dataclass(frozen=True)
class TestDatabase:
    """A database of one test, migrated and empty."""

    __test__ = False

    name: str
    owner_url: str
    service_url: str


def url_of(server_url: str, database: str, user: str | None = None, password: str = "service") -> str:
    """The address of another database on the same server, as another user."""
    parts = urlsplit(server_url)
    login, at, host = parts.netloc.rpartition("@")
    if user is not None:
        login = f"{user}:{password}" if ":" in login else user
    return urlunsplit(parts._replace(netloc=f"{login}{at}{host}", path=f"/{database}"))


async def _on(url: str, *statements: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetchval(each) for each in statements][-1]
    finally:
        await connection.close()


def open_pool(url: str, pool_size: int = 1, **settings: Any) -> Database:
    """A pool of the service, with time limits for a busy machine."""
    patience_ms = 1000 * PATIENCE_SECONDS
    given = {"connect_timeout_ms": patience_ms, "request_time_limit_ms": patience_ms, **settings}
    return Database(Settings(**given), url, pool_size=pool_size)


def successful(reports: Sequence[StatsReport | ServiceError]) -> list[StatsReport]:
    """The reports of a batch. Raises the first error among them."""
    found = []
    for each in reports:
        if isinstance(each, ServiceError):
            raise each
        found.append(each)
    return found


async def drop_database(server_url: str, name: str) -> None:
    """Drops the database, and ends the connections to it.

    Only a superuser can end an autovacuum worker, so this waits until the worker has ended.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await _on(server_url, f"DROP DATABASE {name} WITH (FORCE)")
            except asyncpg.InsufficientPrivilegeError:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.fixture(scope="session")
def server_url() -> str:
    """The address of the server of this run, with a role that may create databases and roles."""
    return os.environ[SERVER_URL]


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of a migrated database without connections. Each xdist worker has its own."""
    name = f"{TEMPLATE}_{uuid.uuid4().hex[:12]}"
    asyncio.run(_on(server_url, f"CREATE DATABASE {name}"))
    asyncio.run(migrate(url_of(server_url, name), url_of(server_url, name, "queuestats_service")))
    yield name
    asyncio.run(drop_database(server_url, name))


@pytest.fixture
async def empty_database(server_url: str) -> AsyncIterator[TestDatabase]:
    """A database without any schema."""
    async for database in clone_of(server_url, "template1"):
        yield database


@pytest.fixture
async def database(server_url: str, template: str) -> AsyncIterator[TestDatabase]:
    """A migrated, empty database."""
    async for database in clone_of(server_url, template):
        yield database


async def clone_of(server_url: str, template: str) -> AsyncIterator[TestDatabase]:
    """One database, for a fixture of any scope."""
    name = f"queuestats_test_{uuid.uuid4().hex[:12]}"
    # Uses a third less processor time for the database of a test than the default strategy, which writes WAL.
    await _on(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield TestDatabase(name, url_of(server_url, name), url_of(server_url, name, "queuestats_service"))
    await drop_database(server_url, name)


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[Any]:
    """A connection as the database's owner."""
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()

"""Which PostgreSQL a run of the tests takes, and that it says so."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.servers import ChosenServer, choose_server

ROOT = Path(__file__).resolve().parents[2]


class Container:
    """A container as testcontainers gives it; `fault` is what starting it raises."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.events: list[str] = []

    def __enter__(self) -> "Container":
        if self.fault:
            raise self.fault
        self.events.append("started")
        return self

    def __exit__(self, *exception: object) -> None:
        self.events.append("removed")

    def get_connection_url(self, driver: str | None) -> str:
        assert driver is None
        return "postgresql://postgres:secret@localhost:32768/postgres"


def no_engine() -> Any:
    raise ConnectionError("no Docker engine answers")


def forbidden() -> Any:
    raise AssertionError("Docker was asked although the server is named")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been started, instead of starting it."""
    started: list[object] = []

    @contextmanager
    def start(what: object) -> Iterator[str]:
        started.append(what)
        yield f"postgresql://{what}/postgres"

    monkeypatch.setattr("tests.servers._embedded", start)
    monkeypatch.setattr("tests.servers._installed", start)
    return started


def test_a_named_server_comes_before_all_others(embedded: list[object]) -> None:
    environ = {"QUEUESTATS_TEST_DATABASE_URL": "postgresql://named/postgres", "QUEUESTATS_TEST_BINARIES": "16"}
    with choose_server(environ, forbidden) as server:
        assert server == ChosenServer("postgresql://named/postgres", "the one of QUEUESTATS_TEST_DATABASE_URL")
    assert embedded == []


@pytest.mark.parametrize(
    ("wanted", "started"), [("16", 16), ("18", 18), ("/usr/lib/postgresql/15/bin", Path("/usr/lib/postgresql/15/bin"))]
)
def test_the_binaries_of_a_version_or_a_folder_are_taken_without_asking_docker(
    embedded: list[object], wanted: str, started: object
) -> None:
    with choose_server({"QUEUESTATS_TEST_BINARIES": wanted}, forbidden) as server:
        assert wanted in server.words
    assert embedded == [started]


def test_a_container_is_taken_where_an_engine_answers_and_is_removed_at_the_end(embedded: list[object]) -> None:
    container = Container()
    with choose_server({}, lambda: container) as server:
        assert container.events == ["started"]
        assert server.url == "postgresql://postgres:secret@localhost:32768/postgres"
        assert server.words == "a container of postgres:18"
    assert container.events == ["started", "removed"]
    assert embedded == []


def test_an_engine_that_answers_but_cannot_get_the_image_is_no_failure(embedded: list[object]) -> None:
    with choose_server({}, lambda: Container(FileNotFoundError("no such image"))) as server:
        assert server.words == "the embedded one (no container: FileNotFoundError)"
    assert embedded == [18]


def test_without_an_engine_the_embedded_one_is_taken(embedded: list[object]) -> None:
    with choose_server({}, no_engine) as server:
        assert server.words == "the embedded one (no container: ConnectionError)"
    assert embedded == [18]


def test_a_run_says_which_server_it_used_and_its_version(server_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/unit/test_servers.py", "-k", "without_an_engine"],
        cwd=ROOT,
        env={**os.environ, "QUEUESTATS_TEST_DATABASE_URL": server_url},
        capture_output=True,
        text=True,
        check=True,
    )
    version = asyncio.run(version_of(server_url))
    assert f"PostgreSQL {version}: the one of QUEUESTATS_TEST_DATABASE_URL" in done.stdout.splitlines()


async def version_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    version: str = await connection.fetchval("SHOW server_version")
    await connection.close()
    return version

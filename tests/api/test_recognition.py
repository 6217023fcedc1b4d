"""Whoever looks at the server sees which connection and which statement are ours, and what for."""

import asyncpg
import httpx
import pytest

from service.db import connect
from service.model import Format
from service.telemetry.origin import application_name, command
from tests.api.wire import STATS, body_of
from tests.cli.programs import queuestats
from tests.conftest import TestDatabase

ACTIVITY = "SELECT application_name, query FROM pg_stat_activity WHERE datname = current_database()"


async def activity(url: str) -> dict[str, str]:
    """By name, the last statement of connections under this role; those of another would not be shown."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(ACTIVITY)
    await connection.close()
    return {each["application_name"]: each["query"] for each in rows}


async def test_each_connection_of_the_service_says_what_it_is_for_and_which_file_it_ran(
    client: httpx.AsyncClient, token: str, database: TestDatabase
) -> None:
    (await client.post(STATS, content=body_of(Format.JSON, token=token, id=119, group="isp"))).raise_for_status()

    ran = await activity(database.service_url)
    assert ran.keys() >= {"queuestats serve", "queuestats tokens", "queuestats fold"}
    assert "/* queries/from_counters/isp.sql */" in ran["queuestats serve"]
    assert "/* tokens/valid.sql */" in ran["queuestats tokens"]


async def test_a_command_is_called_by_its_name(database: TestDatabase) -> None:
    command.set("seed")
    async with connect(database.owner_url) as connection:
        await connection.execute("SELECT 1")
        assert "queuestats seed" in await activity(database.owner_url)


def test_psql_is_called_by_the_command_too(database: TestDatabase) -> None:
    asked = queuestats(
        "psql",
        "-Atc",
        "SHOW application_name",
        QUEUESTATS_DATABASE_URL=database.service_url,
        QUEUESTATS_ADMIN_DATABASE_URL=database.owner_url,
    )
    assert asked.stdout == "queuestats psql\n"


@pytest.mark.parametrize(("purpose", "name"), [("", "queuestats"), ("fold", "queuestats fold")])
def test_without_a_command_the_name_is_the_programs(purpose: str, name: str) -> None:
    assert application_name(purpose) == name

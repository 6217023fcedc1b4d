"""pg_stat_activity shows which connections and statements belong to queuestats, and their purpose."""

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
    """The last statement of each connection of this role, by application name."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(ACTIVITY)
    await connection.close()
    return {each["application_name"]: each["query"] for each in rows}


async def test_each_connection_of_the_service_shows_its_purpose_and_the_file_of_its_statement(
    client: httpx.AsyncClient, token: str, database: TestDatabase
) -> None:
    (await client.post(STATS, content=body_of(Format.JSON, token=token, id=119, group="isp"))).raise_for_status()

    ran = await activity(database.service_url)
    assert ran.keys() >= {"queuestats serve", "queuestats tokens", "queuestats fold"}
    assert "/* queries/from_counters/isp.sql */" in ran["queuestats serve"]
    assert "/* tokens/valid.sql */" in ran["queuestats tokens"]


async def test_the_connection_of_a_command_has_its_name(database: TestDatabase) -> None:
    command.set("seed")
    async with connect(database.owner_url) as connection:
        await connection.execute("SELECT 1")
        assert "queuestats seed" in await activity(database.owner_url)


def test_the_connection_of_psql_has_the_name_of_the_command(database: TestDatabase) -> None:
    asked = queuestats(
        "psql",
        "-Atc",
        "SHOW application_name",
        QUEUESTATS_DATABASE_URL=database.service_url,
        QUEUESTATS_ADMIN_DATABASE_URL=database.owner_url,
    )
    assert asked.stdout == "queuestats psql\n"


@pytest.mark.parametrize(("purpose", "name"), [("", "queuestats"), ("fold", "queuestats fold")])
def test_the_connection_has_the_name_of_the_program_without_a_command(purpose: str, name: str) -> None:
    assert application_name(purpose) == name

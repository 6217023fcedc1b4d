"""Databases whose encoding is not UTF8."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.access.admin import create_token
from service.adoption.trial import try_out
from service.errors import CommandError
from service.model import Format, Scope
from service.schema import migrate
from service.schema.mapping import QueueMapping
from service.settings import Settings
from tests.api.wire import STATS, body_of, check_error, client_of, serving
from tests.conftest import TestDatabase, drop_database, url_of

LACKING = "\u65e5"


@asynccontextmanager
async def database_in(encoding: str, server_url: str) -> AsyncIterator[TestDatabase]:
    name = f"queuestats_test_{uuid.uuid4().hex[:12]}"
    server = await asyncpg.connect(server_url)
    try:
        await server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    finally:
        await server.close()
    yield TestDatabase(name, url_of(server_url, name), url_of(server_url, name, "queuestats_service"))
    await drop_database(server_url, name)


async def ask(client: httpx.AsyncClient, url: str, token: str, **members: Any) -> httpx.Response:
    return await client.post(url, content=body_of(Format.JSON, token=token, id=1, **members))


@pytest.mark.parametrize(("encoding", "isp"), [("LATIN1", "Caf\xe9"), ("WIN1251", "\u041f\u043e\u0447\u0442\u0430")])
async def test_a_database_in_another_encoding_works_and_a_text_that_it_lacks_is_400(
    server_url: str, encoding: str, isp: str
) -> None:
    async with database_in(encoding, server_url) as database:
        await migrate(database.owner_url, database.service_url)
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute("INSERT INTO messages (sender_id, isp, recipient) VALUES (1, $1, 'x')", isp)
        token = await create_token(database.owner_url, "tests", scopes=[Scope.STATS, Scope.CONTROL])
        settings = Settings(database_url=database.service_url, data_dir=Path("/nonexistent"))
        async with serving(settings) as url, client_of(url) as client:
            found = await ask(client, STATS, token, group="isp")
            assert [(row["isp"], row["new"]) for row in found.json()["data"]] == [(isp, 1)]
            assert (await ask(client, STATS, token, isp=isp)).json()["data"][0]["new"] == 1
            for path in (STATS, STATS.replace("stats", "hold")):
                said = check_error(await ask(client, path, token, isp=LACKING), 400, Format.JSON)
                assert "a character that the encoding of the database lacks" in said
        await owner.close()


async def test_a_stored_text_that_utf8_lacks_is_503_and_no_fault(server_url: str) -> None:
    async with database_in("WIN1251", server_url) as database:
        await migrate(database.owner_url, database.service_url)
        writer = await asyncpg.connect(database.owner_url)
        # In the encoding of the database, PostgreSQL stores the byte without conversion.
        await writer.execute("SET client_encoding = WIN1251")
        await writer.execute("INSERT INTO messages (sender_id, isp, recipient) VALUES (1, chr(152), 'x')")
        await writer.close()
        token = await create_token(database.owner_url, "tests")
        settings = Settings(database_url=database.service_url, data_dir=Path("/nonexistent"))
        async with serving(settings) as url, client_of(url) as client:
            said = check_error(await ask(client, STATS, token, group="isp"), 503, Format.JSON)
            assert said.endswith("a text of the database has a character that UTF-8 lacks")
            assert (await ask(client, STATS, token)).json()["data"][0]["new"] == 1


async def test_an_encoding_that_is_not_converted_is_refused(server_url: str) -> None:
    async with database_in("SQL_ASCII", server_url) as database:
        said = r"^The encoding of this database is SQL_ASCII, which PostgreSQL does not convert to UTF-8"
        with pytest.raises(CommandError, match=said):
            await migrate(database.owner_url, database.service_url)
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute("CREATE TABLE jobs (id bigint PRIMARY KEY, sender bigint NOT NULL)")
        await owner.close()
        with pytest.raises(CommandError, match=said):
            await try_out(database.owner_url, QueueMapping(table="jobs", sender="sender", status="'new'"))

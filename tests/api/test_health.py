"""The endpoints for load balancers and orchestrators."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.counters.readiness import READINESS_SECONDS
from service.model import Format
from service.schema.contract import CONTRACT
from service.settings import Settings
from tests.api.wire import STATS, body_of, check_error, client_of, not_ready, serving
from tests.conftest import TestDatabase


async def test_healthz_does_not_depend_on_the_database(client_of_nowhere: httpx.AsyncClient) -> None:
    response = await client_of_nowhere.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert (await client_of_nowhere.head("/healthz/")).status_code == 200


async def test_another_method_is_405_and_the_response_names_the_allowed_ones(
    client_of_nowhere: httpx.AsyncClient,
) -> None:
    for path in ("/healthz", "/readyz"):
        response = await client_of_nowhere.post(path)
        check_error(response, 405, Format.JSON)
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_readyz_is_ready_with_a_migrated_database_and_needs_no_token(client: httpx.AsyncClient) -> None:
    response = await client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            f"number = {CONTRACT - 1}",
            f"contract {CONTRACT}: the database has {CONTRACT - 1}; run `queuestats migrate` of this version",
        ),
        (
            f"number = {CONTRACT + 2}, oldest = {CONTRACT + 1}",
            f"a newer version: the database serves contracts from {CONTRACT + 1} on, and this one has {CONTRACT}",
        ),
    ],
)
async def test_not_ready_if_the_contracts_do_not_match(
    client: httpx.AsyncClient, owner: Any, change: str, words: str
) -> None:
    await owner.execute(f"UPDATE queuestats.contract SET {change}")
    response = await not_ready(client)
    assert (response.status_code, response.json()) == (503, {"status": "not ready", "pending": [words]})
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE queuestats.contract SET number = {CONTRACT + 1}",
        "UPDATE queuestats.repeatable_migrations SET hash = 'of another release'",
        "UPDATE queuestats.alembic_version SET version_num = '29991231_01'",
    ],
)
async def test_ready_on_the_functions_of_another_compatible_release(
    client: httpx.AsyncClient, owner: Any, change: str
) -> None:
    await owner.execute(change)
    # The earlier result is not cached any more.
    await asyncio.sleep(READINESS_SECONDS)
    assert (await client.get("/readyz")).status_code == 200


async def test_not_ready_without_any_schema(empty_database: TestDatabase, settings: Settings) -> None:
    async with serving(replace(settings, database_url=empty_database.owner_url)) as url, client_of(url) as client:
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["pending"]) == (503, ["the whole schema is missing"])


async def test_not_ready_while_the_database_is_out_of_reach(client_of_nowhere: httpx.AsyncClient) -> None:
    check_error(await client_of_nowhere.get("/readyz"), 503, Format.JSON)


async def test_readyz_and_the_log_name_a_missing_right_and_errors_do_not(
    client: httpx.AsyncClient, owner: Any, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    await owner.execute("REVOKE SELECT ON queuestats.tokens FROM queuestats_service")
    said = check_error(await client.post(STATS, content=body_of(Format.JSON, token=token, id=1)), 503, Format.JSON)
    assert said == "Service unavailable"
    assert "permission denied for table tokens" in caplog.text
    await owner.execute("REVOKE SELECT ON queuestats.contract FROM queuestats_service")
    # The result is cached for a second.
    while "error_text" not in (response := await client.get("/readyz")).json():  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    assert "permission denied for table contract" in check_error(response, 503, Format.JSON)


async def test_a_refused_login_is_reported_as_such(
    settings: Settings, database: TestDatabase, owner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"role_{database.name}"
    await owner.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0 PASSWORD 'service'")
    url = database.service_url.replace("queuestats_service", role)
    async with serving(replace(settings, database_url=url)) as served, client_of(served) as client:
        said = check_error(await client.get("/readyz"), 503, Format.JSON)
    assert (
        f'no connection left: too many connections for role "{role}"; raise max_connections or the CONNECTION' in said
    )
    assert f'too many connections for role "{role}"' in caplog.text
    await owner.execute(f"DROP ROLE {role}")

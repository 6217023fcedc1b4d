"""The service behind a PgBouncer in transaction mode, which runs each transaction in any free server process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.access.admin import create_token, revoke_token
from service.db import connect
from service.db.pooler import keeps_prepared_statements
from service.model import Format, Grouping, StatsQuery
from service.settings import PREFIX, Settings, as_environment
from tests.api.wire import ROOT, STATS, body_of, check_error, client_of, serve_process, serving
from tests.conftest import PATIENCE_SECONDS, TestDatabase
from tests.oracle import STATUSES, Message, expected_rows, insert
from tests.pooler import PROGRAM, Pooler, pooler_to
from tests.unit.test_render import read_json_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer on this machine"),
]

SENDERS = range(1, 9)
MESSAGES = [
    Message(sender_id, number % 3, number % 5, ("", "Gmail", "Yahoo")[number % 3], STATUSES[number % 4])
    for sender_id in SENDERS
    for number in range(sender_id * 7)
]


@pytest.fixture
def pooler(owner: Any) -> Iterator[Pooler]:
    with pooler_to(owner._addr) as pooler:
        yield pooler


@pytest.fixture
def pooled(settings: Settings, database: TestDatabase, pooler: Pooler) -> Settings:
    """Settings with more connections than the pooler has, so that they share server processes."""
    return replace(settings, database_url=pooler.url(database.name), has_prepared_statements=False, pool_size=6)


async def ask(client: httpx.AsyncClient, token: str, query: StatsQuery) -> httpx.Response:
    members = {"id": query.sender_id, "account_id": query.account_id, "isp": query.isp, "group": query.grouping.value}
    return await client.post(STATS, content=body_of(Format.JSON, token=token, **members))


@pytest.mark.parametrize("answering", ["counters", "scans"])
async def test_many_concurrent_clients_get_exact_reports_of_every_grouping(
    pooled: Settings, owner: Any, token: str, answering: str
) -> None:
    await insert(owner, MESSAGES)
    if answering == "scans":
        await owner.execute("DELETE FROM queuestats.baseline")
    queries = [
        StatsQuery(sender_id, account_id, None, isp, grouping)
        for grouping in Grouping
        for account_id, isp in ((None, None), (2, None), (None, "Gmail"))
        for sender_id in SENDERS
    ]
    # On a busy machine, the last of these queries and a new connection may take longer than the usual limits.
    patience_ms = 1000 * PATIENCE_SECONDS
    patient = replace(pooled, request_time_limit_ms=patience_ms, connect_timeout_ms=patience_ms)
    async with serving(patient) as url, client_of(url) as client:
        responses = await asyncio.gather(*(ask(client, token, query) for query in queries))
    for query, response in zip(queries, responses, strict=True):
        assert read_json_report(response.content) == expected_rows(MESSAGES, query)


async def test_tokens_folding_and_verify_work_and_leave_no_state_in_server_processes(
    pooled: Settings, database: TestDatabase, owner: Any
) -> None:
    await insert(owner, MESSAGES)
    async with serving(pooled) as url, client_of(url) as client:
        assert (await ask(client, "qs_not_yet", StatsQuery(1))).status_code == 401
        token = await create_token(database.owner_url, "new")
        assert (await ask(client, token, StatsQuery(1))).status_code == 200
        async with asyncio.timeout(120):
            while await owner.fetchval("SELECT count(*) FROM queuestats.deltas"):  # noqa: ASYNC110 - it sends no event
                await asyncio.sleep(0.05)
        await revoke_token(database.owner_url, "new")
        await asyncio.sleep(1)
        assert (await ask(client, token, StatsQuery(1))).status_code == 401

        verified = await asyncio.to_thread(run, pooled, "verify")
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "No difference.\n", "")
        assert await settings_behind(pooled) == {("15s", "off", 0)}


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env={**os.environ, **as_environment(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


async def settings_behind(pooled: Settings) -> set[tuple[str, str, int]]:
    """For several server processes: two settings of the role, and the number of prepared statements."""
    assert pooled.database_url is not None
    found: set[tuple[str, str, int]] = set()
    url = pooled.database_url or ""
    async with (
        connect(url, prepared_statements=False, is_direct=False) as one,
        connect(url, prepared_statements=False, is_direct=False) as other,
        # Both at the same time, so that the pooler has to give them different processes.
        one.transaction(),
        other.transaction(),
    ):
        for connection in (one, other):
            row = await connection.fetchrow(
                "SELECT current_setting('statement_timeout'), current_setting('jit'),"
                " (SELECT count(*) FROM pg_prepared_statements WHERE name <> '')"
            )
            assert row is not None
            found.add(tuple(row))
    return found


async def test_requests_fail_only_during_a_restart_of_the_pooler(pooled: Settings, pooler: Pooler, token: str) -> None:
    async with serving(pooled) as url, client_of(url) as client:
        assert (await ask(client, token, StatsQuery(1))).status_code == 200
        pooler.stop()
        check_error(await ask(client, token, StatsQuery(1)), 503, Format.JSON)
        pooler.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await ask(client, token, StatsQuery(1))).status_code != 200:  # noqa: ASYNC110 - it sends no event
                await asyncio.sleep(0.05)
        # Between two queries, so that the service does not notice it.
        pooler.stop()
        pooler.start()
        responses = await asyncio.gather(*(ask(client, token, StatsQuery(n)) for n in range(1, 20)))
        assert {response.status_code for response in responses} == {200}


def keeps_names_apart() -> bool:
    """Whether this PgBouncer has prepared statements in transaction mode: since 1.21, and by default since 1.22."""
    assert PROGRAM is not None
    version = subprocess.run([PROGRAM, "-V"], capture_output=True, encoding="utf-8", check=True).stdout.split()[1]
    return tuple(map(int, version.split(".")[:2])) >= (1, 22)


async def test_a_pooler_without_prepared_statements_is_detected_at_the_start(
    database: TestDatabase, pooler: Pooler
) -> None:
    with serve_process({f"{PREFIX}DATABASE_URL": pooler.url(database.name)}) as served:
        async with client_of(served.url) as client:
            response = await client.get("/readyz")
            while response.status_code == 503 and "pending" not in response.json():
                response = await client.get("/readyz")
    if keeps_names_apart():
        assert response.status_code == 200
    else:
        said = (
            "the pooler in front of the database keeps no prepared statements: set QUEUESTATS_PREPARED_STATEMENTS=off"
        )
        assert response.status_code == 503
        assert response.json()["pending"][0].startswith(said)
        assert f"not ready pending={said}" in served.log


async def test_prepared_statements_in_session_mode_are_accepted(
    settings: Settings, database: TestDatabase, owner: Any
) -> None:
    with pooler_to(owner._addr, "session") as pooler:
        # Each of the two connections to the server has one client.
        for _ in range(3):
            assert await keeps_prepared_statements(pooler.url(database.name))
    assert await keeps_prepared_statements(database.service_url)


async def test_a_statement_that_the_pooler_has_lost_is_503_with_an_explanation(
    pooled: Settings, owner: Any, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    if keeps_names_apart():
        pytest.skip("this PgBouncer keeps prepared statements")
    async with serving(replace(pooled, has_prepared_statements=True)) as url, client_of(url) as client:
        codes = {(await ask(client, token, StatsQuery(number))).status_code for number in range(1, 20)}
        codes |= {
            response.status_code
            for response in await asyncio.gather(*(ask(client, token, StatsQuery(number)) for number in range(1, 60)))
        }
    assert codes <= {200, 503}
    assert "fault request=" not in caplog.text

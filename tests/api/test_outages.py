"""A database that has not started, stops, restarts or hangs, and the log lines about this."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from msgspec.structs import replace

from service.access.admin import create_token, revoke_token
from service.db import connect, load_statement
from service.embedded import EmbeddedServer
from service.errors import Unavailable
from service.model import Format, Scope
from service.schema import migrate
from service.settings import PREFIX, Settings
from service.telemetry.metrics import GAUGES
from tests.api.wire import STATS, body_of, check_error, client_of, serve_process, serving
from tests.clusters import FORGETFUL
from tests.conftest import TestDatabase, open_pool
from tests.servers import processes_below, scratch_folder

ASKERS = 8
SOON_SECONDS = 120
REPORT_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'queuestats.counters'::regclass AND NOT granted)"
OF_DATABASE = (*(f"queuestats_{name} " for name in GAUGES), "queuestats_messages{", "queuestats_condition{")


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that only this test uses. The test starts it."""
    with scratch_folder() as folder:
        server = EmbeddedServer(folder / "data", options=FORGETFUL)
        yield server
        server.stop()


async def answers(client: httpx.AsyncClient, token: str) -> list[httpx.Response]:
    """The responses to more concurrent requests than the pool has connections."""
    body = body_of(Format.JSON, token=token, id=119)
    return await asyncio.gather(*(client.post(STATS, content=body) for _ in range(ASKERS)))


def codes(responses: list[httpx.Response]) -> set[int]:
    return {response.status_code for response in responses}


async def check_out_of_reach(client: httpx.AsyncClient, token: str) -> None:
    # The process may still be starting.
    await client.get("/healthz")
    for response in await answers(client, token):
        check_error(response, 503, Format.JSON)
    # The result is cached for a second.
    async with asyncio.timeout(120):
        while (response := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.1)
    check_error(response, 503, Format.JSON)
    assert (await client.get("/healthz")).status_code == 200


async def wait_until_answered(client: httpx.AsyncClient, token: str) -> None:
    """Waits for responses: /readyz is cached for a second, and the delay before the next connection may be longer."""
    await wait_until_ready(client)
    async with asyncio.timeout(SOON_SECONDS):
        while codes(await answers(client, token)) != {200}:  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.05)


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_the_service_starts_without_its_database_and_recovers_after_each_outage(
    own_server: EmbeddedServer,
) -> None:
    with serve_process({f"{PREFIX}DATABASE_URL": own_server.service_url}) as served:
        async with client_of(served.url) as client:
            await check_out_of_reach(client, "some")

            own_server.start()
            await migrate(own_server.owner_url, own_server.service_url)
            token = await create_token(own_server.owner_url, "tests")
            await wait_until_answered(client, token)

            for _ in range(2):
                own_server.stop()
                # All pooled connections are closed. The folding may already have detected it.
                own_server.start()
                await wait_until_answered(client, token)

            own_server.stop()
            await check_out_of_reach(client, token)
            # The cached tokens are too old now.
            await asyncio.sleep(1)
            await check_out_of_reach(client, token)
            own_server.start()
            await wait_until_answered(client, token)
    assert "Traceback" not in served.log
    assert "fault" not in served.log


@asynccontextmanager
async def stopped(server: EmbeddedServer) -> AsyncIterator[None]:
    server.stop()
    yield
    server.start()


@asynccontextmanager
async def frozen(server: EmbeddedServer) -> AsyncIterator[None]:
    async with connect(server.superuser_url) as superuser:
        process_file = await superuser.fetchval("SELECT pg_read_file('postmaster.pid')")
    processes = processes_below(int(process_file.split()[0]))
    try:
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


async def scrape(client: httpx.AsyncClient, token: str) -> tuple[int, str]:
    response = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    return response.status_code, response.text


async def wait_for_scrape(client: httpx.AsyncClient, token: str, expected: str) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while f"\n{expected}\n" not in (await scrape(client, token))[1]:  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("outage", [stopped, frozen])
async def test_a_scrape_without_the_database_has_the_metrics_of_the_process(
    own_server: EmbeddedServer, outage: Callable[[EmbeddedServer], AbstractAsyncContextManager[None]]
) -> None:
    own_server.start()
    await migrate(own_server.owner_url, own_server.service_url)
    scraper = await create_token(own_server.owner_url, "prometheus", [Scope.METRICS])
    other = await create_token(own_server.owner_url, "tests")
    with serve_process({f"{PREFIX}DATABASE_URL": own_server.service_url}) as served:
        async with client_of(served.url) as client:
            await wait_for_scrape(client, scraper, "queuestats_database_up 1.0")
            async with outage(own_server):
                await asyncio.sleep(1)
                status, text = await scrape(client, scraper)
                assert (status, "\nqueuestats_database_up 0.0\n" in text) == (200, True)
                assert 'queuestats_requests_total{endpoint="metrics"' in text
                # Values of the database are left out.
                assert [line for line in text.splitlines() if line.startswith(OF_DATABASE)] == []
                assert (await scrape(client, other))[0] == 403
                # The token may have been created after the last look-up.
                assert (await scrape(client, "never-seen"))[0] in (503, 504)
                # No other endpoint uses old cached tokens.
                assert codes(await answers(client, other)) <= {503, 504}
            await wait_for_scrape(client, scraper, "queuestats_database_up 1.0")
            assert (await scrape(client, "never-seen"))[0] == 401
            await revoke_token(own_server.owner_url, "prometheus")
            await asyncio.sleep(1)
            assert (await scrape(client, scraper))[0] == 401
    assert "Traceback" not in served.log
    assert "fault" not in served.log


@pytest.mark.slow
async def test_an_outage_causes_few_log_lines_with_any_number_of_requests() -> None:
    with serve_process({f"{PREFIX}DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}) as served:
        async with client_of(served.url) as client:
            for _ in range(40):
                assert codes(await answers(client, "some")) == {503}
    warnings = [line for line in served.log.splitlines() if " WARNING " in line]
    assert any(re.search(r" refused error=503 text=Service unavailable repeated=\d+$", line) for line in warnings)
    # An equal line is written again every ten seconds, and there are few different ones.
    assert len(warnings) < 40


async def test_all_pools_of_a_process_together_make_few_attempts_to_connect() -> None:
    attempts = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/none?sslmode=disable"
    async with server, AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_pool(url)) for _ in range(8)]
        for _ in range(50):
            for pool in pools:
                with pytest.raises(Unavailable) as refusal:
                    await pool.fetch(load_statement("tokens/valid"))
                assert refusal.value.said.startswith("The database can't be reached: ")
    assert 0 < attempts < 100


class Line:
    """The connections between service and server. A test can interrupt them without closing them."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.is_open.wait()
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def line_to(address: Any) -> AsyncIterator[tuple[Line, int]]:
    """A line with its own port, to the TCP address of a server or to the path of its socket."""
    line = Line()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(address, str):
            from_server, to_server = await asyncio.open_unix_connection(address)
        else:
            from_server, to_server = await asyncio.open_connection(*address)
        tasks.add(asyncio.create_task(line.pass_on(reader, to_server)))
        tasks.add(asyncio.create_task(line.pass_on(from_server, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield line, server.sockets[0].getsockname()[1]
    line.is_open.set()
    await asyncio.wait(tasks, timeout=60)


async def test_a_server_that_hangs_causes_504_after_the_limit_then_503_at_once_and_recovers(
    settings: Settings, database: TestDatabase, owner: Any, token: str
) -> None:
    parts = urlsplit(database.service_url)
    limits = replace(settings, request_time_limit_ms=300, connect_timeout_ms=300)
    async with line_to(owner._addr) as (line, port):
        url = f"postgresql://{parts.username}:service@127.0.0.1:{port}{parts.path}?sslmode=disable"
        async with serving(replace(limits, database_url=url)) as served, client_of(served) as client:
            await wait_until_answered(client, token)
            line.is_open.clear()
            assert codes(await answers(client, token)) <= {503, 504}
            assert codes(await answers(client, token)) <= {503, 504}

            line.is_open.set()
            await wait_until_answered(client, token)


@pytest.mark.slow
async def test_a_request_that_is_open_at_the_end_of_the_shutdown_timeout_is_503(
    database: TestDatabase, owner: Any, token: str
) -> None:
    environment = {f"{PREFIX}DATABASE_URL": database.service_url, f"{PREFIX}SHUTDOWN_TIMEOUT_MS": "1000"}
    with serve_process(environment) as served:
        async with client_of(served.url) as client:
            await wait_until_ready(client)
            await owner.execute("BEGIN; LOCK TABLE queuestats.counters IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(client.post(STATS, content=body_of(Format.XML, token=token, id=119)))
            async with asyncio.timeout(SOON_SECONDS):
                while not await owner.fetchval(REPORT_WAITS):  # noqa: ASYNC110 - it sends no event
                    await asyncio.sleep(0.01)
            served.process.send_signal(signal.SIGTERM)
            check_error(await waiting, 503, Format.XML)
            await owner.execute("ROLLBACK")
    assert "Traceback" not in served.log


PENDING_DELTAS = "queuestats.pending_deltas(of_sender bigint, of_account bigint, of_campaign bigint, of_isp text)"
# An internal error whose text has a value of the request.
FAULTY = f"""
CREATE OR REPLACE FUNCTION {PENDING_DELTAS}
RETURNS SETOF queuestats.deltas LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE division_by_zero USING MESSAGE = concat_ws(' ', of_sender, of_account, of_isp), DETAIL = of_isp;
END
$$
"""
SECRETS = ["qs_in-the-header", "qs_in-the-body", "qs_in-the-url", "qs_in-the-path", "qs_in-a-broken-body"]
VALUES = ["A-Private-ISP", "918273645", "564738291"]


@pytest.mark.slow
async def test_no_log_line_contains_a_token_or_a_value_of_a_request(
    database: TestDatabase, owner: Any, token: str
) -> None:
    environment = {f"{PREFIX}DATABASE_URL": database.service_url, f"{PREFIX}LOG_LEVEL": "debug"}
    with serve_process(environment, "--workers", "2") as served:
        async with client_of(served.url) as client:

            async def ask_in_every_way() -> set[int]:
                header, in_body, in_url, in_path, broken = SECRETS
                members = {"id": int(VALUES[1]), "account_id": VALUES[2], "isp": VALUES[0]}
                seen = set()
                for format in Format:
                    for secret in (token, in_body):
                        body = body_of(format, token=secret, **members)
                        seen.add((await client.post(f"{STATS}?token={in_url}", content=body)).status_code)
                        seen.add((await client.put(f"{STATS}?token={in_url}", content=body)).status_code)
                        seen.add((await client.post(f"{STATS}{in_path}?token={in_url}", content=body)).status_code)
                    bearer = {"Authorization": f"Bearer {header}"}
                    body = body_of(format, **members)
                    seen.add((await client.post(STATS, content=body, headers=bearer)).status_code)
                    seen.add((await client.post(f"{STATS}?token={in_url}", content=body)).status_code)
                    seen.add((await client.post(STATS, content=body[:-2] + broken.encode())).status_code)
                    wrong = body_of(format, token=token, id=VALUES[0], group=VALUES[0])
                    seen.add((await client.post(STATS, content=wrong)).status_code)
                    seen.add((await client.post(STATS, content=body + SECRETS[1].encode() * 10_000)).status_code)
                return seen

            assert await ask_in_every_way() == {200, 400, 401, 404, 405, 413}
            await owner.execute(FAULTY)
            assert 500 in await ask_in_every_way()
            await owner.execute(f"DROP FUNCTION {PENDING_DELTAS}")
            assert 503 in await ask_in_every_way()
    log = served.log
    assert "fault request=" in log
    assert "request id=" in log
    assert [each for each in [token, *SECRETS, *VALUES, "qs_"] if each in log] == []

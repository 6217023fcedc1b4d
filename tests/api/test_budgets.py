"""The shares of one token: open streams and reports, unread bytes, holds and jobs."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.access.admin import create_token
from service.http.server.sockets import listen
from service.model import Format, Scope
from service.settings import Settings
from tests.api.operator import Operator
from tests.api.test_metrics import scrape
from tests.api.test_stream import STREAM, following
from tests.api.wire import STATS, address_of, body_of, check_error, client_of, head_of, serving
from tests.conftest import PATIENCE_SECONDS, TestDatabase

# A report of 1.7 MB: more than the kernel and the server buffer for a client that does not read.
LARGE_ROWS = 20_000
LISTING = "id=119&group=account_campaign"
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def large_queue(owner: Any) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, account_id, campaign_id, isp, recipient)"
        f" SELECT 119, n % 50, n, 'Gmail', 'someone@example.com' FROM generate_series(1, {LARGE_ROWS}) AS n"
    )


@pytest.fixture
async def other_token(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "other")


@pytest.fixture
async def scraper(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "prometheus", [Scope.METRICS])


@asynccontextmanager
async def client_with(settings: Settings, **limits: int) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(replace(settings, **limits)) as url, client_of(url) as client:
        yield client


@contextmanager
def unread(client: httpx.AsyncClient, request: bytes) -> Iterator[socket.socket]:
    """A connection that sends a request and does not read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address_of(str(client.base_url).rstrip("/")))
        connection.sendall(request)
        yield connection


def stream_request(token: str) -> bytes:
    return head_of(f"Authorization: Bearer {token}", method="GET", path=f"{STREAM}?{LISTING}")


async def test_a_token_has_its_share_of_open_streams_and_another_token_has_its_own(
    settings: Settings, token: str, other_token: str, scraper: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_with(settings, token_streams=2) as client:
        async with following(client, token) as first, following(client, token) as second:
            assert [await first.total(), await second.total()] == [0, 0]
            async with following(client, token) as third:
                await third.response.aread()
                text = check_error(third.response, 429, Format.JSON)
            assert text == "Too many requests: a token may have 2 open streams at a time"
            async with following(client, other_token) as another:
                assert await another.total() == 0
                found = await scrape(client, scraper)
        used = [found["queuestats_budget_used", (("resource", "open_streams"), ("token", name))] for name in NAMES]
        assert used == [2, 1]
        assert found["queuestats_budget_refused_total", (("resource", "open_streams"), ("token", "tests"))] == 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await status_of_stream(client, token) != 200:  # noqa: ASYNC110 - the service notices closed clients
                await asyncio.sleep(0.01)
    assert "refused error=429" in caplog.text
    assert "budget used up token='tests' resource=open_streams" in caplog.text


NAMES = ("tests", "other")
REPORT = STATS.replace("stats", "report")


async def status_of_stream(client: httpx.AsyncClient, token: str) -> int:
    async with following(client, token) as stream:
        return stream.response.status_code


async def test_a_refused_request_for_a_stream_releases_its_share(settings: Settings, token: str) -> None:
    async with client_with(settings, token_streams=1) as client:
        for query in ("id=119&group=planet", ""):
            async with following(client, token, query) as wrong:
                assert wrong.response.status_code == 400
        head = await client.head(f"{STREAM}?id=119", headers={"Authorization": f"Bearer {token}"})
        assert head.status_code == 200
        assert await status_of_stream(client, token) == 200


@pytest.mark.usefixtures("large_queue")
@pytest.mark.parametrize(
    ("path", "members"),
    [
        (STATS, {"id": 119, "group": "account_campaign"}),
        (REPORT, {"by": "sender,account,campaign", "limit": 10_000}),
    ],
    ids=["stats", "report"],
)
async def test_unread_bytes_of_a_token_beyond_its_share_are_429_for_that_token_only(
    settings: Settings, token: str, other_token: str, path: str, members: dict[str, Any]
) -> None:
    body = body_of(Format.JSON, **members)

    async def ask(secret: str) -> httpx.Response:
        return await client.post(path, content=body, headers=PLAIN | {"Authorization": f"Bearer {secret}"})

    # A single report may be larger than the share.
    async with client_with(settings, token_unread_bytes=1 << 19) as client:
        assert len((await ask(token)).content) > 1 << 19
        request = head_of(f"Content-Length: {len(body)}", f"Authorization: Bearer {token}", path=path) + body
        with unread(client, request):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (refused := await ask(token)).status_code == 200:
                    pass
            text = check_error(refused, 429, Format.JSON)
            assert text == "Too many requests: a token may have 524288 unread bytes at a time"
            assert (await ask(other_token)).status_code == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await ask(token)).status_code != 200:  # noqa: ASYNC110 - the service notices the end
                await asyncio.sleep(0.01)


async def test_a_token_has_its_share_of_open_reports_and_delays_no_other_token(
    settings: Settings, token: str, other_token: str, scraper: str, owner: Any
) -> None:
    async with client_with(settings, token_reports=3) as client:

        async def ask(secret: str, **members: Any) -> httpx.Response:
            return await client.post(REPORT, content=body_of(Format.JSON, token=secret, **members))

        async with owner.transaction():
            # Reports in the order oldest read messages. Other reports read counters.
            await owner.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            waiting = [asyncio.create_task(ask(token, order="oldest", limit=1 + number)) for number in range(3)]
            while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            refused = await ask(token)
            assert (
                check_error(refused, 429, Format.JSON) == "Too many requests: a token may have 3 open reports at a time"
            )
            assert refused.headers["retry-after"] == "1"
            assert (await ask(other_token)).status_code == 200
            found = await scrape(client, scraper)
            assert found["queuestats_budget_used", (("resource", "open_reports"), ("token", "tests"))] == 3
            assert found["queuestats_budget_refused_total", (("resource", "open_reports"), ("token", "tests"))] == 1
        assert [response.status_code for response in await asyncio.gather(*waiting)] == [200] * 3
        assert (await ask(token)).status_code == 200


@pytest.mark.usefixtures("large_queue")
async def test_a_stream_whose_client_does_not_read_ends_after_the_send_timeout(
    settings: Settings, token: str, scraper: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_with(settings, send_timeout_ms=200) as client:
        with unread(client, stream_request(token)):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while "a client does not read its stream" not in caplog.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        found = await scrape(client, scraper)
    of_token = ("token", "tests")
    assert found["queuestats_budget_used", (("resource", "unread_bytes"), of_token)] == 0
    assert found["queuestats_budget_used", (("resource", "open_streams"), of_token)] == 0
    assert not [record for record in caplog.records if record.levelno > logging.WARNING and "fault" in record.message]


@pytest.mark.usefixtures("large_queue")
async def test_streams_that_are_not_read_hold_no_more_than_the_share_of_their_token(
    settings: Settings, token: str, other_token: str, scraper: str
) -> None:
    async with client_with(settings, token_unread_bytes=4_000_000) as client:
        with ExitStack() as connections:
            for _ in range(5):
                connections.enter_context(unread(client, stream_request(token)))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (found := await scrape(client, scraper))["queuestats_streams", ()] < 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert 0 < found["queuestats_budget_used", (("resource", "unread_bytes"), ("token", "tests"))] <= 4_000_000
            async with following(client, other_token) as stream:
                assert await stream.total() == LARGE_ROWS


async def test_the_kernel_buffers_little_of_a_response_that_is_not_read(nowhere: Settings) -> None:
    with listen(replace(nowhere, port=0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        client.sendall(b"GET")
        accepted, _ = listener.accept()
        taken = 0
        with accepted, suppress(BlockingIOError):
            accepted.setblocking(False)
            while True:
                taken += accepted.send(bytes(1 << 16))
    assert taken < 1 << 19


async def test_streams_have_database_connections_of_their_own(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    names = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
    async with following(client, token) as stream:
        assert await stream.total() == 0
        running = {each[0] for each in await owner.fetch(names)}
    assert "queuestats streams" in running
    assert "queuestats serve" not in running


async def test_the_metrics_have_the_holds_and_jobs_of_the_tokens_with_most(
    client: httpx.AsyncClient, scraper: str, owner: Any
) -> None:
    """Token n has n holds and n jobs. A command has 30."""
    for table, actor in (("holds", "created_by"), ("jobs", "requested_by")):
        other, value = (
            ("reason", "''") if table == "holds" else ("action, request_id, run_at", "'hold', '', 'infinity'")
        )
        await owner.execute(
            f"INSERT INTO queuestats.{table} (sender_id, {actor}, {actor}_kind, {other})"
            f" SELECT 5, 'token ' || least(n, 30), CASE WHEN n = 30 THEN 'command' ELSE 'token' END, {value}"
            " FROM generate_series(1, 30) AS n, generate_series(1, n)"
        )
    found = await scrape(client, scraper)
    for resource in ("active_holds", "open_jobs"):
        assert {
            labels[1][1]: used
            for (name, labels), used in found.items()
            if name == "queuestats_database_budget_used" and ("resource", resource) in labels
        } == {f"token {number}": number for number in range(10, 30)}


async def test_refused_holds_and_jobs_are_counted_by_resource(
    settings: Settings, control_token: str, scraper: str, owner: Any
) -> None:
    async with client_with(settings, token_holds=1, token_jobs=1) as client:

        async def refused(resource: str) -> float:
            labels = (("resource", resource), ("token", "operator"))
            return (await scrape(client, scraper)).get(("queuestats_budget_refused_total", labels), 0)

        before = [await refused("active_holds"), await refused("open_jobs")]
        operator = Operator(client, control_token)
        await operator.done("hold")
        check_error(await operator.post("hold"), 429, Format.JSON)
        await owner.execute("UPDATE queuestats.jobs SET finished_at = NULL, run_at = 'infinity'")
        for _ in range(2):
            check_error(await operator.post("release"), 429, Format.JSON)
        assert [await refused("active_holds"), await refused("open_jobs")] == [before[0] + 1, before[1] + 2]

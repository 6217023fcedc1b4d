"""The limits of the service on its own port, without a proxy. tests/api/test_proxy.py has the limits of the proxy."""

import asyncio
import logging
import resource
import socket
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.access.budgets import UnreadResponse, Unsent
from service.access.cache import FREE_FAILURES, FailedTokens
from service.errors import Unavailable
from service.http.large_responses import render_large
from service.http.middleware import SMALL_BODY_BYTES
from service.model import Format
from service.settings import Settings
from service.wire.parsing import Envelope, parse_envelope
from tests.api.wire import (
    STATS,
    address_of,
    body_of,
    check_error,
    client_of,
    head_of,
    not_ready,
    read_error,
    send_raw,
    serve_process,
    serving,
)
from tests.conftest import TestDatabase

PATIENCE_SECONDS = 120
# 9 MB: more than the kernel buffers for a client.
LARGE_ROWS = 100_000
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def large_queue(owner: Any) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, account_id, campaign_id, isp, recipient)"
        f" SELECT 119, n % 50, n, 'Gmail', 'someone@example.com' FROM generate_series(1, {LARGE_ROWS}) AS n"
    )


def answer_of(raw: bytes) -> tuple[int, tuple[int, str]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), read_error(body, Format.JSON)


@pytest.mark.parametrize("hosts", ["", "Host: a\r\nHost: b\r\n"])
async def test_a_request_without_host_or_with_two_is_400(nowhere: Settings, hosts: str) -> None:
    async with serving(nowhere) as url:
        head = f"POST {STATS} HTTP/1.1\r\n{hosts}Content-Length: 2\r\nConnection: close\r\n\r\n"
        status, (code, text) = answer_of(await send_raw(url, head.encode() + b"{}"))
    assert (status, code) == (400, 400)
    assert "one Host header" in text


async def test_http_1_0_needs_no_host(nowhere: Settings) -> None:
    async with serving(nowhere) as url:
        answer = await send_raw(url, f"POST {STATS} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert answer_of(answer)[0] == 401


@pytest.mark.parametrize("slash", ["%2F", "%2f"])
async def test_an_encoded_slash_does_not_separate_paths(client_of_nowhere: httpx.AsyncClient, slash: str) -> None:
    response = await client_of_nowhere.post(STATS.replace("queue/stats", f"queue{slash}stats"), content=b"{}")
    check_error(response, 404, Format.JSON)


async def test_an_absolute_url_reaches_the_same_endpoint(nowhere: Settings) -> None:
    async with serving(nowhere) as url:
        head = head_of("Content-Length: 2", "Connection: close", path=f"http://queue.example.com{STATS}")
        assert answer_of(await send_raw(url, head + b"{}"))[0] == 401


@pytest.mark.parametrize("where", ["header", "body", "url"])
async def test_a_token_sent_as_the_requests_id_is_neither_echoed_nor_logged(
    settings: Settings, token: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = "an-id-that-is-somebodys-token"
    caplog.set_level(logging.DEBUG, "service")
    async with serving(settings) as url, client_of(url) as client:
        for secret in (token, foreign):
            headers = {"X-Request-Id": secret} | ({"Authorization": f"Bearer {secret}"} if where == "header" else {})
            body = body_of(Format.JSON, id=1, token=secret if where == "body" else None)
            path = f"{STATS}?token={secret}" if where == "url" else STATS
            for each in (path, path.replace("/stats/", "/unknown/")):
                response = await client.post(each, content=body, headers=headers)
                assert len(response.headers["x-request-id"]) == 32
                assert secret not in str(response.headers)
    assert "request id=" in caplog.text
    assert token not in caplog.text
    assert foreign not in caplog.text


async def test_the_line_of_a_request_has_the_tokens_name(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service")
    async with serving(settings) as url, client_of(url) as client:
        await client.post(STATS, content=body_of(Format.JSON, token=token, id=1))
    [line] = [each.getMessage() for each in caplog.records if each.getMessage().startswith("request id=")]
    assert " to=stats token='tests' status=200 " in line


async def test_unknown_parameters_are_named_in_a_header_and_change_nothing(
    client: httpx.AsyncClient, token: str
) -> None:
    asked = {"token": token, "id": 1}
    for format in Format:
        plain = await client.post(STATS, content=body_of(format, **asked))
        assert "x-queuestats-ignored" not in plain.headers
        odd = await client.post(STATS, content=body_of(format, **asked, grup="isp", limit=3))
        assert odd.headers["x-queuestats-ignored"] == "grup, limit"
        assert odd.content == plain.content
        in_url = await client.post(f"{STATS}?format={format}&account_id=7&grup=isp", content=body_of(format, **asked))
        assert in_url.headers["x-queuestats-ignored"] == "account_id, grup"
        assert in_url.content == plain.content


@pytest.mark.usefixtures("large_queue")
async def test_large_reports_beyond_the_limit_are_503_until_one_is_read(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = body_of(Format.JSON, token=token, id=119, group="account_campaign")
    request = head_of(f"Content-Length: {len(body)}") + body
    async with serving(replace(settings, unsent_limit_bytes=12_000_000)) as url, client_of(url) as client:
        size = len((await client.post(STATS, content=body, headers=PLAIN)).content)
        assert 6_000_000 < size < 12_000_000
        with socket.create_connection(address_of(url)) as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread.sendall(request)
            async with asyncio.timeout(PATIENCE_SECONDS):
                response = await client.post(STATS, content=body, headers=PLAIN)
                # On a busy machine, a request may also exceed its time limit.
                while response.status_code == 200 or "too many large reports" not in response.text:
                    response = await client.post(STATS, content=body, headers=PLAIN)
            assert "too many large reports wait to be read" in check_error(response, 503, Format.JSON)
            # Other requests succeed at the same time.
            total = await client.post(STATS, content=body_of(Format.JSON, token=token, id=119))
            assert total.json()["data"][0]["total"] == LARGE_ROWS
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await client.post(STATS, content=body, headers=PLAIN)).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert "refused error=503" in caplog.text
    assert "fault" not in caplog.text


@pytest.mark.usefixtures("large_queue")
async def test_the_connection_of_a_client_that_does_not_read_its_report_is_closed(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    hold = UnreadResponse.hold

    def watched(self: UnreadResponse, size: int) -> None:
        hold(self, size)
        held.append(self)

    monkeypatch.setattr(UnreadResponse, "hold", watched)
    body = body_of(Format.JSON, token=token, id=119, group="account_campaign")
    async with serving(replace(settings, send_timeout_ms=200)) as url:
        with socket.socket() as unread:
            unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread.connect(address_of(url))
            unread.sendall(head_of(f"Content-Length: {len(body)}") + body)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not held or held[0].size:  # noqa: ASYNC110 - it sends no event
                    await asyncio.sleep(0.02)
    assert "fault" not in caplog.text


async def test_a_report_that_is_refused_during_rendering_releases_its_bytes() -> None:
    unsent = Unsent(limit_bytes=10, token_share_bytes=10, send_timeout_ms=1000)
    with pytest.raises(Unavailable):
        await render_large(iter([b"123456", b"123456"]), is_gzip=False, unread=unsent.of("tests"))
    assert unsent.held_bytes == 0


async def test_plans_and_probes_use_no_connection_of_the_pool_of_stats(
    settings: Settings, database: TestDatabase, owner: Any, token: str
) -> None:
    async with serving(settings) as url, client_of(url) as client:
        await client.post(STATS, content=body_of(Format.JSON, token=token, id=1))
        await asyncio.gather(*(client.get("/readyz") for _ in range(200)))
        names = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        running = [each[0] for each in await owner.fetch(names)]
    assert running.count("queuestats serve") == 1
    assert running.count("queuestats ready") == 1


async def test_a_request_ends_at_its_deadline_in_every_state(settings: Settings, owner: Any, token: str) -> None:
    """Also for requests that waited for earlier batches. The time limit of the client is 30 s."""
    limits = replace(settings, request_time_limit_ms=1000, batch_queries=10)
    async with serving(limits) as url, client_of(url) as client, owner.transaction():
        assert (await client.post(STATS, content=body_of(Format.JSON, token=token, id=1))).status_code == 200
        await owner.execute("LOCK TABLE queuestats.counters IN ACCESS EXCLUSIVE MODE")
        bodies = [body_of(Format.JSON, token=token, id=number) for number in range(1, 151)]
        answers = await asyncio.gather(*(client.post(STATS, content=body) for body in bodies))
    assert {each.status_code for each in answers} <= {503, 504}
    assert 504 in {each.status_code for each in answers}


async def test_wrong_tokens_are_logged_and_delayed_by_address_and_valid_ones_are_accepted(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    failures = FailedTokens()
    with monkeypatch.context() as patched:
        patched.setattr("service.access.cache.asyncio.sleep", sleep)
        for _ in range(FREE_FAILURES + 1):
            await failures.slow_down("192.0.2.1")
        await failures.slow_down("192.0.2.2")
    assert len(slept) == 1

    async with serving(settings) as url, client_of(url) as client:
        for _ in range(3):
            assert (await client.post(STATS, content=body_of(Format.JSON, token="qs_wrong", id=1))).status_code == 401
            assert (await client.post(STATS, content=body_of(Format.JSON, token=token, id=1))).status_code == 200
    assert "wrong token address=127.0.0.1" in caplog.text
    assert "qs_wrong" not in caplog.text


async def test_responses_during_the_drain_close_their_connections(settings: Settings, token: str) -> None:
    from service.app import create_app

    app = create_app(settings)
    app.state.service.open_requests.is_draining = True
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://queue") as client:
        assert (await client.get("/healthz")).headers["connection"] == "close"


async def test_the_service_is_not_ready_if_the_role_lacks_a_right(client: httpx.AsyncClient, owner: Any) -> None:
    await owner.execute("REVOKE SELECT ON queuestats.counters FROM queuestats_service")
    response = await not_ready(client)
    assert response.status_code == 503
    assert response.json()["pending"] == ["the role queuestats_service lacks SELECT on queuestats.counters"]


async def test_large_bodies_are_parsed_once_and_never_two_in_a_turn_of_the_event_loop(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, turns = 0, []

    def parse(body: bytes) -> Envelope:
        turns.append(turn)
        return parse_envelope(body)

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr("service.http.requests.parse_envelope", parse)
    async with serving(nowhere) as url, asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count())
        body = b'{"x":"' + b"a" * SMALL_BODY_BYTES
        clients = [socket.create_connection(address_of(url)) for _ in range(32)]
        # Sent without a turn of the loop between them, so that the service receives all of them in one turn.
        for client in clients:
            client.sendall(head_of(f"Content-Length: {len(body)}", "Connection: close") + body)
        answers = await asyncio.gather(*(asyncio.to_thread(client.recv, 4096) for client in clients))
        counting.cancel()
        for client in clients:
            client.close()
    assert {answer.split()[1] for answer in answers} == {b"400"}
    assert len(turns) == len(set(turns)) == len(clients)


NOWHERE = {"QUEUESTATS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}


async def test_two_workers_refuse_no_connection_of_many_at_once() -> None:
    with serve_process(NOWHERE, "--workers", "2") as served:
        request = head_of("Content-Length: 0", "Connection: close", path="/healthz").replace(b"POST", b"GET")

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection(*address_of(served.url))
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

        answers = await asyncio.gather(*(ask() for _ in range(600)))
    assert {each.split()[1] for each in answers} == {b"200"}


async def test_the_log_names_the_lack_of_file_descriptors() -> None:
    with serve_process(NOWHERE) as served:
        resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (80, 80))
        idle = [socket.create_connection(address_of(served.url)) for _ in range(100)]
        for each in idle:
            each.send(b"P")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "out of file descriptors limit=80" not in served.errors:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        for each in idle:
            each.close()


def test_the_number_of_connections_of_all_pools_matches_the_settings(settings: Settings) -> None:
    from service.app import create_app

    pools = create_app(settings).state.databases.values()
    assert sum(pool.size for pool in pools) == settings.connections

"""GET queue/stream/ over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from service.access.admin import revoke_token
from service.settings import PREFIX
from tests.api.wire import client_of, serve_process
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

STREAM = "/api/v1.1/admin/senders/queue/stream/"
FAST = "id=119&interval_ms=100"


@dataclass
class Event:
    name: str
    id: str
    data: Any


class Stream:
    """The events of a response, one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Event | None:
        """The next event; None if the stream has ended."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if line and not line.startswith(":"):
                fields[name] = value
            elif fields:
                return Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
        return None

    async def total(self) -> int:
        event = await self.next()
        assert event is not None
        assert event.name == "report", event
        total: int = event.data["data"][0]["total"]
        return total


@asynccontextmanager
async def following(client: httpx.AsyncClient, token: str, query: str = FAST, **headers: str) -> AsyncIterator[Stream]:
    authorization = {"Authorization": f"Bearer {token}"}
    async with client.stream("GET", f"{STREAM}?{query}", headers=authorization | headers) as response:
        yield Stream(response)


async def test_the_report_is_sent_first_and_after_each_change(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    before = datetime.now(UTC)
    async with following(client, token) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.response.headers["cache-control"] == "no-store, no-transform"
        first = await stream.next()
        assert first is not None
        assert before < datetime.fromisoformat(first.data.pop("taken_at")) < datetime.now(UTC)
        row = {"account_id": 0, "campaign_id": 0, "hold": 0, "isp": "", "new": 0, "proc": 0, "retry": 0, "total": 0}
        assert first.data == {"data": [row], "error": 0, "error_text": "Successful operation"}
        for count in range(1, 4):
            await insert(owner, [Message()])
            assert await stream.total() == count


async def test_a_client_with_the_current_report_gets_only_the_next_one(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    async with following(client, token) as stream:
        first = await stream.next()
        assert first is not None
    async with following(client, token, **{"Last-Event-ID": first.id}) as stream:
        await insert(owner, [Message()])
        assert await stream.total() == 1


async def test_all_streams_of_one_query_share_its_statements(
    client: httpx.AsyncClient, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.queue.stats import CounterReader

    read, asked = CounterReader.read, 0

    async def counting(self: CounterReader, queries: Any) -> Any:
        nonlocal asked
        asked += 1
        return await read(self, queries)

    monkeypatch.setattr(CounterReader, "read", counting)

    async def wait_for_change() -> int:
        async with following(client, token) as stream:
            await stream.next()
            ready.release()
            return await stream.total()

    ready = asyncio.Semaphore(0)
    followers = [asyncio.create_task(wait_for_change()) for _ in range(30)]
    for _ in followers:
        await ready.acquire()
    asked = 0
    ticks = 5
    for _ in range(ticks):
        await asyncio.sleep(0.1)
    # On any machine, a tick is never shorter than its interval.
    assert asked <= ticks * 3
    await insert(owner, [Message()])
    assert await asyncio.gather(*followers) == [1] * 30


async def test_a_revoked_token_ends_the_stream(client: httpx.AsyncClient, token: str, database: TestDatabase) -> None:
    async with following(client, token) as stream:
        await stream.next()
        await revoke_token(database.owner_url, "tests")
        last = await stream.next()
        assert last is not None
        assert last.name == "error"
        assert last.data == {"error": 401, "error_text": "API token required: this one is unknown or revoked"}
        assert await stream.next() is None


async def test_an_outage_sends_an_error_event_and_the_stream_continues_afterwards(
    client: httpx.AsyncClient, token: str, owner: Any, database: TestDatabase
) -> None:
    async with following(client, token) as stream:
        assert await stream.total() == 0
        await owner.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'queuestats_service'"
        )
        error = await stream.next()
        assert error is not None
        assert error.data["error"] == 503
        await owner.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
        assert await stream.total() == 0


async def test_a_client_that_pauses_gets_the_newest_report(client: httpx.AsyncClient, token: str, owner: Any) -> None:
    async with following(client, token, "id=119&interval_ms=2000") as slow, following(client, token) as fast:
        assert await slow.total() == await fast.total() == 0
        for count in range(1, 4):
            await insert(owner, [Message()])
            assert await fast.total() == count
        seen = [await slow.total()]
        while seen[-1] != 3:
            seen.append(await slow.total())
        assert len(seen) <= 2


async def test_it_ends_when_the_service_ends(database: TestDatabase, token: str) -> None:
    environment = {f"{PREFIX}DATABASE_URL": database.service_url, f"{PREFIX}SHUTDOWN_TIMEOUT_MS": "60000"}
    with serve_process(environment) as served:
        async with client_of(served.url) as client, following(client, token) as stream:
            assert await stream.total() == 0
            served.process.terminate()
            # Without the end of the stream, the server would wait for its client.
            assert await stream.next() is None


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("id=119&interval_ms=99", 400),
        ("id=119&interval_ms=60001", 400),
        ("", 400),
        ("id=119&group=planet", 400),
    ],
)
async def test_a_wrong_request_gets_the_error_of_stats(
    client: httpx.AsyncClient, token: str, query: str, error: int
) -> None:
    async with following(client, token, query) as stream:
        assert stream.response.status_code == error
        assert (await stream.response.aread()).startswith(b'{"error":400,"error_text":"Incorrect request: ')


async def test_a_stream_needs_a_token(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{STREAM}?{FAST}")).status_code == 401


async def test_a_comment_has_the_time_until_which_the_report_is_the_newest(
    client: httpx.AsyncClient, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.responses.HEARTBEAT_SECONDS", 0.3)
    async with following(client, token) as stream:
        event = await stream.next()
        assert event is not None
        taken_at = datetime.fromisoformat(event.data["taken_at"])
        times = [await comment(stream) for _ in range(2)]
        first, second = (datetime.fromisoformat(time.removeprefix("as of ")) for time in times)
        assert taken_at <= first < second <= datetime.now(UTC)
        await owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_deleted")
        while (said := await comment(stream)) != "no report":
            assert said.startswith("as of ")


async def comment(stream: Stream) -> str:
    """The text of the next comment."""
    while not (line := await anext(stream._lines)).startswith(": "):
        pass
    return line.removeprefix(": ")

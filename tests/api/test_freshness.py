"""A request after a commit returns the committed counts, also with many concurrent requests."""

import asyncio
import json
import re
from collections.abc import Hashable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from service.queue.coalescer import Coalescer, Outcome
from service.settings import Settings
from tests.api.wire import STATS, serving
from tests.conftest import TestDatabase

SENDER = 119
WRITERS = 6
WRITES = 400
BYSTANDERS = 12
# In the counterproof, a result waits so long after its snapshot. The writer commits and asks after half of this time.
HELD_SECONDS = 1.0


class Connection:
    """A keep-alive connection that requests the total of one account. It needs less CPU time than an HTTP library."""

    def __init__(self, url: str, token: str, account_id: int) -> None:
        body = json.dumps({"token": token, "id": SENDER, "account_id": account_id}).encode()
        self._request = f"POST {STATS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        self._address = urlsplit(url)

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def total(self) -> int:
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        total: int = json.loads(await self._reader.readexactly(int(length[1])))["data"][0]["total"]
        return total


async def commit_and_ask(
    database: TestDatabase, url: str, token: str, account_id: int, writes: int, pause_seconds: float
) -> list[tuple[int, int]]:
    """Pairs of the committed total and the total in the later response, if they differ."""
    stale = []
    connection = await asyncpg.connect(database.owner_url)
    insert = await connection.prepare(
        "INSERT INTO messages (sender_id, account_id, recipient) VALUES ($1, $2, 'someone@example.com')"
    )
    async with Connection(url, token, account_id) as client:
        for committed in range(1, writes + 1):
            await asyncio.sleep(pause_seconds)
            await insert.fetch(SENDER, account_id)
            answered = await client.total()
            if answered != committed:
                stale.append((committed, answered))
    await connection.close()
    return stale


async def stale_answers(
    database: TestDatabase, settings: Settings, token: str, writes: int = WRITES, pause_seconds: float = 0
) -> list[tuple[int, int]]:
    """Runs writers that send a request after each commit, while other clients send the same requests continuously."""

    async def keep_asking(account_id: int) -> None:
        async with Connection(url, token, account_id) as client:
            while True:
                await client.total()

    async with serving(settings) as url:
        bystanders = [asyncio.create_task(keep_asking(1 + number % WRITERS)) for number in range(BYSTANDERS)]
        accounts = range(1, WRITERS + 1)
        found = await asyncio.gather(
            *(commit_and_ask(database, url, token, each, writes, pause_seconds) for each in accounts)
        )
        for bystander in bystanders:
            bystander.cancel()
        await asyncio.wait(bystanders)
    return [each for stale in found for each in stale]


@pytest.mark.slow
async def test_a_request_after_a_commit_returns_the_committed_counts_thousands_of_times_under_load(
    database: TestDatabase, settings: Settings, token: str
) -> None:
    assert await stale_answers(database, settings, token) == []


class JoiningCoalescer(Coalescer[Any, Any]):
    """Has the error that must not happen: a query joins an equal query that is in flight."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._asked: dict[Hashable, asyncio.Task[Outcome[Any]]] = {}

    async def run(self, query: Any) -> Outcome[Any]:
        running = self._asked.get(query)
        if running is None or running.done():
            running = self._asked[query] = asyncio.create_task(self._run_slowly(query))
        return await asyncio.shield(running)

    async def _run_slowly(self, query: Any) -> Outcome[Any]:
        outcome = await super().run(query)
        await asyncio.sleep(HELD_SECONDS)
        return outcome


@pytest.mark.slow
async def test_the_test_above_fails_if_queries_join_a_query_in_flight(
    database: TestDatabase, settings: Settings, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.stats.Coalescer", JoiningCoalescer)
    # Without the pause, all clients get their responses and send the next request at the same moment. The order of the
    # snapshots would then be random.
    assert await stale_answers(database, settings, token, writes=5, pause_seconds=HELD_SECONDS / 2) != []

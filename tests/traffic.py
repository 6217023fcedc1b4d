"""Writers and readers of one queue. The total of each response is compared with the committed total before the
request and with the attempted total after the response."""

import asyncio
from collections import Counter
from typing import Any, Self

import httpx

from service.db import connect
from service.errors import CommandError
from tests.cli.programs import PATIENCE_SECONDS, STATS

READERS = 6
INSERT = (
    "INSERT INTO messages (sender_id, account_id, isp, status, recipient)"
    " SELECT 119, n, 'Gmail', (enum_range(NULL::message_status))[n], 'x' FROM generate_series(1, $1) AS n"
)
# This does not change the total.
MOVE = "UPDATE messages SET status = 'proc', account_id = 1 WHERE id = (SELECT max(id) - 3 FROM messages)"


class Traffic:
    """`urls` are the instances that get the requests. The list may change during the run.

    `answers` counts the responses by HTTP status. `wrong` has the totals that were out of bounds. `not_ready` has the
    responses of `/readyz` other than 200. `failed_writes` has the errors of transactions that may have been
    committed.
    """

    def __init__(self, owner_url: str, token: str, *urls: str) -> None:
        self.urls = list(urls)
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.not_ready: list[str] = []
        self.failed_writes: list[str] = []
        self._owner_url, self._token = owner_url, token
        self._committed = self._attempted = 0
        self._in_use: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        async with connect(self._owner_url) as owner:
            count = "SELECT count(*) FROM messages WHERE sender_id = 119"
            self._committed = self._attempted = await owner.fetchval(count)
        self._client = httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS)
        self._ending = asyncio.Event()
        work = [self._write(), self._probe(), *(self._read(n) for n in range(READERS))]
        self._tasks = [asyncio.create_task(each) for each in work]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._ending.set()
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self._client.aclose()

    async def until_answers(self, count: int) -> None:
        """Waits for this number of further responses."""
        wanted = self.answers.total() + count
        while self.answers.total() < wanted:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)

    async def leave(self, url: str) -> None:
        """Sends the instance no more requests. Returns when the open ones have their responses."""
        self.urls.remove(url)
        while self._in_use[url]:  # noqa: ASYNC110 readers decrement it
            await asyncio.sleep(0.01)

    async def _write(self) -> None:
        while not self._ending.is_set():
            try:
                async with connect(self._owner_url) as connection:
                    await self._write_on(connection)
            except (CommandError, OSError) as error:
                self.failed_writes.append(repr(error))
                await asyncio.sleep(0.05)

    async def _write_on(self, connection: Any) -> None:
        number = 0
        while not self._ending.is_set():
            number += 1
            rows = 1 + number % 4
            self._attempted += rows
            await connection.execute(INSERT, rows)
            self._committed += rows
            if number % 3 == 0:
                await connection.execute(MOVE)
            await asyncio.sleep(0.005)

    async def _read(self, number: int) -> None:
        body = {"token": self._token, "id": 119}
        while not self._ending.is_set():
            number += 1
            url = self.urls[number % len(self.urls)]
            self._in_use[url] += 1
            at_least = self._committed
            response = await self._client.post(url + STATS, json=body)
            at_most = self._attempted
            self._in_use[url] -= 1
            self.answers[response.status_code] += 1
            if response.status_code == 200:
                (row,) = response.json()["data"]
                is_sum = row["total"] == sum(row[status] for status in ("new", "proc", "retry", "hold"))
                if not (at_least <= row["total"] <= at_most and is_sum):
                    self.wrong.append(f"{row} is not from {at_least} to {at_most}")
            # Processes start for some seconds. This number of responses is enough, and leaves them the processor.
            await asyncio.sleep(0.02)

    async def _probe(self) -> None:
        while not self._ending.is_set():
            for url in list(self.urls):
                self._in_use[url] += 1
                response = await self._client.get(f"{url}/readyz")
                self._in_use[url] -= 1
                if response.status_code != 200:
                    self.not_ready.append(response.text)
            await asyncio.sleep(0.05)

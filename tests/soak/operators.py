"""Operators. Each one holds, releases and purges the queue of one sender, and then settles its ledger."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from service.db import connect
from service.errors import CommandError
from service.model import Format
from tests.api.wire import STATS, body_of
from tests.soak.clients import ACCOUNTS, BROKEN, Connection
from tests.soak.ledger import Expected, Ledger, Row

# A job or an expiry that has not ended after this time is blocked.
STUCK_SECONDS = 180
# A job of a request without a response is visible after this time.
UNSURE_SECONDS = 3
ROWS = """
SELECT account_id, campaign_id, isp, status::text, count(*) FROM messages WHERE sender_id = $1 GROUP BY 1, 2, 3, 4
"""
# Messages with another status than the last one of the platform, while there is no hold.
CHANGED = """
SELECT id, status::text, attempts FROM messages
WHERE sender_id = $1 AND status::text IS DISTINCT FROM (ARRAY['new', 'proc', 'retry'])[attempts]
"""
OUTAGES = (
    CommandError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Unsure(Exception):
    """A request got no response, or one that does not show whether it had an effect."""


@dataclass
class Operated:
    """`lost` has a sentence for each message or job whose state does not match the requests."""

    calls: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    settled: int = 0
    lost: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Operator:
    def __init__(
        self, seed: int, urls: list[str], token: str, owner_url: str, sender: int, ledger: Ledger, operated: Operated
    ) -> None:
        self._random, self._urls, self._token = random.Random(seed), urls, token
        self._owner_url, self._sender, self._ledger, self._operated = owner_url, sender, ledger, operated

    async def operate_forever(self) -> None:
        while True:
            await asyncio.sleep(self._random.random())
            episode = self._random.choice((self._hold, self._hold, self._two_holds, self._expiring_hold, self._purge))
            self._ledger.expect(None)
            try:
                await episode()
            except (Unsure, *OUTAGES):
                await asyncio.sleep(UNSURE_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """Ends every hold, waits for the jobs, and compares the ledger with the table while nothing is written."""
        self._ledger.expect(None)
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            try:
                await self._act("release")
                await asyncio.sleep(0.5)
                if await self._list("holds") or any(not job["finished_at"] for job in await self._list("jobs")):
                    continue
                async with self._ledger.closed(), connect(self._owner_url) as owner:
                    await self.compare(owner)
                self._operated.settled += 1
                self._ledger.expect(Expected.FREE)
                return
            except (Unsure, *OUTAGES):
                await asyncio.sleep(UNSURE_SECONDS)
        self._operated.lost.append(f"sender {self._sender} can't be released")

    async def _hold(self) -> None:
        await self._act("hold", reason="soak")
        self._ledger.expect(Expected.HELD)
        await self._dwell()
        await self._act("release")

    async def _two_holds(self) -> None:
        of_account = await self._act("hold", account_id=self._random.choice(ACCOUNTS[1:]))
        await self._act("hold")
        self._ledger.expect(Expected.HELD)
        await self._dwell()
        await self._act("release", is_expecting=True, hold_id=of_account["hold_id"])
        await self._dwell()

    async def _expiring_hold(self) -> None:
        began, expires_in = time.monotonic(), self._random.choice((2, 5))
        await self._act("hold", expires_in=expires_in)
        if (rest := began + expires_in - 0.1 - time.monotonic()) > 0:
            self._ledger.expect(Expected.HELD)
            await asyncio.sleep(rest)
        self._ledger.expect(None)
        deadline = time.monotonic() + STUCK_SECONDS
        while await self._list("holds"):
            if time.monotonic() > deadline:
                self._operated.lost.append(f"a hold of sender {self._sender} does not expire")
                return
            await asyncio.sleep(0.2)

    async def _purge(self) -> None:
        async with connect(self._owner_url) as owner:
            ids = [row["id"] for row in await owner.fetch("SELECT id FROM messages WHERE sender_id = $1", self._sender)]
        self._ledger.attempt_purge()
        await self._act("purge")
        async with connect(self._owner_url) as owner:
            left = await owner.fetchval(
                "SELECT count(*) FROM messages WHERE sender_id = $1 AND id = ANY ($2)", self._sender, ids
            )
        if left:
            self._operated.lost.append(f"{left} messages of sender {self._sender} are left after a purge")

    async def _dwell(self) -> None:
        await asyncio.sleep(self._random.choice((0.2, 1, 3)))

    async def compare(self, owner: Any) -> None:
        rows: dict[Row, dict[str, int]] = {}
        for account, campaign, isp, status, count in map(tuple, await owner.fetch(ROWS, self._sender)):
            rows.setdefault((account, campaign, isp), {})[status] = count
        changed = await owner.fetch(CHANGED, self._sender)
        self._operated.lost += [f"sender {self._sender}: {each}" for each in self._ledger.settle(rows)]
        self._operated.lost += [f"sender {self._sender}: {dict(each)} has not its former status" for each in changed]

    async def _act(self, call: str, *, is_expecting: bool = False, **members: Any) -> dict[str, Any]:
        """The details of a request whose job has ended. Raises Unsure. The request ends the expectation for responses,
        unless `is_expecting`."""
        if not is_expecting:
            self._ledger.expect(None)
        self._operated.calls[call] += 1
        details: dict[str, Any] = (await self._post(call, details=1, **members))["details"]
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            (job,) = (job for job in await self._list("jobs") if job["id"] == details["job_id"])
            if job["finished_at"]:
                if job["state"] != "done":
                    self._operated.lost.append(f"a job did not end as done: {job}")
                return details
            await asyncio.sleep(0.2)
        self._operated.lost.append(f"a job does not end: {details}")
        raise Unsure

    async def _list(self, call: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self._post(call))["data"]
        return listed

    async def _post(self, call: str, **members: Any) -> dict[str, Any]:
        connection = Connection(self._random, self._urls)
        body = body_of(Format.JSON, token=self._token, id=self._sender, **members)
        try:
            status, content = await connection.post(STATS.replace("stats", call), body)
        except BROKEN:
            raise Unsure from None
        finally:
            connection.close()
        self._operated.by_status[status] += 1
        if status == 200:
            found: dict[str, Any] = json.loads(content)
            return found
        if status not in (503, 504):
            self._operated.faults.append(f"{call}: {status} {content!r}")
        raise Unsure

"""Checks tokens in memory, and slows down addresses that try tokens.

A process caches the hashes of all active tokens, and the cache is never older than `MAX_AGE_SECONDS`. So all instances
refuse a revoked token within a second. A token that is not in the cache may be new, so the process reads all tokens
again. All requests that wait share this look-up, so wrong tokens, also many of them, cost the database only a few
queries per second.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from service.access.rules import Token, token_hash
from service.counters.background import repeat
from service.db import Database, load_statement
from service.errors import ServiceError, TimedOut, Unauthorized, Unavailable
from service.model import Scope

logger = logging.getLogger(__name__)

MAX_AGE_SECONDS = 0.8
# Under steady load the next look-up starts at this age, in the background.
REFRESH_AGE_SECONDS = 0.4
# For requests that are answered in an outage: a look-up starts at least this often.
IDLE_REFRESH_SECONDS = 10.0
# Look-ups begin at least this far apart.
LOOK_UP_PAUSE_SECONDS = 0.02
# An address that sends this many wrong tokens within a minute waits for each further refusal.
FREE_FAILURES = 100
FAILURE_WINDOW_SECONDS = 60.0
FAILURE_DELAY_SECONDS = 0.5
ADDRESSES_KEPT = 10_000
# Delayed refusals at a time. Further refusals are sent at once, because a delayed refusal takes memory.
DELAYED_AT_ONCE = 1000


class Tokens:
    """The active tokens, for `check`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._tokens: dict[bytes, Token] = {}
        # The start of the look-up that returned `_tokens`.
        self._as_of = -float("inf")
        self._began_at = -float("inf")
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._failed = FailedTokens()

    async def check(self, secret: str | None, scope: Scope, address: str | None = None) -> Token:
        """Raises Unauthorized, with a delay if the address has sent many wrong tokens; Forbidden without the scope.

        Raises Unavailable or TimedOut if the database does not answer.
        """
        if secret is None:
            raise Unauthorized()
        key = token_hash(secret)
        age = self._clock() - self._as_of
        if age > MAX_AGE_SECONDS or key not in self._tokens:
            await self._look_up()
        elif age > REFRESH_AGE_SECONDS and self._running is None:
            self._start()
        token = self._tokens.get(key)
        if token is None:
            if address is not None:
                await self._failed.slow_down(address)
            raise Unauthorized(": this one is unknown or revoked")
        token.require_scope(scope)
        return token

    async def check_in_outage(
        self, secret: str | None, scope: Scope, address: str | None, outage_after_seconds: float
    ) -> Token:
        """As `check`, but while the database does not answer, the tokens of the last look-up are valid."""
        try:
            async with asyncio.timeout(outage_after_seconds):
                return await self.check(secret, scope, address)
        except (Unavailable, TimedOut, TimeoutError) as error:
            token = self._tokens.get(token_hash(secret or ""))
            if token is None:
                raise error if isinstance(error, ServiceError) else TimedOut() from error
        token.require_scope(scope)
        return token

    async def refresh_forever(self) -> None:
        """Looks up tokens every few seconds, also without requests, until it is cancelled."""

        async def refresh() -> float:
            await self._look_up()
            return IDLE_REFRESH_SECONDS

        await asyncio.sleep(IDLE_REFRESH_SECONDS)
        await repeat("tokens", refresh)

    async def _look_up(self) -> None:
        """Waits for a look-up that begins after this call. All calls before its start share it."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._after_running())
        await asyncio.shield(self._next)

    async def _after_running(self) -> None:
        await asyncio.sleep(max(0.0, self._began_at + LOOK_UP_PAUSE_SECONDS - self._clock()))
        while self._running is not None:
            await asyncio.wait([self._running])
        self._next = None
        await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[None]:
        self._running = asyncio.create_task(self._refresh())
        # No request waits for a background look-up. The next look-up reports its failure.
        self._running.add_done_callback(self._finish)
        return self._running

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()

    async def _refresh(self) -> None:
        self._began_at = began_at = self._clock()
        rows = await self._database.fetch(load_statement("tokens/valid"))
        self._tokens = {
            row["hash"]: Token(
                row["name"],
                frozenset(row["scopes"]),
                sender_ids=_ascending(row["sender_ids"]),
                account_ids=_ascending(row["account_ids"]),
            )
            for row in rows
        }
        self._as_of = began_at


def _ascending(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(sorted(set(ids)))


class FailedTokens:
    """The wrong tokens of the last minute, by address. A valid token never waits."""

    def __init__(self) -> None:
        self._since = -float("inf")
        self._failures: Counter[str] = Counter()
        self._delayed = 0

    async def slow_down(self, address: str) -> None:
        """Counts a wrong token of this address, and waits if there have been many."""
        if time.monotonic() - self._since > FAILURE_WINDOW_SECONDS or len(self._failures) > ADDRESSES_KEPT:
            self._since = time.monotonic()
            self._failures.clear()
        self._failures[address] += 1
        logger.warning("wrong token address=%s", address)
        if self._failures[address] <= FREE_FAILURES or self._delayed >= DELAYED_AT_ONCE:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(FAILURE_DELAY_SECONDS)
        finally:
            self._delayed -= 1

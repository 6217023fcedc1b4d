"""Tokens are checked in memory.

A process keeps the hashes of all active tokens, as of a moment that is never more than `MAX_AGE_SECONDS` ago: a revoked
token is refused everywhere within a second. A token that is not among them is looked up in the database once more,
since it may have been created just now. All requests that wait share that look-up, so wrong tokens cost the database
the same few queries a second, however many are tried.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from service.access.rules import Token, token_hash
from service.db import Database, load_statement
from service.errors import Unauthorized
from service.model import Scope

MAX_AGE_SECONDS = 0.8
# Under steady load the next look-up starts at this age, in the background.
REFRESH_AGE_SECONDS = 0.4
# Look-ups begin at least this far apart.
LOOK_UP_PAUSE_SECONDS = 0.02


class Tokens:
    """The active tokens, for `check`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._tokens: dict[bytes, Token] = {}
        # When the look-up began that `_tokens` came from.
        self._as_of = -float("inf")
        self._began_at = -float("inf")
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def check(self, secret: str | None, scope: Scope) -> Token:
        """Raises Unauthorized for no valid token, Forbidden for one without the scope.

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
            raise Unauthorized(": this one is unknown or revoked")
        token.require_scope(scope)
        return token

    async def _look_up(self) -> None:
        """Waits for a look-up that begins after this call. All calls before it begins share it."""
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
        # No request waits for a background look-up; its failure shows at the next one.
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
                row["name"], frozenset(row["scopes"]), _ascending(row["sender_ids"]), _ascending(row["account_ids"])
            )
            for row in rows
        }
        self._as_of = began_at


def _ascending(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(sorted(set(ids)))

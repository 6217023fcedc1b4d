"""API tokens: made and revoked with a few statements, looked up in memory.

A process keeps the hashes of all tokens in force, as of a moment that is never more than `MAX_AGE_SECONDS` ago: a
revoked token is refused everywhere within a second. A token that is not among them is looked up in the database once
more, since it may have been created just now; all who wait share that look-up, so wrong tokens cost the database the
same few queries a second whether ten or ten thousand are tried.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable

from service.db import Database, statement
from service.errors import Forbidden, Unauthorized
from service.model import Scope

MAX_AGE_SECONDS = 0.8
# Under steady load the next look-up starts at this age, in the background: nobody waits for it.
REFRESH_AGE_SECONDS = 0.4
# Look-ups begin at least this far apart, whoever asks.
LOOK_UP_PAUSE_SECONDS = 0.02

# Told apart at a glance from any other secret.
SECRET_PREFIX = "qs_"  # noqa: S105 - of every token, so no secret itself


def new_secret() -> str:
    """256 random bits in 46 characters that need no quoting in a URL, a header or a shell."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def token_hash(secret: str) -> bytes:
    """What is stored. The secret is random, so that one round of SHA-256 is as good as a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """The tokens in force, for `check`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._tokens: dict[bytes, tuple[str, frozenset[str]]] = {}
        # When the look-up began that `_tokens` came from.
        self._as_of = -float("inf")
        self._began = -float("inf")
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def check(self, secret: str | None, scope: Scope) -> str:
        """The token's name. Raises Unauthorized for no valid token, Forbidden for one without the scope.

        Unavailable or TimedOut where the database does not answer.
        """
        if secret is None:
            raise Unauthorized()
        key = token_hash(secret)
        age = self._clock() - self._as_of
        if age > MAX_AGE_SECONDS or key not in self._tokens:
            await self._look_up()
        elif age > REFRESH_AGE_SECONDS and self._running is None:
            self._start()
        found = self._tokens.get(key)
        if found is None:
            raise Unauthorized(": this one is unknown or revoked")
        name, scopes = found
        if scope not in scopes:
            raise Forbidden(f"this token lacks the scope {scope}")
        return name

    async def _look_up(self) -> None:
        """Waits for a look-up that begins after this call, shared with all who came before it began."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._after_running())
        await asyncio.shield(self._next)

    async def _after_running(self) -> None:
        await asyncio.sleep(max(0.0, self._began + LOOK_UP_PAUSE_SECONDS - self._clock()))
        while self._running is not None:
            await asyncio.wait([self._running])
        self._next = None
        await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[None]:
        self._running = asyncio.create_task(self._refresh())
        # Nobody awaits a background look-up; its failure shows at the next one that is awaited.
        self._running.add_done_callback(self._finished)
        return self._running

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()

    async def _refresh(self) -> None:
        self._began = began = self._clock()
        rows = await self._database.fetch(statement("tokens/valid"))
        self._tokens = {row["hash"]: (row["name"], frozenset(row["scopes"])) for row in rows}
        self._as_of = began

"""API tokens: created, listed and revoked by their owner; checked in memory while the service runs.

A process keeps the hashes of all tokens in force, as of a moment that is never more than `MAX_AGE_SECONDS` ago: a
revoked token is refused everywhere within a second. A token that is not among them is looked up in the database once
more, since it may have been created just now; all who wait share that look-up, so wrong tokens cost the database the
same few queries a second whether ten or ten thousand are tried.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from service.control.actor import of_command
from service.db import Database, connect, fetch, load_statement
from service.errors import CommandError, Forbidden, Unauthorized
from service.model import Scope, StatsQuery, TopQuery

logger = logging.getLogger(__name__)

MAX_AGE_SECONDS = 0.8
# Under steady load the next look-up starts at this age, in the background: nobody waits for it.
REFRESH_AGE_SECONDS = 0.4
# Look-ups begin at least this far apart, whoever asks.
LOOK_UP_PAUSE_SECONDS = 0.02

# An address that sends so many wrong tokens within a minute waits for each further refusal.
FREE_FAILURES = 100
FAILURE_WINDOW_SECONDS = 60.0
FAILURE_DELAY_SECONDS = 0.5
ADDRESSES_KEPT = 10_000
# Refusals that wait at once; beyond that they come undelayed, as each one that waits takes memory.
DELAYED_AT_ONCE = 1000

MAX_NAME_CHARACTERS = 100
# What tells it from any other secret at a glance.
SECRET_PREFIX = "qs_"  # noqa: S105 - of every token, so no secret itself


def new_secret() -> str:
    """256 random bits in 46 characters that need no quoting in a URL, a header or a shell."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def token_hash(secret: str) -> bytes:
    """What is stored. The secret is random, so that one round of SHA-256 is as good as a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """What a valid secret may do, and of whom it may see and change the messages: None is of all."""

    name: str
    scopes: frozenset[str]
    sender_ids: tuple[int, ...] | None = None
    account_ids: tuple[int, ...] | None = None

    def require_sender(self, sender_id: int) -> None:
        if self.sender_ids is not None and sender_id not in self.sender_ids:
            raise Forbidden("this token is limited to other senders")

    def sees(self, account_id: int | None) -> bool:
        return self.account_ids is None or account_id in self.account_ids

    def limit(self, query: StatsQuery) -> StatsQuery:
        """The query as far as this token may see. Raises Forbidden where that is nothing."""
        self.require_sender(query.sender_id)
        if self.account_ids is None:
            return query
        if query.account_id is None:
            return msgspec.structs.replace(query, account_ids=self.account_ids)
        if not self.sees(query.account_id):
            raise Forbidden("this token is limited to other accounts")
        return query

    def limit_top(self, query: TopQuery) -> TopQuery:
        """As `limit`. What accounts have within all senders can't be told in constant time."""
        if self.account_ids is not None:
            raise Forbidden("this token is limited to accounts")
        if query.sender_id is not None:
            self.require_sender(query.sender_id)
            return query
        return msgspec.structs.replace(query, sender_ids=self.sender_ids)


class Tokens:
    """The tokens in force, for `check`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._tokens: dict[bytes, Token] = {}
        # When the look-up began that `_tokens` came from.
        self._as_of = -float("inf")
        self._began = -float("inf")
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def check(self, secret: str | None, scope: Scope) -> Token:
        """Raises Unauthorized for no valid token, Forbidden for one without the scope.

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
        if scope not in found.scopes:
            raise Forbidden(f"this token lacks the scope {scope}")
        return found

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
        rows = await self._database.fetch(load_statement("tokens/valid"))
        self._tokens = {
            row["hash"]: Token(
                row["name"], frozenset(row["scopes"]), _ascending(row["sender_ids"]), _ascending(row["account_ids"])
            )
            for row in rows
        }
        self._as_of = began


def _ascending(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(sorted(set(ids)))


class FailedTokens:
    """Slows down addresses that try tokens. Nobody is locked out: a valid token never waits."""

    def __init__(self) -> None:
        self._since = -float("inf")
        self._failures: Counter[str] = Counter()
        self._delayed = 0

    async def slow_down(self, address: str) -> None:
        """Counts a wrong token of this address, and waits where there were many."""
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


async def create_token(
    owner_url: str,
    name: str,
    scopes: Sequence[Scope] = (Scope.STATS,),
    *,
    sender_ids: Sequence[int] = (),
    account_ids: Sequence[int] = (),
    expires_in: timedelta | None = None,
    replace: bool = False,
) -> str:
    """The secret of a new token, which is stored nowhere.

    Without ids it is not limited to any, without a time it never expires.
    Raises CommandError where the name is no name, or in force already and not to be replaced.
    """
    if not _is_name(name):
        raise CommandError(f"A token's name has 1 to {MAX_NAME_CHARACTERS} printable characters.")
    secret = new_secret()
    limits = {"sender_ids": list(sender_ids) or None, "account_ids": list(account_ids) or None}
    stored = {"name": name, "hash": token_hash(secret), "scopes": list(scopes), "expires_in": expires_in, **limits}
    if not await _change(owner_url, "tokens/create", **stored, replace=replace):
        raise CommandError(f"There is a token named {name} already; revoke it first.")
    return secret


async def rotate_token(owner_url: str, name: str, overlap: timedelta) -> str:
    """A new secret; the former one stays valid for the overlap. Raises CommandError where no such token is in force."""
    secret = new_secret()
    if not _is_name(name) or not await _change(
        owner_url, "tokens/rotate", name=name, hash=token_hash(secret), overlap=overlap
    ):
        raise CommandError(f"There is no token named {name} in force.")
    return secret


async def list_tokens(owner_url: str) -> list[dict[str, Any]]:
    """Every token, oldest first: the columns of sql/tokens/list.sql. `revoked_at` is None while it is in force."""
    return [dict(row) for row in await _run(owner_url, "tokens/list")]


async def revoke_token(owner_url: str, name: str) -> None:
    """Raises CommandError where no such token is in force."""
    if not _is_name(name) or not await _change(owner_url, "tokens/revoke", name=name):
        raise CommandError(f"There is no token named {name} in force.")


def _is_name(name: str) -> bool:
    return bool(name.strip()) and name.isprintable() and len(name) <= MAX_NAME_CHARACTERS


async def _change(owner_url: str, statement_name: str, **parameters: Any) -> Any:
    """Who acts is always a command: the audit log names the user who runs it."""
    actor = of_command()
    return await _run(owner_url, statement_name, **parameters, actor_kind=actor.kind, actor_name=actor.name)


async def _run(owner_url: str, statement_name: str, **parameters: Any) -> Any:
    async with connect(owner_url) as connection:
        return await fetch(connection, statement_name, **parameters)

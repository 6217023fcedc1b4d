"""The locks and time limits of a schema change: other migrations, tables in use, writers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from service.db import Connection, connect
from service.errors import CommandError

# The session-level advisory lock for schema changes, so that two deployments take turns. "queue" in ASCII.
MIGRATION_LOCK = 0x7175657565
MIGRATION_PAUSE_SECONDS = 0.1
STATEMENT_TIMEOUT_MINUTES = 10
# A migration waits this long for a table in use. Then it fails, because writers wait behind it.
LOCK_TIMEOUT_SECONDS = 3
LIMITS = f"SET statement_timeout = '{STATEMENT_TIMEOUT_MINUTES}min'; SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"

# Attaching the triggers takes a lock behind which writers would wait: it is requested briefly and repeatedly.
ATTACH_LOCK_TIMEOUT_MS = 100
ATTACH_PAUSE_SECONDS = 0.5
ATTACH_PATIENCE_SECONDS = 600


@asynccontextmanager
async def changing_schema(owner_url: str, messages_schema: str = "public") -> AsyncIterator[Connection]:
    """A connection that holds the migration lock, with short limits for all other locks.

    Its settings are those of the session, because the connection is only for the migration.
    """
    async with connect(owner_url) as connection:
        # For an owner named queuestats, our schema is first in the search_path, but `messages` is in another schema.
        await connection.execute(f"SET search_path = {messages_schema}; {LIMITS}")
        deadline = time.monotonic() + 60 * STATEMENT_TIMEOUT_MINUTES
        # Not a waiting statement, for whose snapshot CREATE INDEX CONCURRENTLY of the other migration would wait.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK):
            if time.monotonic() > deadline:
                raise CommandError(
                    f"Another migration of this database has been running for {STATEMENT_TIMEOUT_MINUTES} minutes."
                )
            await asyncio.sleep(MIGRATION_PAUSE_SECONDS)
        try:
            yield connection
        except asyncpg.LockNotAvailableError as error:
            raise CommandError(
                f"The migration needs a table that is in use, and stopped after {LOCK_TIMEOUT_SECONDS} s, because other"
                " sessions wait behind it: run it again when the long transactions have ended."
            ) from error


async def trying_for_lock(work: Callable[[], Awaitable[object]], connection: Connection) -> None:
    """Runs the work in a transaction that waits only briefly for a lock; repeats it until it gets the lock."""
    deadline = time.monotonic() + ATTACH_PATIENCE_SECONDS
    while True:
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{ATTACH_LOCK_TIMEOUT_MS}ms'")
                await work()
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(ATTACH_PAUSE_SECONDS)

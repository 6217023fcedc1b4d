"""What a change of the schema waits for, and for how long: other migrations, tables in use, writers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from service.db import Connection, connect
from service.errors import CommandError

# Session-level advisory lock of whoever changes the schema: two deployments take turns. "queue" in ASCII.
MIGRATION_LOCK = 0x7175657565
MIGRATION_PAUSE_SECONDS = 0.1
STATEMENT_TIMEOUT_MINUTES = 10
# A migration waits this long for a table that is in use, and fails rather than hold up every writer behind it.
LOCK_TIMEOUT_SECONDS = 3
LIMITS = f"SET statement_timeout = '{STATEMENT_TIMEOUT_MINUTES}min'; SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"

# Attaching the triggers takes a lock that writers would wait behind: it is asked for briefly, and again and again.
ATTACH_LOCK_TIMEOUT_MS = 100
ATTACH_PAUSE_SECONDS = 0.5
ATTACH_PATIENCE_SECONDS = 600


@asynccontextmanager
async def changing_schema(owner_url: str, messages_schema: str = "public") -> AsyncIterator[Connection]:
    """A connection that holds the migration lock, and waits for nothing else for long.

    Its settings are the session's: the connection is nobody else's and ends with the migration.
    """
    async with connect(owner_url) as connection:
        # An owner named queuestats has our schema first in its path; `messages` belongs elsewhere.
        await connection.execute(f"SET search_path = {messages_schema}; {LIMITS}")
        deadline = time.monotonic() + 60 * STATEMENT_TIMEOUT_MINUTES
        # Not a statement that waits: CREATE INDEX CONCURRENTLY of the other migration would wait for its snapshot.
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
                f"The migration needs a table that is in use, and gave up after {LOCK_TIMEOUT_SECONDS} s so that nobody"
                " waits behind it: run it again when the long transactions have ended."
            ) from error


async def trying_for_lock(work: Callable[[], Awaitable[object]], connection: Connection) -> None:
    """Does the work in a transaction that waits for a lock for a moment only; if it was in vain, again and again."""
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

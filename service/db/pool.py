"""The pool that questions run on."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Self

import asyncpg

from service.db.connect import statements_kept
from service.db.errors import is_disconnect, is_outdated, translated
from service.db.statements import Statement
from service.errors import TimedOut, Unavailable
from service.origin import application_name, name_requests
from service.settings import Settings

logger = logging.getLogger(__name__)

# After a connection could not be made in time, requests are refused at once for this long instead of queueing up.
COOL_DOWN_SECONDS = 1.0

# A server that hangs answers no cancellation either: this long after the limit, the connection is cut.
GRACE_SECONDS = 1.0

# The service's role has these the other way round, for look-ups (sql/roles.sql).
AS_A_SCAN = (
    "SET LOCAL transaction_read_only = on; SET LOCAL plan_cache_mode = force_custom_plan;"
    " SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on"
)


class Database:
    """A lazily filled pool: it opens without its database, and recovers by itself.

    `fetch` raises Unavailable or TimedOut; any other error of the driver is a fault of ours and passes.
    Without `prepared_statements` nothing outlives its transaction on the server's side, and what takes several round
    trips is one transaction: a pooler may give the next one to another server process. `purpose` is what its
    connections are called by in pg_stat_activity, where that is not the command.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        connect_timeout_ms: int,
        sql_time_limit_ms: int,
        slow_statement_ms: int = 500,
        prepared_statements: bool = True,
        purpose: str = "",
    ) -> None:
        self._connect_timeout = connect_timeout_ms / 1000
        self._time_limit = sql_time_limit_ms / 1000
        self._slow = slow_statement_ms / 1000
        self._is_one_transaction = not prepared_statements
        self._refuse_until = 0.0
        self._pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=pool_size,
            timeout=self._connect_timeout,
            reset=_keep,
            server_settings={"application_name": application_name(purpose)},
            statement_cache_size=statements_kept(prepared_statements),
        )

    @classmethod
    def from_settings(cls, settings: Settings, url: str, pool_size: int, purpose: str = "") -> Self:
        return cls(
            url,
            pool_size=pool_size,
            connect_timeout_ms=settings.connect_timeout_ms,
            sql_time_limit_ms=settings.request_time_limit_ms,
            slow_statement_ms=settings.slow_statement_ms,
            prepared_statements=settings.has_prepared_statements,
            purpose=purpose,
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def open(self) -> None:
        await self._pool

    async def close(self) -> None:
        """Ends the pool; a connection still busy after a second is cut off."""
        try:
            await asyncio.wait_for(self._pool.close(), 1)
        except (TimeoutError, asyncpg.InterfaceError, OSError):
            self._pool.terminate()

    async def fetch(self, asked: Statement, **parameters: Any) -> list[asyncpg.Record]:
        """All rows of one statement, from one snapshot."""
        rows: list[asyncpg.Record] = await self.ask(asked.name, partial(self.run, asked, parameters))
        return rows

    async def fetch_scan(self, asked: Statement, **parameters: Any) -> list[asyncpg.Record]:
        """As `fetch`, planned anew for these very values: the optional filters of a scan need it."""
        rows: list[asyncpg.Record] = await self.ask(asked.name, partial(self.run_scan, asked, parameters))
        return rows

    async def fetch_writing(self, asked: Statement, **parameters: Any) -> list[asyncpg.Record]:
        """As `fetch`, for a statement that writes: in READ COMMITTED, whatever role and database have for a default."""
        rows: list[asyncpg.Record] = await self.ask(asked.name, partial(self._run_writing, asked, parameters))
        return rows

    async def run(self, asked: Statement, parameters: Mapping[str, Any], connection: Any) -> Any:
        """The rows of a statement, for a question of `ask`."""
        return await connection.fetch(asked.sql, *asked.bind(parameters), timeout=self._time_limit)

    async def run_scan(self, asked: Statement, parameters: Mapping[str, Any], connection: Any) -> Any:
        """As `run`, planned anew for these very values."""
        return await self._scan(asked.sql, asked.bind(parameters), connection)

    async def _run_writing(self, asked: Statement, parameters: Mapping[str, Any], connection: Any) -> Any:
        # Never a savepoint in `ask`'s transaction: what a fold writes under one is not believed (watermarks.sql).
        async with nullcontext() if self._is_one_transaction else connection.transaction(isolation="read_committed"):
            await connection.execute("SET TRANSACTION READ WRITE")
            return await self.run(asked, parameters, connection)

    async def _scan(self, sql: str, values: list[Any], connection: Any) -> Any:
        async with nullcontext() if self._is_one_transaction else connection.transaction():
            await connection.execute(AS_A_SCAN)
            return await connection.fetch(sql, *values, timeout=self._time_limit)

    async def ask(self, name: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """Puts a question to one connection, and once more to a new one where that was gone; it must bear repeating.

        `name` is that of its statement. Raises as `fetch` does.
        """
        began = time.monotonic()
        try:
            return await self._ask_once(name, question)
        except Exception as error:
            if is_disconnect(error) and time.monotonic() - began > self._time_limit:
                raise TimedOut() from error
            if not is_disconnect(error) and not is_outdated(error):
                raise translated(error) from error
        # The server was restarted, say, and every pooled connection is dead: one more try on a new one.
        await self._pool.expire_connections()
        try:
            return await self._ask_once(name, question)
        except Exception as error:
            raise translated(error) from error

    async def _ask_once(self, name: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
        async with self.connection() as connection:
            backend, began = connection.get_server_pid(), time.monotonic()
            cut = asyncio.get_running_loop().call_later(self._time_limit + GRACE_SECONDS, _cut, connection)
            try:
                async with self._whole_transaction(connection):
                    return await question(connection)
            except Exception as error:
                if is_disconnect(error):
                    _cut(connection)
                raise
            finally:
                cut.cancel()
                self._tell_if_slow(name, backend, time.monotonic() - began)

    def _whole_transaction(self, connection: Any) -> AbstractAsyncContextManager[Any]:
        return connection.transaction(isolation="read_committed") if self._is_one_transaction else nullcontext()

    def _tell_if_slow(self, name: str, backend: int, seconds: float) -> None:
        """File and process stand in the server's log too: by them the two are laid side by side."""
        if seconds >= self._slow:
            logger.warning(
                "slow statement file=sql/%s.sql duration_ms=%.1f backend=%s %s",
                name,
                seconds * 1000,
                backend,
                name_requests(),
            )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A pooled connection. Raises Unavailable where none can be had in time."""
        if time.monotonic() < self._refuse_until:
            raise Unavailable()
        try:
            connection = await self._pool.acquire(timeout=self._connect_timeout)
        except TimeoutError as error:
            if self._pool.get_size() == self._pool.get_max_size():
                raise Unavailable(": every database connection is busy") from error
            self._refuse_until = time.monotonic() + COOL_DOWN_SECONDS
            raise Unavailable() from error
        try:
            yield connection
        finally:
            await self._pool.release(connection)


def _cut(connection: Any) -> None:
    # It may have been closed, and taken from us, already.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep(connection: Any) -> None:
    """Nothing is ever set on a pooled connection outside a transaction, so there is nothing to reset.

    The driver's own reset would cost a round trip after every question.
    """

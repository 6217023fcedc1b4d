"""The pool of connections on which statements run."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg

from service.db.address import at_host, for_driver, of_primary
from service.db.connect import STATEMENTS_KEPT, Connection
from service.db.errors import in_words, is_disconnect, translated
from service.db.pooler import keeps_prepared_statements
from service.db.reconnecting import reconnecting_to
from service.db.statements import Statement, load_statement
from service.errors import STANDBY, TimedOut, Unavailable
from service.settings import Settings
from service.telemetry.metrics import CONNECTIONS, STATEMENT_SECONDS
from service.telemetry.origin import application_name, name_requests, statement_span

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# A server that hangs does not answer a cancellation either: after this time beyond the limit, the connection is cut.
GRACE_SECONDS = 1.0
# These override the defaults of roles and databases.
ISOLATION: Final = "read_committed"
# Settings of a transaction. For look-ups, the service's role has the opposite settings of a scan (sql/roles.sql).
AS_A_SCAN = (
    "SET LOCAL transaction_read_only = on; SET LOCAL plan_cache_mode = force_custom_plan;"
    " SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on"
)
WRITING = "SET TRANSACTION READ WRITE"
# For pools on which no request waits.
WRITING_WITHOUT_LIMIT = f"{WRITING}; SET LOCAL statement_timeout = 0"


class Database:
    """A lazily filled pool: it opens without its database, and recovers after an outage.

    `fetch` raises Unavailable or TimedOut; other errors of the driver are faults of the service, and are not caught.
    Without prepared statements, nothing in the server outlives its transaction, and several round trips are one
    transaction, because a pooler may use another server process for the next one. `purpose` is part of the
    application_name of its connections, by default the command.
    """

    def __init__(self, settings: Settings, url: str, *, pool_size: int, purpose: str = "") -> None:
        self._settings, self.url, self._purpose = settings, url, purpose
        # The most connections.
        self.size = pool_size
        # Of service/cluster, which remembers what it has found.
        self.topology: Any = None
        self._nodes: dict[tuple[str, int], Database] = {}
        self._connect_timeout = settings.connect_timeout_ms / 1000
        self._time_limit = settings.request_time_limit_ms / 1000
        self._reconnecting = reconnecting_to(url)
        self._in_use = CONNECTIONS.labels(purpose)
        self._busy: set[Connection] = set()
        self._arguments = {
            **for_driver(url),
            "timeout": self._connect_timeout,
            "server_settings": {"application_name": application_name(purpose)},
            "statement_cache_size": STATEMENTS_KEPT[settings.has_prepared_statements],
            **of_primary(url),
        }
        self._pool = asyncpg.create_pool(
            **self._arguments, min_size=0, max_size=pool_size, connect=self._connect, reset=_keep
        )

    async def __aenter__(self) -> Self:
        await self._pool
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Closes the pool; a connection that is still busy after a second is cut."""
        for node in self._nodes.values():
            await node.__aexit__()
        try:
            await asyncio.wait_for(self._pool.close(), 1)
        except (TimeoutError, asyncpg.InterfaceError, OSError):
            self._pool.terminate()

    async def at(self, host: str, port: int) -> "Database":
        """A pool on another node of a cluster, which closes together with this one."""
        if (host, port) not in self._nodes:
            url = at_host(self.url, host, port)
            node = Database(self._settings, url, pool_size=self.size, purpose=self._purpose)
            self._nodes[host, port] = await node.__aenter__()
        return self._nodes[host, port]

    @property
    def address(self) -> str:
        """Host and port, for a person."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    async def try_connection(self) -> None:
        """Opens a connection that is not one of the pool, and closes it. Raises Unavailable or TimedOut."""
        try:
            connection = await asyncpg.connect(**self._arguments)
        except asyncpg.TooManyConnectionsError:
            # The server responds, and the pool may have connections.
            return
        except Exception as error:
            raise translated(error) from error
        connection.terminate()

    def cut(self) -> None:
        """Ends the connections that run a statement, without waiting for the server."""
        for connection in self._busy:
            _cut(connection)

    async def keeps_prepared_statements(self) -> bool:
        """Whether prepared statements are kept, if it uses them. Raises CommandError if that can't be tested."""
        return not self._settings.has_prepared_statements or await keeps_prepared_statements(self.url)

    async def fetch(self, statement: Statement, begin_with: str = "", /, **parameters: Any) -> list[asyncpg.Record]:
        """All rows of one statement, from one snapshot; `begin_with` as in `run`, WRITING for example."""
        values = statement.bind(parameters)

        async def work(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(statement.sql, *values, timeout=self._time_limit)

        return await self.run(statement.name, work, begin_with)

    async def fetch_scan(self, statement: Statement, **parameters: Any) -> list[asyncpg.Record]:
        """As `fetch`, with a new plan for these values, which the optional filters of a scan need."""
        return await self.fetch(statement, f"{AS_A_SCAN}; {load_statement('queries/primary').sql}", **parameters)

    async def run(self, name: str, work: Callable[[Connection], Awaitable[Result]], begin_with: str = "") -> Result:
        """Runs the work on one connection, and again on a new one if the connection was lost; it must be repeatable.

        `name` is that of its statement. `begin_with` are the settings of a transaction for the work.
        Raises as `fetch` does.
        """
        began = time.monotonic()
        try:
            return await self._run_once(name, work, begin_with)
        except Exception as error:
            if is_disconnect(error) and time.monotonic() - began > self._time_limit:
                raise TimedOut() from error
            # InvalidCachedStatementError: the table was altered; the driver has removed the statement from its cache.
            if not is_disconnect(error) and not isinstance(error, asyncpg.InvalidCachedStatementError):
                raise translated(error) from error
        # For example, a restart of the server has closed all pooled connections: one more try on a new one.
        await self._pool.expire_connections()
        try:
            return await self._run_once(name, work, begin_with)
        except Exception as error:
            raise translated(error) from error

    async def _run_once(self, name: str, work: Callable[[Connection], Awaitable[Result]], begin_with: str) -> Result:
        async with self.connection() as connection:
            backend, began = connection.get_server_pid(), time.monotonic()
            cut = asyncio.get_running_loop().call_later(self._time_limit + GRACE_SECONDS, _cut, connection)
            is_transaction = begin_with or not self._settings.has_prepared_statements
            try:
                # Never a savepoint within it: readers do not trust what a fold writes in one (watermarks.sql).
                async with connection.transaction(isolation=ISOLATION) if is_transaction else nullcontext():
                    with statement_span(name):
                        if begin_with:
                            await _begin(connection, begin_with)
                        return await work(connection)
            except Exception as error:
                if is_disconnect(error):
                    _cut(connection)
                raise
            finally:
                cut.cancel()
                self._note_time(name, backend, time.monotonic() - began)

    def _note_time(self, name: str, backend: int, seconds: float) -> None:
        """Observes the time, and logs a slow statement with its file and process, as in the server's log."""
        STATEMENT_SECONDS.labels(name).observe(seconds)
        if seconds * 1000 >= self._settings.slow_statement_ms:
            line = "slow statement file=sql/%s.sql duration_ms=%.1f backend=%s %s"
            logger.warning(line, name, seconds * 1000, backend, name_requests())

    async def _connect(self, *arguments: Any, **named: Any) -> "asyncpg.Connection[asyncpg.Record]":
        """Opens a connection for the pool. Raises Unavailable at once while the database is unreachable."""
        connect = partial(asyncpg.connect, *arguments, **named)
        return await self._reconnecting.connect(connect, self._connect_timeout)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A pooled connection. Raises Unavailable if none is free in time."""
        try:
            connection = await self._pool.acquire(timeout=self._connect_timeout)
        except TimeoutError as error:
            if self._pool.get_size() == self._pool.get_max_size():
                raise Unavailable(": every database connection is busy") from error
            raise Unavailable(said=in_words(error)) from error
        self._in_use.inc()
        self._busy.add(connection)
        try:
            yield connection
        finally:
            self._in_use.dec()
            self._busy.discard(connection)
            await self._pool.release(connection)


async def _begin(connection: Connection, settings: str) -> None:
    try:
        await connection.execute(settings)
    except asyncpg.FeatureNotSupportedError as error:
        # A standby refuses READ WRITE.
        raise Unavailable(STANDBY) from error


def _cut(connection: Connection) -> None:
    # It may have been closed already.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep(connection: Connection) -> None:
    """No reset: pooled connections have settings only in transactions, and the driver's reset costs a round trip."""

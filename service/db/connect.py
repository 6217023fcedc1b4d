"""One connection for a command, whose errors are sentences for a person."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from service.db.address import for_driver, of_primary
from service.db.errors import MALFORMED, in_words
from service.db.statements import load_statement
from service.errors import CommandError
from service.telemetry.origin import application_name

CONNECT_TIMEOUT_SECONDS = 10
CLOSE_TIMEOUT_SECONDS = 5
# Statements that the driver gives a name, which the server keeps as long as the connection; there are fewer than 200.
# Without a name each execution takes two round trips, and the first use of an array type some more.
STATEMENTS_KEPT = {True: 200, False: 0}
# Roles and databases may have other defaults.
AS_EXPECTED = {"default_transaction_isolation": "read committed", "default_transaction_read_only": "off"}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A command's own connection, or one of a pool. asyncpg's classes take their type argument in its stubs alone."""


@asynccontextmanager
async def connect(
    database_url: str, *, prepared_statements: bool = True, is_direct: bool = True
) -> AsyncIterator[Connection]:
    """Without `prepared_statements`, a statement belongs in a transaction. A pooler (not `is_direct`) refuses settings.

    Raises CommandError with one sentence where the database cannot be reached, or refuses a statement.
    """
    try:
        connection = await asyncpg.connect(
            **for_driver(database_url),
            timeout=CONNECT_TIMEOUT_SECONDS,
            server_settings={"application_name": application_name(), **(AS_EXPECTED if is_direct else {})},
            statement_cache_size=STATEMENTS_KEPT[prepared_statements],
            # A single server may be a standby; of several the primary is meant.
            **(of_primary(database_url) if "," in database_url else {}),
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(in_words(error)) from error
    except (ValueError, OverflowError):
        # The latter: a port of PGPORT.
        raise CommandError(MALFORMED) from None
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError) as error:
        raise CommandError(in_words(error)) from error
    finally:
        try:
            await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


async def fetch(
    connection: Connection, name: str, places: Mapping[str, str] | None = None, /, **values: Any
) -> list[asyncpg.Record]:
    """The rows of `sql/<name>.sql`, however long it takes. `places`: as those of `load_statement`."""
    statement = load_statement(name, places)
    return await connection.fetch(statement.sql, *statement.bind(values))


async def require_disposable(connection: Connection, *, must_be_migrated: bool = True) -> None:
    """Raises CommandError, which says what to do first, where it is not migrated, or not marked disposable.

    The mark is read from the catalog: a connection's own options cannot stand in for it.
    """
    (found,) = await fetch(connection, "queries/disposable")
    database, is_migrated, is_adopted, _, disposable, marking = found
    if must_be_migrated and not is_migrated:
        raise CommandError(f"The database {database} is not migrated; run `queuestats migrate` first.")
    if is_adopted:
        raise CommandError(f"The database {database} counts an adopted table, which is never filled: take another one.")
    if not disposable:
        raise CommandError(
            f"The database {database} is not marked disposable, and was left alone; its owner marks it by {marking}"
        )

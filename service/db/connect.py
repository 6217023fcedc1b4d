"""One connection for a command, with errors as sentences for a person."""

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
# The named statements that the driver caches, which the server keeps as long as the connection; there are fewer than
# 200. Without a name each execution takes two round trips, and the first use of an array type some more.
STATEMENTS_KEPT = {True: 200, False: 0}
# These override the defaults of roles and databases.
AS_EXPECTED = {"default_transaction_isolation": "read committed", "default_transaction_read_only": "off"}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A command's own connection, or one of a pool. asyncpg's classes accept a type argument only in its stubs."""


@asynccontextmanager
async def connect(
    database_url: str, *, prepared_statements: bool = True, is_direct: bool = True
) -> AsyncIterator[Connection]:
    """Without `prepared_statements`, run statements in a transaction. A pooler (not `is_direct`) refuses settings.

    Raises CommandError if the database cannot be reached, or refuses a statement.
    """
    try:
        connection = await asyncpg.connect(
            **for_driver(database_url),
            timeout=CONNECT_TIMEOUT_SECONDS,
            server_settings={"application_name": application_name(), **(AS_EXPECTED if is_direct else {})},
            statement_cache_size=STATEMENTS_KEPT[prepared_statements],
            # A single server may be a standby; of several servers the primary is used.
            **(of_primary(database_url) if "," in database_url else {}),
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(in_words(error)) from error
    except (ValueError, OverflowError):
        # OverflowError: a port in PGPORT that is out of range.
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
    """The rows of `sql/<name>.sql`, without a time limit. `places`: as for `load_statement`."""
    statement = load_statement(name, places)
    return await connection.fetch(statement.sql, *statement.bind(values))


async def require_disposable(connection: Connection, *, must_be_migrated: bool = True) -> None:
    """Raises CommandError with advice if the database is not migrated, or not marked disposable.

    The mark is read from the catalog, because options of a connection must not replace it.
    """
    (found,) = await fetch(connection, "queries/disposable")
    database, is_migrated, is_adopted, disposable, marking = found
    if must_be_migrated and not is_migrated:
        raise CommandError(f"The database {database} is not migrated; run `queuestats migrate` first.")
    if is_adopted:
        raise CommandError(f"The database {database} counts an adopted table, which is never filled: use another one.")
    if not disposable:
        raise CommandError(
            f"The database {database} is not marked disposable, and was not changed; its owner marks it by {marking}"
        )

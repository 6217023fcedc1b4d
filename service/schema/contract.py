"""The releases of the service that the functions of a database serve: `migrate` writes numbers, `/readyz` compares.

CONTRIBUTING.md says when a change raises one of them.
"""

from contextlib import suppress

import asyncpg

from service.db import Connection, fetch

# The contract of this code. Raised when its statements need functions, columns or rights that older databases lack.
CONTRACT = 2
# The oldest contract that the functions of this version serve. Raised when older code would answer wrongly, or fail.
OLDEST = 1
# The contract of versions that wrote no number.
FIRST = 1


async def contract_mismatch(connection: Connection) -> str:
    """The reasons why this code can't serve on this database, in words; empty if it can."""
    if (numbers := await _numbers(connection)) is None:
        return "the whole schema is missing"
    number, oldest = numbers
    if number < CONTRACT:
        return f"contract {CONTRACT}: the database has {number}; run `queuestats migrate` of this version"
    if oldest > CONTRACT:
        return f"a newer version: the database serves contracts from {oldest} on, and this one has {CONTRACT}"
    return ""


async def narrow_contract(connection: Connection) -> None:
    """Called before any change: from now on, services that the new functions would not serve are not ready."""
    # A version before contract numbers has no table for them, and an empty database has no tables.
    with suppress(asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        await _write(connection, "migrate/narrow_contract")


async def write_contract(connection: Connection) -> None:
    """Called after all changes."""
    await _write(connection, "migrate/write_contract")


async def _write(connection: Connection, name: str) -> None:
    await fetch(connection, name, number=CONTRACT, oldest=OLDEST)


async def _numbers(connection: Connection) -> tuple[int, int] | None:
    """The contract of the database and the oldest one that it serves; None without a schema."""
    try:
        rows = await fetch(connection, "queries/contract")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        # A look-up in the catalog: a version before contract numbers has this table.
        has_schema = await connection.fetchval("SELECT to_regclass('queuestats.repeatable_migrations') IS NOT NULL")
        return (FIRST, FIRST) if has_schema else None
    return (rows[0]["number"], rows[0]["oldest"]) if rows else (FIRST, FIRST)

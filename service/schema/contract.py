"""Which services the functions of a database serve: numbers that `migrate` writes and `/readyz` compares.

CONTRIBUTING.md says when a change raises one of them.
"""

from contextlib import suppress

import asyncpg

from service.db import Connection, fetch

# What this code needs. Raised when its statements need functions, columns or rights that an older database lacks.
CONTRACT = 2
# What the functions of this version still serve. Raised when code of an older contract would answer wrongly, or fail.
OLDEST = 1
# Of the versions that wrote no number.
FIRST = 1


async def contract_mismatch(connection: Connection) -> str:
    """What keeps this code from serving on this database, as words for a person; empty where they go together."""
    if (numbers := await _numbers(connection)) is None:
        return "the whole schema is missing"
    number, oldest = numbers
    if number < CONTRACT:
        return f"contract {CONTRACT}: the database has {number}; run `queuestats migrate` of this version"
    if oldest > CONTRACT:
        return f"a newer version: the database serves contracts from {oldest} on, and this one has {CONTRACT}"
    return ""


async def narrow_contract(connection: Connection) -> None:
    """Before anything is changed: no service that the outcome would not serve is ready from here on."""
    # A version before contract numbers has no table for them, and an empty database nothing.
    with suppress(asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        await _write(connection, "migrate/narrow_contract")


async def write_contract(connection: Connection) -> None:
    """When all is in place."""
    await _write(connection, "migrate/write_contract")


async def _write(connection: Connection, name: str) -> None:
    await fetch(connection, name, number=CONTRACT, oldest=OLDEST)


async def _numbers(connection: Connection) -> tuple[int, int] | None:
    """The contract of the database and the oldest one that it serves; None where there is no schema."""
    try:
        rows = await fetch(connection, "queries/contract")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        # A look-up in the catalog: a version before contract numbers has this table.
        has_schema = await connection.fetchval("SELECT to_regclass('queuestats.repeatable_migrations') IS NOT NULL")
        return (FIRST, FIRST) if has_schema else None
    return (rows[0]["number"], rows[0]["oldest"]) if rows else (FIRST, FIRST)

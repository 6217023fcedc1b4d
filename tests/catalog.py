"""The tables of a database as its catalog describes them, to compare two databases."""

from typing import Any

import asyncpg

OURS = "(SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'queuestats'))"
COLUMNS = f"""
SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
       (SELECT collname FROM pg_collation WHERE oid = attcollation),
       (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace IN {OURS} AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
"""
CONSTRAINTS = f"""
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace IN {OURS} AND conrelid <> 0 AND contype <> 't'
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname IN ('public', 'queuestats')"
STATUSES = "SELECT enumtypid::regtype::text, enumlabel, enumsortorder FROM pg_enum"
OBJECTS = f"""
SELECT relname, relkind::text FROM pg_class WHERE relnamespace IN {OURS}
UNION ALL
SELECT proname, prokind::text FROM pg_proc WHERE pronamespace IN {OURS}
UNION ALL
SELECT typname, typtype::text FROM pg_type WHERE typnamespace IN {OURS}
"""


async def tables_of(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """Columns (with type, not null, identity, collation, default), constraints, indexes and enumerations."""
    asked = {"columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES, "enumerations": STATUSES}
    return {name: await rows_of(url, query) for name, query in asked.items()}


async def objects_of(url: str) -> set[tuple[Any, ...]]:
    """Names and kinds of all tables, indexes, sequences, functions and types."""
    return await rows_of(url, OBJECTS)


async def rows_of(url: str, query: str) -> set[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return {tuple(row) for row in await connection.fetch(query)}
    finally:
        await connection.close()

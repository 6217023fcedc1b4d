"""Creates missing or changed objects of our schema again, in migrate: see sql/conditions/objects.sql."""

from collections.abc import Callable, Iterable
from typing import Any

from service.db import Connection, fetch
from service.schema.columns import SCHEMA
from service.schema.files import newer_columns, table_definition

# Without one of these tables, counts are lost.
COUNTED = ("baseline", "counters", "deltas", "sender_totals", "watermarks")


async def make_anew(connection: Connection, progress: Callable[[str], None]) -> bool:
    """Creates missing tables, columns and indexes of our schema. Returns whether functions are damaged too.

    It does not create indexes of messages, because building them takes a lock that blocks writers.
    """
    # Look-ups in the catalog. Without the function, there is nothing to compare.
    if not await connection.fetchval("SELECT to_regprocedure('queuestats.catalog_objects()') IS NOT NULL"):
        return True
    if not await connection.fetchval("SELECT to_regclass('queuestats.objects') IS NOT NULL"):
        await _make_table(connection, "objects", progress)
    found = await fetch(connection, "conditions/objects")
    missing = [row for row in found if row["is_missing"]]
    for table in (row["name"] for row in missing if row["kind"] == "table"):
        await _make_table(connection, table, progress)
        if table in COUNTED:
            await fetch(connection, "migrate/forget_baseline")
    for statement in newer_columns(SCHEMA) if any(row["kind"] == "column" for row in missing) else ():
        await connection.execute(statement)
    for definition in missing_indexes(found):
        await connection.execute(definition)
        progress(f"The index {definition.partition(' ON ')[0].rpartition(' ')[2]}, which was missing.")
    is_exposed = await fetch(connection, "conditions/exposed", service_role="")
    return bool(is_exposed) or any(row["kind"] in ("function", "view", "table") for row in found)


def missing_indexes(found: Iterable[Any]) -> list[str]:
    """Statements that create our missing indexes. `found`: the rows of sql/conditions/objects.sql."""
    return [
        # Its table may have been created with it just now.
        row["definition"].replace(" INDEX ", " INDEX IF NOT EXISTS ", 1)
        for row in found
        if row["is_missing"] and row["kind"] == "index" and row["command"] is None
    ]


async def _make_table(connection: Connection, table: str, progress: Callable[[str], None]) -> None:
    for statement in table_definition(table):
        await connection.execute(statement)
    progress(f"The table {SCHEMA}.{table}, which was missing.")

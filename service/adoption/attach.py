"""Attaches queuestats to an existing table while writers continue, and detaches it."""

from collections.abc import Callable
from functools import partial

import msgspec

from service.db import Connection, Record, fetch, load_statement
from service.db.statements import literal, read_sql, replace_parameters
from service.errors import CommandError
from service.schema.files import Adopted, adopted_table
from service.schema.locks import LIMITS, changing_schema, trying_for_lock
from service.schema.migrate import attached, migrate
from service.schema.revisions import upgrade_as_sql
from service.schema.tables import metadata


def statements(adopted: Adopted, index: list[Record]) -> str:
    """All statements of `attach`, as SQL. `index`: the rows of `index_steps`."""
    table = adopted_table(adopted)
    files = table.files()
    script = [
        "SET search_path = queuestats; SET lock_timeout = '100ms';",
        upgrade_as_sql(),
        table.render("adopt/forget_mapping"),
        *(f"-- sql/{file.path}.sql\n{file.text}" for file in files),
        _filled("queries/adopt/remember_mapping", mapping=msgspec.json.encode(adopted).decode()),
        *(_filled("migrate/remember_file", name=file.name, hash=file.hash) for file in files),
        *([_filled("queries/adopt/remember_names")] if adopted.names else []),
        _filled("queries/rebuild", sender_id=None),
        f"SET search_path = {adopted.search_path};",
        *(f"{row['statement']};" for row in index),
        f"-- sql/roles.sql\n{read_sql('roles')}",
    ]
    return "\n\n".join(script)


def _filled(name: str, /, **values: str | None) -> str:
    literals = {parameter: literal(value) for parameter, value in values.items()}
    return f"{replace_parameters(load_statement(name).text, literals).rstrip()};"


async def index_steps(connection: Connection, adopted: Adopted) -> list[Record]:
    """The rows of sql/queries/adopt/index.sql for each of `adopted.indexes`."""
    return [
        row
        for name, definition in adopted.indexes.items()
        for row in await fetch(
            connection, "queries/adopt/index", table_name=adopted.queue, index_name=name, definition=definition
        )
    ]


async def attach(owner_url: str, service_url: str | None, adopted: Adopted, progress: Callable[[str], None]) -> None:
    """Counts the table from now on, while writers continue. A second call changes the mapping, and recounts.

    Raises CommandError if this database counts its own table messages, or another table.
    """
    await migrate(owner_url, service_url, progress, adopted=adopted)
    async with changing_schema(owner_url, adopted.search_path) as connection:
        steps = await index_steps(connection, adopted)
        for row in steps:
            await _run_step(connection, row["statement"], is_online=row["is_online"])
        for name in adopted.indexes:
            progress(f"Index {name} of {adopted.queue}.")


async def detach(owner_url: str, progress: Callable[[str], None]) -> str:
    """Removes all objects of queuestats, the triggers first. Returns the name of the table, which is as it was.

    Raises CommandError if nothing is adopted, or if objects of other applications would be dropped.
    """
    async with changing_schema(owner_url, "queuestats") as connection:
        found = await attached(connection)
        if not found or not (found["is_adopted"] or found["is_begun"]):
            raise CommandError("Nothing is adopted in this database.")
        own_tables = [table.name for table in metadata.sorted_tables] + ["alembic_version"]
        if strangers := await fetch(connection, "queries/adopt/strangers", own_tables=own_tables):
            names = ", ".join(row["name"] for row in strangers)
            raise CommandError(f"The schema queuestats has other objects, which would be dropped too: {names}.")
        queue: str = found["queue"] or "The table"
        if found["drop_triggers"]:

            async def drop_triggers() -> None:
                await connection.execute(found["drop_triggers"])
                # From now on the counts are stale.
                await fetch(connection, "migrate/forget_baseline")

            await trying_for_lock(drop_triggers, connection)
            progress(f"Triggers of {queue}.")
        for drop_index in found["drop_indexes"]:
            # Only the index of a table without partitions can be dropped without a lock.
            await _run_step(connection, drop_index, is_online=not found["is_partitioned"])
        await fetch(connection, "queries/adopt/drop_schema")
        progress("The schema queuestats.")
        return queue


async def _run_step(connection: Connection, statement: str, *, is_online: bool) -> None:
    if not is_online:
        await trying_for_lock(partial(connection.execute, statement), connection)
        return
    # It blocks no writer, and waits for transactions with an old snapshot.
    await connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    await connection.execute(statement)
    await connection.execute(LIMITS)

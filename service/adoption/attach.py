"""A queue that exists already: tried on a copy of some of its rows, attached while it is written, and let go again."""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import asyncpg
import msgspec
from alembic import command

from service.adoption.mapping import TRIAL_SCHEMA, QueueMapping, check, find_table, quote
from service.db.connect import connect, fetch
from service.db.statements import literal
from service.errors import CommandError
from service.resources import sql_path
from service.schema.files import Adopted, CountedTable
from service.schema.locks import LIMITS, changing_schema, trying_for_lock
from service.schema.migrate import alembic_config, attached, migrate
from service.schema.tables import metadata

TRIAL_ROWS = 10_000
# Statements of so many rows each are measured, so often, with and without our triggers by turns.
BATCHES = {1: 100, 500: 4}
TURNS = 5
INDEX = "queuestats_message_id"
COPY = f"{TRIAL_SCHEMA}.copy"


@dataclass(slots=True)
class Trial:
    """What was measured on a copy of some rows; microseconds by the rows of a statement, without and with triggers.

    `table_rows`: of the table, as the planner believes; -1 where nobody has counted. `may_create_roles`: whether
    attaching can make the service's role. `parts`: rows of sql/queries/adopt/parts.sql.
    """

    rows: int
    table_rows: int
    may_create_roles: bool
    parts: Sequence[Any] = ()
    attach_seconds: float = 0.0
    count_seconds: float = 0.0
    statement_us: dict[int, tuple[float, float]] = field(default_factory=dict)


async def try_out(owner_url: str, mapping: QueueMapping) -> tuple[Adopted, Trial]:
    """Checks the mapping, and tries everything on a copy of 10,000 rows at most, in a transaction that is rolled back.

    Raises CommandError as `check`, and where the database refuses what is tried.
    """
    async with connect(owner_url) as connection:
        adopted = await check(connection, mapping)
        transaction = connection.transaction()
        await transaction.start()
        try:
            return adopted, await _try_on_copy(connection, adopted, mapping)
        except asyncpg.InvalidObjectDefinitionError as error:
            raise CommandError(
                f"The mapping depends on more than the row: {str(error).splitlines()[0]}."
                " What a message counts as must not change by itself: no time, no setting, no other table."
            ) from None
        finally:
            await transaction.rollback()


async def _try_on_copy(connection: Any, adopted: Adopted, mapping: QueueMapping) -> Trial:
    table = await find_table(connection, mapping.table)
    columns = ", ".join(map(quote, table["columns"]))
    await connection.execute(
        f"CREATE SCHEMA {TRIAL_SCHEMA}; CREATE TABLE {COPY} (LIKE {adopted.queue} INCLUDING ALL);"
        f" CREATE TABLE {TRIAL_SCHEMA}.rows AS SELECT row_number() OVER () AS trial_number, {columns}"
        f" FROM (SELECT * FROM {adopted.queue} LIMIT {TRIAL_ROWS}) AS sample;"
        f" CREATE INDEX ON {TRIAL_SCHEMA}.rows (trial_number)"
    )
    rows = await connection.fetchval(f"SELECT count(*) FROM {TRIAL_SCHEMA}.rows")
    trial = Trial(rows, int(table["estimated_rows"]), table["may_create_roles"])
    tried = msgspec.structs.replace(adopted, queue=COPY, values=adopted.values | {"queue_literal": f"'{COPY}'"})
    trial.parts = await fetch(connection, "queries/adopt/parts", table_name=adopted.queue)
    counted = CountedTable(TRIAL_SCHEMA, tried, schema=TRIAL_SCHEMA)
    await _install(connection, counted, trial)
    # An index takes only what depends on the row alone.
    mapped = ", ".join(f"({tried.values[each]})" for each in ("sender", "account", "campaign", "isp", "status", "id"))
    index = f"CREATE INDEX only_the_row ON {COPY} ({mapped}) WHERE {tried.values['condition']}"
    await connection.execute(
        f"SET LOCAL search_path = {adopted.search_path}; {counted.in_schema(index)};"
        f" DROP INDEX {TRIAL_SCHEMA}.only_the_row; SET LOCAL search_path = {TRIAL_SCHEMA}"
    )
    insert = f"INSERT INTO {COPY} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {TRIAL_SCHEMA}.rows"
    if trial.rows >= TURNS * 2 * max(BATCHES):
        await _measure(connection, insert, table["changed_column"], trial)
    await connection.execute(insert)
    await _require_stored(connection, mapping)
    began = time.perf_counter()
    await connection.execute(f"SELECT {TRIAL_SCHEMA}.rebuild()")
    trial.count_seconds = time.perf_counter() - began
    if await connection.fetchval(f"SELECT count(*) FROM {TRIAL_SCHEMA}.audit()"):
        raise CommandError("The counts of the copy differ from a recount: this mapping can't be counted.")
    return trial


async def _require_stored(connection: Any, mapping: QueueMapping) -> None:
    """What hold and release write is allowed, and counts as what it stands for."""
    view = f"{TRIAL_SCHEMA}.queued_messages"
    messages = await connection.fetchval(f"SELECT count(*) FROM {view}")
    for status, word in mapping.stored.items():
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"UPDATE {view} SET stored_status = {TRIAL_SCHEMA}.stored_status($1)", status)
            found = await connection.fetchval(f"SELECT count(*) FROM {view} WHERE status = $1", status)
        except asyncpg.PostgresError as error:
            raise CommandError(
                f"The mapping's stored.{status}, {word}, can't be written: {str(error).splitlines()[0]}."
            ) from None
        finally:
            await transaction.rollback()
        if found != messages:
            raise CommandError(
                f"The mapping's stored.{status} is {word}, but its status does not map {word} back to {status}."
            )


async def _measure(connection: Any, insert: str, changed: str, trial: Trial) -> None:
    """Inserts, updates and deletes the rows of the copy in statements of each size, with and without our triggers."""
    for size, statements in BATCHES.items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(2 * TURNS):
            is_counted = turn % 2 == 1
            await connection.execute(f"ALTER TABLE {COPY} {'ENABLE' if is_counted else 'DISABLE'} TRIGGER USER")
            for number in range(min(statements, trial.rows // size)):
                rows = f"WHERE trial_number > {number * size} AND trial_number <= {(number + 1) * size}"
                began = time.perf_counter()
                at = [each["ctid"] for each in await connection.fetch(f"{insert} {rows} RETURNING ctid")]
                update = f"UPDATE {COPY} SET {changed} = {changed} WHERE ctid = ANY ($1::tid[]) RETURNING ctid"
                at = [each["ctid"] for each in await connection.fetch(update, at)]
                await connection.execute(f"DELETE FROM {COPY} WHERE ctid = ANY ($1::tid[])", at)
                seconds[is_counted].append((time.perf_counter() - began) / 3)
        without, counted = (1e6 * statistics.median(seconds[each]) for each in (False, True))
        trial.statement_us[size] = (without, counted)
    await connection.execute(f"ALTER TABLE {COPY} ENABLE TRIGGER USER")


async def _install(connection: Any, table: CountedTable, trial: Trial) -> None:
    await connection.execute(f"SET LOCAL search_path = {TRIAL_SCHEMA}")
    for definition in table.definitions():
        await connection.execute(definition)
    for parts in table.parts:
        began = time.perf_counter()
        await connection.execute(table.render(parts))
        trial.attach_seconds = time.perf_counter() - began


def statements(adopted: Adopted, parts: Sequence[Any]) -> str:
    """All that `attach` runs, as SQL. `parts`: the partitions of the table, rows of sql/queries/adopt/parts.sql."""
    revisions = io.StringIO()
    config = alembic_config()
    config.output_buffer = revisions
    command.upgrade(config, "head", sql=True)
    table = CountedTable("queuestats", adopted)
    files = [f"-- sql/{'/'.join(parts)}\n{table.render(parts)}" for parts in table.parts]
    begin = "SET search_path = queuestats; SET lock_timeout = '100ms';"
    mapping = literal(msgspec.json.encode(adopted).decode())
    adopt = f"DROP TABLE messages;\n\nINSERT INTO adopted (mapping) VALUES ({mapping});"
    hashes = ", ".join(f"({literal(parts[-1])}, {literal(table.hash_of(parts))})" for parts in table.parts)
    last = [f"INSERT INTO repeatable_migrations (name, hash) VALUES {hashes};", "SELECT queuestats.rebuild();"]
    last.append("UPDATE adopted SET definition = queuestats.mapping_definition();")
    if adopted.names:
        last.append("SELECT queuestats.remember_names();")
    if adopted.needs_index:
        last.append(f"SET search_path = {adopted.search_path};")
        last += [f"{each};" for each in _index_definitions(adopted, parts)]
    roles = sql_path("roles.sql").read_text("utf-8")
    return "\n\n".join((begin, revisions.getvalue(), adopt, *files, *last, f"-- sql/roles.sql\n{roles}"))


async def attach(owner_url: str, service_url: str | None, adopted: Adopted, tell: Callable[[str], None]) -> None:
    """Counts the table from now on, while it is written. A second time it changes the mapping, and counts anew.

    Raises CommandError where this database counts a table of its own, or another one.
    """
    await migrate(owner_url, service_url, tell, adopted=adopted)
    async with changing_schema(owner_url, "queuestats") as connection:
        if adopted.needs_index:
            await _make_index(connection, adopted)
            tell(f"Index {INDEX} of {adopted.queue}.")


async def _make_index(connection: Any, adopted: Adopted) -> None:
    """Online: on a partition without a lock that writers wait for, on the table with one that is asked for briefly."""
    found = await attached(connection)
    # One that was not finished, or is of a former key, would be taken for the one that is wanted.
    await _drop_indexes(connection, found)
    parts = await fetch(connection, "queries/adopt/parts", table_name=adopted.queue)
    for part in parts:
        if part["is_leaf"]:
            await _without_limits(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {part['schema']}.{part['index']}")
    await connection.execute(f"SET search_path = {adopted.search_path}")
    for definition in _index_definitions(adopted, parts):
        if "CONCURRENTLY" in definition:
            await _without_limits(connection, definition)
        else:
            await trying_for_lock(partial(connection.execute, definition), connection)


async def detach(owner_url: str, tell: Callable[[str], None]) -> str:
    """Takes all that is ours away, first the triggers; the name of the table, which is as it was.

    Raises CommandError where nothing is adopted, or something else would go along.
    """
    async with changing_schema(owner_url, "queuestats") as connection:
        found = await attached(connection)
        if not found or not (found["is_adopted"] or found["is_begun"]):
            raise CommandError("Nothing is adopted in this database.")
        own_tables = [each.name for each in metadata.sorted_tables] + ["alembic_version"]
        if strangers := await fetch(connection, "queries/adopt/strangers", own_tables=own_tables):
            names = ", ".join(each["name"] for each in strangers)
            raise CommandError(f"With the schema queuestats these would go, which are not ours: {names}.")
        queue: str = found["queue"] or "The table"
        if found["triggers"]:
            drops = "; ".join(f"DROP TRIGGER {each} ON {queue}" for each in found["triggers"])
            # From here on the counts are stale.
            drops += "; DELETE FROM queuestats.baseline"
            await trying_for_lock(lambda: connection.execute(drops), connection)
            tell(f"Triggers of {queue}.")
        await _drop_indexes(connection, found)
        await connection.execute("DROP SCHEMA queuestats CASCADE")
        tell("The schema queuestats.")
        return queue


async def _drop_indexes(connection: Any, found: Any) -> None:
    for index in found["indexes"]:
        # Only the index of a table without partitions can go without a lock.
        if found["is_partitioned"]:
            await trying_for_lock(partial(connection.execute, f"DROP INDEX {index}"), connection)
        else:
            await _without_limits(connection, f"DROP INDEX CONCURRENTLY {index}")


async def _without_limits(connection: Any, statement: str) -> None:
    """Nobody waits for it, and it waits for whoever has an old snapshot."""
    await connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    await connection.execute(statement)
    await connection.execute(LIMITS)


def _index_definitions(adopted: Adopted, parts: Sequence[Any]) -> list[str]:
    """Of the index on `id`, online. With partitions: one for each, concurrently, and attached to that of its parent."""
    expression = f"(({adopted.values['id']}))"
    if not parts:
        return [f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX} ON {adopted.queue} {expression}"]
    found = []
    for part in parts:
        how, only = ("CONCURRENTLY ", "") if part["is_leaf"] else ("", "ONLY ")
        found.append(f"CREATE INDEX {how}IF NOT EXISTS {part['index']} ON {only}{part['name']} {expression}")
        if part["parent_index"]:
            found.append(f"ALTER INDEX {part['parent_index']} ATTACH PARTITION {part['schema']}.{part['index']}")
    return found

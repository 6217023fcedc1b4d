"""Checks whether a mapping can count a table: checks the table, the expressions and every row, and counts a copy of
some rows in a transaction that is rolled back."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from service.adoption.attach import index_steps
from service.cluster.commands import require_table_of_one_machine
from service.db import (
    Connection,
    InsufficientPrivilegeError,
    InvalidObjectDefinitionError,
    PostgresError,
    ReadOnlySQLTransactionError,
    Record,
    connect,
    fetch,
)
from service.db.statements import load_statement, read_sql
from service.errors import CommandError
from service.schema.columns import grouping_set, message_status
from service.schema.files import Adopted, adopted_table, table_definitions
from service.schema.mapping import TRIAL_SCHEMA, QueueMapping, counted_values, derive, find_table, in_parentheses
from service.schema.migrate import require_encoding

# The numbers of rows of the measured statements, and of repetitions, which alternate with and without our triggers.
BATCHES = {1: 100, 500: 4}
TURNS = 5

Places = Mapping[str, str]


@dataclass(slots=True)
class Trial:
    """Measurements on a copy of some rows. `statement_us`: by the rows of a statement, without and with triggers.

    `table_rows`: the planner's estimate of the table's rows; -1: no estimate. `index`: rows of `index_steps`.
    """

    rows: int
    table_rows: int
    may_create_roles: bool
    index: list[Record]
    attach_seconds: float = 0.0
    count_seconds: float = 0.0
    statement_us: dict[int, tuple[float, float]] = field(default_factory=dict)


async def try_out(owner_url: str, mapping: QueueMapping) -> tuple[Adopted, Trial]:
    """Checks the mapping, and tests it on a copy of at most 10,000 rows.

    Raises CommandError as `check`, and if the database refuses a statement of the test.
    """
    async with connect(owner_url) as connection:
        table, adopted = await check(connection, mapping)
        transaction = connection.transaction()
        await transaction.start()
        try:
            return adopted, await _try_on_copy(connection, table, adopted, mapping)
        except InvalidObjectDefinitionError as error:
            raise CommandError(
                f"The mapping depends on more than the row: {error.message}."
                " Its result must not depend on the time, on a setting or on another table."
            ) from None
        finally:
            await transaction.rollback()


async def check(connection: Connection, mapping: QueueMapping) -> tuple[Record, Adopted]:
    """The table, and the mapping as SQL. Reads the catalog and the whole table; `connection` has no open transaction.

    Raises CommandError with the fault of the table or of the mapping.
    """
    await require_encoding(connection)
    table = await find_table(connection, mapping)
    (layout,) = await fetch(connection, "queries/layout", messages_schema="queuestats")
    if layout["is_foreign"]:
        raise CommandError("The schema queuestats of this database belongs to another application: rename it first.")
    if table["refusal"]:
        raise CommandError(table["refusal"])
    await require_table_of_one_machine(connection, table["qualified_name"])
    adopted = await derive(connection, table, mapping)
    try:
        # With this setting of the session, rows that a policy hides are an error.
        await connection.execute("SET row_security = off")
        # A rollback does not undo nextval(); a read-only transaction refuses it.
        async with connection.transaction(readonly=True):
            await _require_rows(connection, adopted, mapping)
    except ReadOnlySQLTransactionError as error:
        raise CommandError(f"The mapping writes to the database: {error.message}.") from None
    except InsufficientPrivilegeError:
        raise CommandError(
            f"Row-level security hides rows of {mapping.table} from the role of QUEUESTATS_ADMIN_DATABASE_URL:"
            " it must own the table, or have BYPASSRLS."
        ) from None
    return table, adopted


async def _require_rows(connection: Connection, adopted: Adopted, mapping: QueueMapping) -> None:
    """Raises CommandError with the rows that do not fit."""
    places = adopted_table(adopted).places
    rows = await fetch(connection, "adopt/wrong_rows", places)
    if without := sum(row["without_sender"] for row in rows):
        raise CommandError(
            f"{without:,} rows have a sender that is NULL or not above 0: exclude them in the mapping's where."
        )
    # Hold and release find a message by the key of the mapping.
    if mapping.key and mapping.stored:
        key = {"key": in_parentheses(mapping.key)}
        for row in await fetch(connection, "adopt/same_key", {**places, **key}):
            raise CommandError(f"The mapping's key does not identify a row: several rows have {row['key'] or 'none'}.")
    if rows:
        wrong = ", ".join(f"{row['rows']:,} rows to {row['status'] or 'nothing'}" for row in rows)
        raise CommandError(
            f"The mapping's status maps {wrong}, which is none of {', '.join(message_status.enums)}:"
            " map it, or exclude these rows in the mapping's where."
        )
    if not adopted.names:
        return
    for row in await fetch(connection, "adopt/same_number", places):
        raise CommandError(
            f"The keys {row['one']} and {row['other']} have the same number, and would be counted as one: change the"
            " mapping, so that one of them gets another text."
        )


async def _try_on_copy(connection: Connection, table: Record, adopted: Adopted, mapping: QueueMapping) -> Trial:
    values = adopted.values | counted_values(adopted.values, TRIAL_SCHEMA)
    copied = msgspec.structs.replace(adopted, queue=f"{TRIAL_SCHEMA}.copy", values=values)
    copy = adopted_table(copied, TRIAL_SCHEMA)
    places = {**copy.places, **{name: table[name] for name in ("writable_columns", "changed_column")}}
    await connection.execute(read_sql("adopt/trial/create", places | {"messages": table["qualified_name"]}))
    (size,) = await fetch(connection, "adopt/trial/size", places)
    index = await index_steps(connection, adopted)
    trial = Trial(size["rows"], int(table["estimated_rows"]), table["may_create_roles"], index)
    for definition in table_definitions(TRIAL_SCHEMA, [grouping_set, message_status]):
        await connection.execute(definition)
    for file in copy.files():
        began = time.perf_counter()
        await connection.execute(file.text)
        trial.attach_seconds = time.perf_counter() - began
    await connection.execute(read_sql("adopt/trial/only_the_row", places))
    if trial.rows >= TURNS * 2 * max(BATCHES):
        for rows in BATCHES:
            trial.statement_us[rows] = await _measure(connection, places, rows, trial.rows)
        await fetch(connection, "adopt/trial/enable_triggers", places)
    await fetch(connection, "adopt/trial/insert", places, first=1, last=trial.rows)
    await _require_stored(connection, places, mapping)
    began = time.perf_counter()
    await fetch(connection, "queries/rebuild", places, sender_id=None)
    trial.count_seconds = time.perf_counter() - began
    if await fetch(connection, "queries/differences", places, sender_id=None):
        raise CommandError("The counts of the copy differ from a recount: this mapping can't be counted.")
    return trial


async def _require_stored(connection: Connection, places: Places, mapping: QueueMapping) -> None:
    """The table accepts the values that hold and release write, and the mapping reads them back as the same status."""
    (messages,) = await fetch(connection, "adopt/trial/messages", places, status=None)
    for status, word in mapping.stored.items():
        transaction = connection.transaction()
        await transaction.start()
        try:
            await fetch(connection, "adopt/trial/store", places, status=status)
            (found,) = await fetch(connection, "adopt/trial/messages", places, status=status)
        except PostgresError as error:
            raise CommandError(f"The mapping's stored.{status}, {word}, can't be written: {error.message}.") from None
        finally:
            await transaction.rollback()
        if found != messages:
            raise CommandError(
                f"The mapping's stored.{status} is {word}, but its status does not map {word} back to {status}."
            )


async def _measure(connection: Connection, places: Places, rows: int, most_rows: int) -> tuple[float, float]:
    """Microseconds of a statement that inserts, updates or deletes this many rows, without and with our triggers."""
    insert, update, delete = (load_statement(f"adopt/trial/{name}", places) for name in ("insert", "update", "delete"))
    seconds: dict[str, list[float]] = {"disable": [], "enable": []}
    for switch in tuple(seconds) * TURNS:
        await fetch(connection, f"adopt/trial/{switch}_triggers", places)
        for first in range(1, min(BATCHES[rows] * rows, most_rows) + 1, rows):
            began = time.perf_counter()
            inserted = await connection.fetch(insert.sql, *insert.bind({"first": first, "last": first + rows - 1}))
            updated = await connection.fetch(update.sql, [row["address"] for row in inserted])
            await connection.fetch(delete.sql, [row["address"] for row in updated])
            seconds[switch].append((time.perf_counter() - began) / 3)
    without, counted = (1e6 * statistics.median(measured) for measured in seconds.values())
    return without, counted

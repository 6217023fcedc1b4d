"""The mapping of an existing table: expressions over its columns, and the SQL for them."""

import asyncpg
import msgspec

from service.db import Connection, fetch
from service.db.statements import literal, read_sql
from service.errors import CommandError
from service.schema.columns import SCHEMA, message_status
from service.schema.files import Adopted

INTEGERS = {"int2", "int4", "int8"}
TEXTS = {"text", "varchar", "bpchar", "uuid", "citext"}
KEYS = ("sender", "account", "campaign")
# The valid types of each expression, also in words.
ALLOWED = {
    **dict.fromkeys(KEYS, (INTEGERS | TEXTS, "an integer, text or uuid")),
    **dict.fromkeys(("isp", "status"), (TEXTS, "text")),
    "where": ({"bool"}, "true or false"),
    "created": ({"timestamptz"}, "a timestamp with time zone"),
}
STATUSES = tuple(message_status.enums)
# The version of the rules that convert a mapping to SQL. If a change affects counts, `renew` has to consider it.
VERSION = 3
# A schema that exists only in transactions that are rolled back.
TRIAL_SCHEMA = "queuestats_trial"
# The search_path of the functions whose text contains the expressions of a mapping.
FUNCTION_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"


class QueueMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mapping as its owner writes it: expressions over the columns of `table`.

    `where`: the rows that are queued. `created`: the time of arrival, without which the age of the queue is unknown.
    `key`: identifies a row, by default the primary key. `status_column` and `stored`: the column that hold and
    release write, and its value for each status.
    """

    table: str
    sender: str
    status: str
    account: str = "0"
    campaign: str = "0"
    isp: str = "''"
    where: str = "true"
    created: str = ""
    key: str = ""
    status_column: str = ""
    stored: dict[str, str] = {}


async def find_table(connection: Connection, mapping: QueueMapping) -> asyncpg.Record:
    """The row of sql/queries/adopt/table.sql. Raises CommandError if there is no such table."""
    values = {"table_name": mapping.table, "is_holdable": bool(mapping.status_column)}
    try:
        (table,) = await fetch(connection, "queries/adopt/table", **values)
    except (asyncpg.PostgresError, ValueError):
        raise CommandError(f"There is no table {mapping.table} in this database.") from None
    return table


async def renew(connection: Connection, former: Adopted) -> Adopted | None:
    """A mapping of a former version by the rules of this one; None if it is of this version.

    Raises CommandError if it no longer fits the table.
    """
    if former.version == VERSION:
        return None
    if not former.source:
        raise CommandError("A former version did not store the mapping: run `queuestats adopt --attach` with it.")
    mapping = msgspec.convert(former.source, QueueMapping)
    await connection.execute(f"SET search_path = {former.search_path}")
    try:
        return await derive(connection, await find_table(connection, mapping), mapping)
    except CommandError as error:
        raise CommandError(f"{error} The mapping does not fit: run `queuestats adopt --attach` with it.") from None
    finally:
        await connection.execute(f"SET search_path = {SCHEMA}")


async def derive(connection: Connection, table: asyncpg.Record, mapping: QueueMapping) -> Adopted:
    """The mapping as SQL. `connection` has no open transaction. Raises CommandError with the fault of an expression."""
    written = {name: expression for name in ALLOWED if (expression := getattr(mapping, name))}
    types = {name: await _type_of(connection, table, name, each) for name, each in written.items()}
    for name, type_ in types.items():
        allowed, what = ALLOWED[name]
        if type_ not in allowed:
            raise CommandError(f"The mapping's {name} is of the type {type_}; it must be {what}.")
    id_, is_column = await _id(connection, table, mapping)
    used, qualified = await _compile(connection, table, {**written, "id": id_})
    own = _own(qualified, types)
    values = {
        **own,
        **counted_values(own, SCHEMA),
        **await _stored(connection, table, mapping),
        **{name: used[name] for name in ("try_columns", "column_names")},
        **_arrival(own, qualified.get("created", "")),
        "condition": f"({own['own_where']} IS TRUE)",
        "id": qualified["id"],
    }
    return Adopted(
        queue=table["qualified_name"],
        values=values,
        names=tuple(f'CAST({own[f"{name}_text"]} AS text) COLLATE "C"' for name in KEYS if types[name] in TEXTS),
        columns=tuple(used["columns"]),
        is_partitioned=table["is_partitioned"],
        indexes=_indexes(values, is_id_a_column=is_column),
        search_path=table["search_path"],
        source=msgspec.to_builtins(mapping),
        version=VERSION,
        has_collations=used["has_collations"],
    )


def counted_values(own: dict[str, str], schema: str) -> dict[str, str]:
    """The values of a row as a message. `own`: the expressions from `_own`; `schema` has the functions."""
    keys = {}
    for name in KEYS:
        number, text = own[f"{name}_number"], own[f"{name}_text"]
        keys[name] = f"CAST({number} AS bigint)" if text == "NULL" else f"{schema}.key_id(CAST({text} AS text))"
    return {
        "sender": keys["sender"],
        "account": f"greatest(coalesce({keys['account']}, 0), 0)",
        "campaign": f"greatest(coalesce({keys['campaign']}, 0), 0)",
        "isp": f"{schema}.isp_of(CAST({own['own_isp']} AS text))",
        "status": f"{schema}.status_of(CAST({own['own_status']} AS text))",
    }


def _arrival(own: dict[str, str], created: str) -> dict[str, str]:
    """The keys for look-ups of the oldest messages. The index on the table uses no function of our schema."""
    sender = f"CAST({own['sender_number']} AS bigint)"
    if own["sender_text"] != "NULL":  # as key_id
        text = f'CAST({own["sender_text"]} AS text) COLLATE "C"'
        sender = f"greatest(hashtextextended({text}, 0) & 9223372036854775807, 1)"
    return {
        "created": created,
        "arrival_sender": f"({sender})",
        "arrival_status": f'(CAST({own["own_status"]} AS text) COLLATE "C")',
    }


def _indexes(values: dict[str, str], *, is_id_a_column: bool) -> dict[str, str]:
    found = {}
    if values["is_holdable"] == "true" and not is_id_a_column:
        found["queuestats_message_id"] = f"(({values['id']}))"
    if created := values["created"]:
        keys = f"{values['arrival_sender']}, {values['arrival_status']}, ({created})"
        found["queuestats_arrival"] = f"({keys}) WHERE {values['condition']}"
    return found


def in_parentheses(expression: str) -> str:
    # A comment at the end of an expression must not include the parenthesis.
    return f"({expression}\n)" if "--" in expression else f"({expression})"


def _own(expressions: dict[str, str], types: dict[str, str]) -> dict[str, str]:
    """The expressions in PostgreSQL's spelling, for sql/adopt/recount.sql."""
    own = {f"own_{name}": expressions[name] for name in ("isp", "status", "where")}
    for name in KEYS:
        kind, other = ("number", "text") if types[name] in INTEGERS else ("text", "number")
        own |= {f"{name}_{kind}": expressions[name], f"{name}_{other}": "NULL"}
    return own


async def _type_of(connection: Connection, table: asyncpg.Record, name: str, expression: str) -> str:
    places = {"expression": in_parentheses(expression), "messages": table["qualified_name"]}
    try:
        prepared = await connection.prepare(read_sql("adopt/expression", places))
    except asyncpg.PostgresError as error:
        raise CommandError(f"The mapping's {name} does not compile: {error.message}.") from None
    attributes = prepared.get_attributes()
    if len(attributes) != 1 or prepared.get_parameters():
        raise CommandError(f"The mapping's {name} must be one expression over the columns of {table['name']}.")
    return attributes[0].type.name


async def _id(connection: Connection, table: asyncpg.Record, mapping: QueueMapping) -> tuple[str, bool]:
    """The expression that identifies a message by a number; and whether it is a column."""
    if not mapping.key and not table["key"]:
        raise CommandError(f"{table['name']} has no primary key: use --key for an expression that identifies a row.")
    columns = table["key"] if not mapping.key else [in_parentheses(mapping.key)]
    is_integer = [await _type_of(connection, table, "key", column) in INTEGERS for column in columns]
    if is_integer == [True]:
        return f"CAST({columns[0]} AS bigint)", not mapping.key
    return f"hash_record_extended(ROW({', '.join(columns)}), 0)", False


async def _compile(
    connection: Connection, table: asyncpg.Record, expressions: dict[str, str]
) -> tuple[asyncpg.Record, dict[str, str]]:
    """The row of sql/queries/adopt/used.sql, and the expressions with qualified names.

    Raises CommandError if a trigger does not see the value of a column, or a name can't be qualified.
    """
    listed = ", ".join(f"{in_parentheses(each)} AS expression_{name}" for name, each in expressions.items())
    places = {"schema": TRIAL_SCHEMA, "messages": table["qualified_name"], "expressions": listed}
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(read_sql("adopt/trial/used", places))
        names = {"view_name": f"{TRIAL_SCHEMA}.used", "table_name": table["qualified_name"]}
        async with connection.transaction():
            await connection.execute(FUNCTION_PATH)
            (used,) = await fetch(connection, "queries/adopt/used", **names)
            await connection.execute(f"SET LOCAL search_path = {table['search_path']}")
        _require_visible(table, used)
        return used, {name: await _qualify(connection, table, name, each) for name, each in expressions.items()}
    finally:
        await transaction.rollback()


async def _qualify(connection: Connection, table: asyncpg.Record, name: str, expression: str) -> str:
    """The expression with qualified names. `connection` is in a transaction that has created the trial's schema."""
    places = {"schema": TRIAL_SCHEMA, "messages": table["qualified_name"]}
    found = []
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        # With the search_path of the mapping, and with that of the functions whose text contains the expression.
        for _ in range(2):
            file = read_sql("adopt/trial/qualified", {**places, "expression": in_parentheses(expression)})
            await connection.execute(file)
            await connection.execute(FUNCTION_PATH)
            found += await fetch(connection, "queries/adopt/qualified", table_name=f"{TRIAL_SCHEMA}.queuestats_row")
            expression = found[0]["definition"].removeprefix("(").removesuffix(" IS NULL)")
    finally:
        await savepoint.rollback()
    if found[0]["used"] != found[1]["used"]:
        raise CommandError(
            f"The mapping's {name} uses an operator that PostgreSQL writes without its schema: write CASE WHEN x = y"
            " instead of CASE x WHEN y, NULLIF or IS DISTINCT FROM, or cast the column to text."
        )
    return f"({expression})"


def _require_visible(table: asyncpg.Record, used: asyncpg.Record) -> None:
    """Raises CommandError if a trigger does not see the value of a column."""
    if used["system_column"]:
        raise CommandError(f"The mapping names a system column of {table['name']}: a trigger does not see its value.")
    if used["virtual_column"]:
        raise CommandError(
            f"The mapping names {used['virtual_column']}, a generated column that is not stored: a trigger does"
            " not see its value. Use the expression of the column instead."
        )


async def _stored(connection: Connection, table: asyncpg.Record, mapping: QueueMapping) -> dict[str, str]:
    """How hold and release write a status."""
    stored = mapping.stored
    if unknown := sorted(stored.keys() - set(STATUSES)):
        raise CommandError(f"The mapping's stored has {unknown[0]}, which is none of {', '.join(STATUSES)}.")
    if bool(stored) != bool(mapping.status_column) or (stored and not {"new", "hold"} <= stored.keys()):
        raise CommandError(
            "For hold and release, the mapping needs status_column, and stored for at least new and hold."
        )
    if not stored:
        nothing = dict.fromkeys((f"stored_{status}" for status in STATUSES), "NULL")
        # No statement writes this column.
        return {"stored_column": "queuestats_none", "stored_type": "text", "is_holdable": "false", **nothing}
    names = {"table_name": table["qualified_name"], "column_name": mapping.status_column}
    async with connection.transaction():
        await connection.execute(FUNCTION_PATH)
        found = await fetch(connection, "queries/adopt/stored", **names)
    if not found:
        raise CommandError(f"{table['name']} has no writable column {mapping.status_column}.")
    values = {**found[0], "is_holdable": "true"}
    for status in STATUSES:
        value = literal(stored.get(status, stored["new"]))
        expression = f"CAST({value} AS {values['stored_type']})"
        try:
            await connection.fetch(read_sql("adopt/stored_value", {"expression": expression}))
        except asyncpg.PostgresError as error:
            fault = f"stored.{status} is no value of {mapping.status_column}"
            raise CommandError(f"The mapping's {fault}: {error.message}.") from None
        values[f"stored_{status}"] = value
    return values

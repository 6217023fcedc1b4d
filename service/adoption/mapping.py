"""The mapping of a table that exists already: what of its rows is the sender, the account and so on.

It is checked against the catalog, and made the SQL that the files of sql/adopt/ are filled with.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

from service.adoption.rows import require_rows
from service.db.connect import fetch
from service.db.statements import literal
from service.errors import CommandError
from service.schema.files import Adopted

INTEGERS = {"int2", "int4", "int8"}
TEXTS = {"text", "varchar", "bpchar", "uuid", "citext"}
KEYS = ("sender", "account", "campaign")
# What each expression may be, and that in words.
ALLOWED = {
    **dict.fromkeys(KEYS, (INTEGERS | TEXTS, "an integer, text or uuid")),
    **dict.fromkeys(("isp", "status"), (TEXTS, "text")),
    "where": ({"bool"}, "true or false"),
}
STATUSES = ("new", "proc", "retry", "hold")
# Of the rules by which a mapping becomes SQL. A change of what they count belongs into `renew`.
VERSION = 1
# Exists only in transactions that are rolled back.
TRIAL_SCHEMA = "queuestats_trial"
USED_VIEW = f"{TRIAL_SCHEMA}.used"
# A name that no mapping writes: an expression is over columns, never over the whole row, which has other columns in a
# function.
ROW_ALIAS = "queuestats_row"


class QueueMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """As its owner writes it: expressions over the columns of `table`, where something is left out its default.

    `where`: the rows that are queued. `key`: what tells rows apart, by default the primary key. `status_column` and
    `stored`: the column that hold and release write, and what they write there for each status.
    """

    table: str
    sender: str
    status: str
    account: str = "0"
    campaign: str = "0"
    isp: str = "''"
    where: str = "true"
    key: str = ""
    status_column: str = ""
    stored: dict[str, str] = {}


async def check(connection: Any, mapping: QueueMapping) -> Adopted:
    """The mapping as SQL. It reads the catalog, and the whole table; it changes nothing.

    `connection` is in no transaction. Raises CommandError with a sentence that names what is wrong with the table or
    the mapping.
    """
    table = await find_table(connection, mapping.table)
    (layout,) = await fetch(connection, "queries/layout", messages_schema="queuestats")
    if layout["is_foreign"]:
        raise CommandError("The schema queuestats of this database holds something else: rename it first.")
    _require_countable(table)
    _require_rights(table, mapping)
    adopted = await _derive(connection, table, mapping)
    await require_rows(connection, adopted)
    return adopted


async def renew(connection: Any, former: Adopted) -> Adopted | None:
    """A mapping of a former version by the rules of this one; None where it is of this one.

    Raises CommandError where it does not fit the table any more.
    """
    if former.version == VERSION or not former.source:
        return None
    mapping = msgspec.convert(former.source, QueueMapping)
    await connection.execute(f"SET search_path = {former.search_path}")
    try:
        return await _derive(connection, await find_table(connection, mapping.table), mapping)
    except CommandError as error:
        raise CommandError(f"{error} The mapping does not fit: run `queuestats adopt --attach` with it.") from None
    finally:
        await connection.execute("SET search_path = queuestats")


async def _derive(connection: Any, table: Mapping[str, Any], mapping: QueueMapping) -> Adopted:
    types = {
        name: await _type_of(connection, table, mapping, name) for name in (*ALLOWED, *(["key"] if mapping.key else []))
    }
    for name, (allowed, what) in ALLOWED.items():
        if types[name] not in allowed:
            raise CommandError(f"The mapping's {name} is of the type {types[name]}; it must be {what}.")
    keys = {name: _key(getattr(mapping, name), types[name]) for name in KEYS}
    id_, needs_index = await _id(connection, table, mapping, types)
    columns, has_collations = await _columns(connection, table, mapping, id_)
    values = {
        "sender": keys["sender"],
        "account": f"greatest(coalesce({keys['account']}, 0), 0)",
        "campaign": f"greatest(coalesce({keys['campaign']}, 0), 0)",
        "isp": f"queuestats.isp_of(CAST({in_parentheses(mapping.isp)} AS text))",
        "status": f"queuestats.status_of(CAST({in_parentheses(mapping.status)} AS text))",
        "condition": f"({in_parentheses(mapping.where)} IS TRUE)",
        "id": id_,
        "queue_literal": literal(table["qualified_name"]),
        **_own(mapping, types),
        **await _stored(connection, table, mapping),
        **columns,
    }
    texts = [getattr(mapping, name) for name in keys if types[name] in TEXTS]
    return Adopted(
        table["qualified_name"],
        values,
        tuple(f'CAST({in_parentheses(each)} AS text) COLLATE "C"' for each in texts),
        table["kind"] == "p",
        needs_index and values["is_holdable"] == "true",
        table["search_path"],
        msgspec.to_builtins(mapping),
        VERSION,
        has_collations,
    )


def _own(mapping: QueueMapping, types: Mapping[str, str]) -> dict[str, str]:
    """The expressions as they are written, for sql/adopt/recount.sql."""
    found = {f"own_{name}": in_parentheses(getattr(mapping, name)) for name in ("isp", "status", "where")}
    for name in KEYS:
        kind, other = ("number", "text") if types[name] in INTEGERS else ("text", "number")
        found |= {f"{name}_{kind}": in_parentheses(getattr(mapping, name)), f"{name}_{other}": "NULL"}
    return found


async def _columns(
    connection: Any, table: Mapping[str, Any], mapping: QueueMapping, id_: str
) -> tuple[dict[str, str], bool]:
    """The table's columns up to the last one that the mapping names, and those that it names; `has_collations`."""
    expressions = [*(in_parentheses(getattr(mapping, name)) for name in ALLOWED), id_]
    listed = ", ".join(f"{expression} AS part_{number}" for number, expression in enumerate(expressions))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            f"CREATE SCHEMA {TRIAL_SCHEMA}; CREATE VIEW {USED_VIEW} AS SELECT {listed}"
            f" FROM {table['qualified_name']} AS {ROW_ALIAS}"
        )
        rows = await fetch(
            connection, "queries/adopt/used_columns", view_name=USED_VIEW, table_name=table["qualified_name"]
        )
        ((has_collations,),) = await fetch(connection, "queries/adopt/has_collations", view_name=USED_VIEW)
    finally:
        await transaction.rollback()
    places = sorted(_place(table, row["number"]) for row in rows)
    columns = [quote(each) for each in table["every_column"][: max(places, default=0) + 1]]
    collations = [f" COLLATE {each}" if each else "" for each in table["every_collation"]]
    return {
        "columns": ", ".join(columns),
        "used_columns": ", ".join(columns[each] for each in places),
        "arguments": ", ".join(f"of_{number} {table['every_type'][each]}" for number, each in enumerate(places)),
        "named_arguments": ", ".join(
            f"of_{number}{collations[each]} AS {columns[each]}" for number, each in enumerate(places)
        ),
    }, has_collations


def _place(table: Mapping[str, Any], number: int) -> int:
    """Of a column among those of the table. Raises CommandError where no trigger sees its value."""
    if number < 0:
        raise CommandError(f"The mapping names a system column of {table['name']}: a trigger does not see its value.")
    place: int = table["numbers"].index(number)
    if number in table["virtual"]:
        raise CommandError(
            f"The mapping names {table['every_column'][place]}, a generated column that is not stored: a trigger does"
            " not see its value. Write its expression in its place."
        )
    return place


async def find_table(connection: Any, name: str) -> Mapping[str, Any]:
    """Raises CommandError where there is no such table."""
    try:
        found = await fetch(connection, "queries/adopt/table", table_name=name)
    except asyncpg.PostgresError:
        found = []
    if not found:
        raise CommandError(f"There is no table {name} in this database.")
    return dict(found[0])


def _require_countable(table: Mapping[str, Any]) -> None:
    kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
    name: str = table["name"]
    if table["persistence"] == "t":
        raise CommandError(f"{name} is a temporary table: only its own session sees it.")
    if table["kind"] not in ("r", "p"):
        what = kinds.get(table["kind"], "no table")
        raise CommandError(f"{name} is {what}: what is written behind it would not be counted.")
    if table["parent"]:
        raise CommandError(f"{name} is a part of {table['parent']}: adopt {table['parent']} as a whole.")
    if table["has_children"]:
        raise CommandError(f"Other tables inherit from {name}: what is written to them would not be counted.")
    if table["foreign_part"]:
        raise CommandError(f"{table['foreign_part']}, a part of {name}, is a foreign table: it would not be counted.")
    if table["qualified_name"].startswith("queuestats."):
        raise CommandError(f"{name} is in the schema queuestats, which is for what counts it: move it to another one.")
    if table["taken"]:
        raise CommandError(f"{name} has a trigger {table['taken'][0]} already, a name that adopt needs: rename it.")


def _require_rights(table: Mapping[str, Any], mapping: QueueMapping) -> None:
    needed = {
        "CREATE on the database": table["may_create"],
        "SELECT on it": table["may_select"],
        "TRIGGER on it": table["may_trigger"],
        # A hold also acts on what writers bring, with the rights of this role.
        "UPDATE and DELETE on it": table["may_change"] or not mapping.status_column,
        "to be its owner (for the index of hold and release)": table["is_owner"] or not mapping.status_column,
    }
    if missing := [right for right, is_there in needed.items() if not is_there]:
        raise CommandError(
            f"To adopt {table['name']}, the role of QUEUESTATS_ADMIN_DATABASE_URL needs {' and '.join(missing)}."
        )


async def _type_of(connection: Any, table: Mapping[str, Any], mapping: QueueMapping, name: str) -> str:
    expression = in_parentheses(getattr(mapping, name))
    try:
        prepared = await connection.prepare(f"SELECT {expression} FROM {table['qualified_name']} AS {ROW_ALIAS}")
    except asyncpg.PostgresError as error:
        raise CommandError(f"The mapping's {name} does not compile: {str(error).splitlines()[0]}.") from None
    attributes = prepared.get_attributes()
    if len(attributes) != 1 or prepared.get_parameters():
        raise CommandError(f"The mapping's {name} must be one expression over the columns of {table['name']}.")
    type_: str = attributes[0].type.name
    return type_


def in_parentheses(expression: str) -> str:
    # A comment at the end of an expression must not take the parenthesis along.
    return f"({expression}\n)" if "--" in expression else f"({expression})"


def _key(expression: str, type_: str) -> str:
    """A key as a number."""
    if type_ in INTEGERS:
        return f"CAST({in_parentheses(expression)} AS bigint)"
    return f"queuestats.key_id(CAST({in_parentheses(expression)} AS text))"


async def _id(
    connection: Any, table: Mapping[str, Any], mapping: QueueMapping, types: Mapping[str, str]
) -> tuple[str, bool]:
    """What tells a message apart from all others, as a number; and whether it is more than a column."""
    if mapping.key:
        return _number(in_parentheses(mapping.key), types["key"]), True
    if not table["key"]:
        raise CommandError(f"{table['name']} has no primary key: say by --key what tells its rows apart.")
    columns = [quote(each) for each in table["key"]]
    type_ = await _type_of(connection, table, msgspec.structs.replace(mapping, key=columns[0]), "key")
    if len(columns) == 1:
        return _number(columns[0], type_), type_ not in INTEGERS
    return f"hash_record_extended(ROW({', '.join(columns)}), 0)", True


def _number(expression: str, type_: str) -> str:
    return f"CAST({expression} AS bigint)" if type_ in INTEGERS else f"hash_record_extended(ROW({expression}), 0)"


async def _stored(connection: Any, table: Mapping[str, Any], mapping: QueueMapping) -> dict[str, str]:
    """How hold and release write a status."""
    stored, column = mapping.stored, mapping.status_column
    if unknown := sorted(stored.keys() - set(STATUSES)):
        raise CommandError(f"The mapping's stored has {unknown[0]}, which is none of {', '.join(STATUSES)}.")
    if bool(stored) != bool(column) or (stored and not {"new", "hold"} <= stored.keys()):
        raise CommandError(
            "To hold and release, the mapping needs status_column, and stored for new and hold at least."
        )
    if not column:
        nothing = dict.fromkeys((f"stored_{each}" for each in STATUSES), "NULL")
        return {"stored_column": "CAST(NULL AS text)", "stored_type": "text", "is_holdable": "false", **nothing}
    if column not in table["columns"]:
        raise CommandError(f"{table['name']} has no column {column} that could be written.")
    type_ = await connection.fetchval(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1 AND attname = $2",
        table["oid"],
        column,
    )
    words = {each: stored.get(each, stored["new"]) for each in STATUSES}
    values = {f"stored_{each}": f"CAST({literal(word)} AS {type_})" for each, word in words.items()}
    for each, value in values.items():
        try:
            await connection.fetchval(f"SELECT {value} IS NULL")
        except asyncpg.PostgresError as error:
            said = str(error).splitlines()[0]
            raise CommandError(f"The mapping's {each.replace('_', '.')} is no value of {column}: {said}.") from None
    return {"stored_column": quote(column), "stored_type": type_, "is_holdable": "true", **values}


def quote(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'

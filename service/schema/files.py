"""The table of messages, our own or an adopted one, and the files of `sql/` that `migrate` runs for it.

Both use one set of files: sql/adopt/README.md describes the differences.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import ENUM, CreateEnumType
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, ExecutableDDLElement

from service.db.statements import MAPPED, literal, read_sql
from service.resources import sql_path
from service.schema.columns import SCHEMA, message_status
from service.schema.tables import metadata

_ATTACH, _HEALTH = "counters/attach", "counters/health"
# Files that `migrate` runs after the last revision, in this order, when their text has changed.
FILES = (
    *(f"counters/{name}" for name in ("uncountable", "queued_messages", "grouping_sets", "sum", "watermarks", "lock")),
    *("counters/read", "counters/history"),
    # Before the triggers that call it, because writers continue between two files.
    "control/arrivals",
    *(
        f"counters/{name}"
        for name in ("triggers", "recount", "recorded", "bounds", "oldest", "proof", "fold", "compact", "deltas")
    ),
    *("counters/rebuild", "counters/audit", "counters/catalog", _HEALTH),
    *(f"control/{name}" for name in ("preview", "change", "start", "step", "prune", "repair")),
    # Last: from now on messages are counted.
    _ATTACH,
)
_DIALECT = dialect()  # type: ignore[no-untyped-call]
# Rows as messages: of the adopted table, of a transition table, or of NEW or OLD.
_MESSAGES = (
    '(SELECT {sender} AS sender_id, {account} AS account_id, {campaign} AS campaign_id, {isp} COLLATE "C" AS isp,'
    " {status} AS status, {id} AS id, {created} AS created_at{more} FROM {rows} AS queuestats_row"
    " WHERE {condition} AND {sender} > 0 AND {status} IS NOT NULL)"
)
_NAMES = "(SELECT unnest(CAST(ARRAY[{names}] AS text[])) AS word FROM {rows} AS queuestats_row WHERE {condition})"
# Fails if the mapping can't be evaluated.
# The first statement reads a row: with a cached plan, nothing else shows that a column of NEW or OLD was dropped.
_TRY = (
    "PERFORM {try_columns} FROM {rows} AS queuestats_row LIMIT 1;"
    " PERFORM message.* FROM {messages_of_rows} AS message LIMIT 0;"
)
# The time of arrival if the mapping has no `created`.
NO_TIME = "CAST(NULL AS timestamp with time zone)"
# Ends a trigger whose mapping failed. The writer continues, and the counters are not trusted.
_TRY_ROWS = f"BEGIN {_TRY} EXCEPTION WHEN OTHERS THEN PERFORM {{schema}}.remember_uncounted(); RETURN NULL; END;"


class Adopted(msgspec.Struct, frozen=True):
    """The mapping of an adopted table as checked SQL; stored as JSON in `queuestats.adopted`.

    `queue`: the quoted name of the table. `values`: the values for the places of sql/adopt/. `names`: its text keys.
    `columns`: the columns that it names, quoted. `indexes`: our indexes on the table, by name: the text of CREATE INDEX
    after the name of the table. `search_path`: the one that the mapping was written for. `source`: the mapping as its
    owner wrote it. `version`: of the rules that compute `values`; migrate renews mappings of former rules.
    `has_collations`: whether a column or an expression has another collation than the database.
    """

    queue: str
    values: dict[str, str]
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    is_partitioned: bool = False
    indexes: dict[str, str] = {}
    search_path: str = "public"
    source: dict[str, Any] = {}
    version: int = 0
    has_collations: bool = False


@dataclass(frozen=True, slots=True)
class SqlFile:
    """The text of a file as `migrate` runs it. `name`: its key in `queuestats.repeatable_migrations`."""

    path: str
    text: str
    hash: str

    @property
    def name(self) -> str:
        return f"{self.path.rpartition('/')[2]}.sql"

    @property
    def is_attaching(self) -> bool:
        """Whether it creates triggers on the table of messages, which takes a lock that blocks writers."""
        return self.name.startswith("attach")


@dataclass(frozen=True, slots=True)
class MessagesTable:
    """A counted table of messages: its name, and its values for the places of sql/."""

    name: str
    schema: str
    places: Mapping[str, str]
    paths: tuple[str, ...] = FILES
    adopted: Adopted | None = None

    def render(self, path: str) -> str:
        """The text of `sql/<path>.sql` for this table."""
        return read_sql(path, self.places)

    def files(self) -> list[SqlFile]:
        """A changed mapping changes every hash."""
        mapping = msgspec.json.encode(self.adopted, order="sorted") if self.adopted else b""
        sources = {path: sql_path(f"{path}.sql").read_bytes() for path in self.paths}
        return [
            SqlFile(path, self.render(path), hashlib.sha256(source + mapping).hexdigest())
            for path, source in sources.items()
        ]


def own_table(messages_schema: str = "public") -> MessagesTable:
    return messages_table(f"{messages_schema}.messages", SCHEMA, message_status=f"{messages_schema}.message_status")


def adopted_table(adopted: Adopted, schema: str = SCHEMA) -> MessagesTable:
    instead = {name: name.replace("counters", "adopt") for name in ("counters/queued_messages", "counters/recount")}
    rows = "_rows" if adopted.is_partitioned else ""
    instead[_ATTACH] = f"adopt/attach{rows}"
    *first, last = (instead.get(path, path) for path in FILES)
    added = ["adopt/rows"] if rows else []
    if adopted.names:
        added += ["adopt/names", f"adopt/attach_names{rows}"]
    # A mapping of a former version lacks some values: migrate renews it before it runs a file.
    values = {name: adopted.values.get(name, "") for name in MAPPED.split()}
    values["created"] = values["created"] or NO_TIME
    names = ", ".join(adopted.names)
    table = messages_table(
        adopted.queue,
        schema,
        **values,
        # The table may be dropped and created again.
        messages_oid=f"to_regclass({literal(adopted.queue)})",
        is_mapped="true",
        has_created="false" if values["created"] == NO_TIME else "true",
        locked=adopted.queue,
        uncounted_writes=f"{schema}.uncounted_writes",
        **_mapped_rows(adopted, values | {"schema": schema, "names": names}),
        names=names,
        search_path=adopted.search_path,
    )
    return replace(table, paths=(*first, *added, last), adopted=adopted)


def _mapped_rows(adopted: Adopted, values: Mapping[str, str]) -> dict[str, str]:
    """The places that convert rows to messages. From NEW and OLD they read the columns that the mapping names."""
    stored = values["stored_column"] if values["is_holdable"] == "true" else "NULL"
    more = f", ctid AS address, CAST({stored} AS text) AS stored_status"
    places = {"queued": _MESSAGES.format_map({**values, "rows": adopted.queue, "more": more})}
    for record in ("new", "old"):
        columns = ", ".join(f"{record}.{column}" for column in adopted.columns)
        for kind, rows, trying in (
            (f"{record}_rows", f"{record}_rows", _TRY_ROWS),
            (f"{record}_row", f"(SELECT {columns})", _TRY),
        ):
            filled = {**values, "rows": rows, "more": ""}
            messages = _MESSAGES.format_map(filled)
            places[kind] = f"{messages} AS {kind}"
            places[f"try_{kind}"] = trying.format_map({**filled, "messages_of_rows": messages})
            places[f"named_{kind}"] = _NAMES.format_map(filled)
    return places


def messages_table(name: str, schema: str, /, **places: str) -> MessagesTable:
    """A table of messages, counted in a schema. `places`: these extend or replace those of our own table."""
    own = {
        "schema": schema,
        "messages": name,
        "messages_literal": literal(name),
        "messages_oid": f"{literal(name)}::regclass",
        "counted_table": places.get("messages_oid", f"{literal(name)}::regclass"),
        "message_status": f"{schema}.message_status",
        "queued_messages": f"{schema}.queued_messages",
        "locked": f"{schema}.queued_messages",
        "queued": f"{schema}.queued_messages",
        "new_rows": "new_rows",
        "old_rows": "old_rows",
        "try_new_rows": "",
        "try_old_rows": "",
        "is_mapped": "false",
        "uncounted_writes": "(SELECT WHERE false) AS uncounted_writes",
        "has_created": "true",
        "begun_as": "CAST(NULL AS bigint)",
        "id": "id",
        "sender": "sender_id",
        "stored_column": "status",
        "stored_type": places.get("message_status", f"{schema}.message_status"),
    }
    return MessagesTable(name, schema, own | places)


def table_definitions(schema: str, types: Sequence[ENUM]) -> list[str]:
    """Statements that create our own tables, and these types, in another schema."""
    elements: list[ExecutableDDLElement] = [CreateEnumType(type_) for type_ in types]
    for table in own_tables():
        elements += _create(table)
    # Other types are in the schema of `messages`.
    types_schema = schema if message_status in types else "public"
    return [_compile(element, schema, types_schema) for element in elements]


def table_definition(name: str, schema: str = SCHEMA) -> list[str]:
    """Statements that create one of our own tables in a schema; none if there is no table of this name."""
    return [
        _compile(element, schema, "public")
        for table in own_tables()
        if table.name == name
        for element in _create(table)
    ]


def _create(table: Table) -> list[ExecutableDDLElement]:
    # SQLAlchemy stores the indexes of a table in a set.
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    return [CreateTable(table), *map(CreateIndex, indexes)]


def newer_columns(schema: str) -> list[str]:
    """Statements that add missing columns to our own tables in another schema."""
    return [
        # ALTER TABLE takes its lock even with IF NOT EXISTS.
        f"DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{schema}.{table.name}'::regclass"
        f" AND attname = '{column.name}') THEN ALTER TABLE {schema}.{table.name}"
        f" ADD COLUMN {_compile(CreateColumn(column), schema, 'public')}; END IF; END$$"
        for table in own_tables()
        for column in table.columns
        if column.nullable or (column.server_default is not None and not column.computed)
    ]


def own_tables() -> list[Table]:
    """All tables of the service, without `messages`."""
    return [table for table in metadata.sorted_tables if table.schema]


def _compile(element: ExecutableDDLElement | CreateColumn, schema: str, types_schema: str) -> str:
    schemas = {SCHEMA: schema, None: types_schema}
    return str(element.compile(dialect=_DIALECT, schema_translate_map=schemas, render_schema_translate=True))

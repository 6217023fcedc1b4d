"""The table of messages, our own or an adopted one, and the files of `sql/` as they are put into place for it.

One set of files serves both: sql/adopt/README.md says what differs.
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

_ATTACH = "counters/attach"
# Files that are put into place after the last revision, in this order, when their text has changed.
FILES = (
    *(f"counters/{name}" for name in ("uncountable", "queued_messages", "grouping_sets", "sum", "watermarks", "lock")),
    *(f"counters/{name}" for name in ("triggers", "recount", "read", "proof", "fold", "compact", "deltas")),
    *("counters/rebuild", "counters/audit"),
    *(f"control/{name}" for name in ("arrivals", "start", "change", "step")),
    # Last: from here on messages are counted.
    _ATTACH,
)
_DIALECT = dialect()  # type: ignore[no-untyped-call]
# A row of a transition table has the columns of the adopted table: message_of makes a message of it.
_MAPPED_ROWS = "(SELECT message.* FROM {0} CROSS JOIN LATERAL {1}.message_of(ROW({0}.*)) AS message) AS {0}"


class Adopted(msgspec.Struct, frozen=True):
    """The mapping of an adopted table as SQL that was checked; stored as JSON in `queuestats.adopted`.

    `queue`: the quoted name of the table. `values`: what stands in the places of sql/adopt/. `names`: its keys that are
    text. `needs_index`: hold and release look messages up by `id`, which is no column. `search_path`: the one that the
    mapping was written for. `source`: the mapping as its owner wrote it. `version`: of the rules that make `values` of
    it; migrate renews a mapping of former ones. `has_collations`: whether a column or an expression has another
    collation than the database.
    """

    queue: str
    values: dict[str, str]
    names: tuple[str, ...] = ()
    is_partitioned: bool = False
    needs_index: bool = False
    search_path: str = "public"
    source: dict[str, Any] = {}
    version: int = 0
    has_collations: bool = False


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file as it is put into place. `name`: its key in `queuestats.repeatable_migrations`."""

    path: str
    text: str
    hash: str

    @property
    def name(self) -> str:
        return f"{self.path.rpartition('/')[2]}.sql"

    @property
    def is_attaching(self) -> bool:
        """Whether it puts triggers on the table of messages, which takes a lock that writers wait for."""
        return self.name.startswith("attach")


@dataclass(frozen=True, slots=True)
class MessagesTable:
    """The table of messages that a schema of ours counts: its name, and what it puts in the places of sql/."""

    name: str
    schema: str
    places: Mapping[str, str]
    paths: tuple[str, ...] = FILES
    adopted: Adopted | None = None

    def render(self, path: str) -> str:
        """The text of `sql/<path>.sql` as it is run for this table."""
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
    return _table(f"{messages_schema}.messages", SCHEMA, message_status=f"{messages_schema}.message_status")


def shard_table(schema: str, name: str) -> MessagesTable:
    """A shard of `messages`, in the schema of its counters. It has no holds."""
    return _table(name, schema, message_status="public.message_status", has_holds="false", queued_messages=name)


def adopted_table(adopted: Adopted, schema: str = SCHEMA) -> MessagesTable:
    instead = {name: name.replace("counters", "adopt") for name in ("counters/queued_messages", "counters/recount")}
    rows = "_rows" if adopted.is_partitioned else ""
    instead[_ATTACH] = f"adopt/attach{rows}"
    *first, last = (instead.get(path, path) for path in FILES)
    added = ["adopt/rows"] if rows else []
    if adopted.names:
        added += ["adopt/names", f"adopt/attach_names{rows}"]
    table = _table(
        adopted.queue,
        schema,
        **{name: adopted.values[name] for name in MAPPED.split()},
        # The table may be renamed.
        messages_oid=f"{schema}.messages_table()",
        new_rows=_MAPPED_ROWS.format("new_rows", schema),
        old_rows=_MAPPED_ROWS.format("old_rows", schema),
        names=", ".join(adopted.names),
        search_path=adopted.search_path,
    )
    return replace(table, paths=(*first, *added, last), adopted=adopted)


def _table(name: str, schema: str, /, **places: str) -> MessagesTable:
    """`places`: besides, or in place of, those of our own table."""
    own = {
        "schema": schema,
        "messages": name,
        "messages_literal": literal(name),
        "messages_oid": f"{literal(name)}::regclass",
        "message_status": f"{schema}.message_status",
        "queued_messages": f"{schema}.queued_messages",
        "new_rows": "new_rows",
        "old_rows": "old_rows",
        "has_holds": "true",
    }
    return MessagesTable(name, schema, own | places)


def table_definitions(schema: str, types: Sequence[ENUM]) -> list[str]:
    """Statements that make our own tables, and these types, in another schema."""
    elements: list[ExecutableDDLElement] = [CreateEnumType(type_) for type_ in types]
    for table in _own_tables():
        # SQLAlchemy has the indexes of a table in a set. A changed order would be a new version of every shard.
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        elements += [CreateTable(table), *map(CreateIndex, indexes)]
    # A type that is not made here stands beside `messages`.
    types_schema = schema if message_status in types else "public"
    return [_compile(element, schema, types_schema) for element in elements]


def newer_columns(schema: str) -> list[str]:
    """Adds to our own tables in another schema the columns that they lack."""
    return [
        # ALTER TABLE takes its lock even with IF NOT EXISTS.
        f"DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{schema}.{table.name}'::regclass"
        f" AND attname = '{column.name}') THEN ALTER TABLE {schema}.{table.name}"
        f" ADD COLUMN {_compile(CreateColumn(column), schema, 'public')}; END IF; END$$"
        for table in _own_tables()
        for column in table.columns
        if column.nullable or (column.server_default is not None and not column.computed)
    ]


def _own_tables() -> list[Table]:
    return [table for table in metadata.sorted_tables if table.schema]


def _compile(element: ExecutableDDLElement | CreateColumn, schema: str, types_schema: str) -> str:
    schemas = {SCHEMA: schema, None: types_schema}
    return str(element.compile(dialect=_DIALECT, schema_translate_map=schemas, render_schema_translate=True))

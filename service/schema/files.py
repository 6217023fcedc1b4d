"""The table that is counted, our own `messages` or an adopted one, and the files of `sql/` as they are run for it.

One set of files serves both: sql/adopt/README.md says what differs.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import create_mock_engine
from sqlalchemy.schema import CreateColumn

from service.resources import sql_path
from service.schema.tables import SCHEMA, metadata

Parts = tuple[str, str]

_QUEUE = ("counters", "queued_messages.sql")
_RECOUNT = ("counters", "recount.sql")
_ATTACH = ("counters", "attach.sql")
_TRANSITION_TABLE = re.compile(r"FROM (new_rows|old_rows)\b")
_LOOK_FOR_HOLDS = re.compile(r"  PERFORM FROM queuestats\.holds\b.*?END IF;\n", re.DOTALL)
_PLACEHOLDER = re.compile(r"(?<!:):([a-z]\w*)")

# Files that are put into place after the last revision, in this order, when their text has changed.
PARTS: tuple[Parts, ...] = (
    *(("counters", f"{name}.sql") for name in ("uncountable", "queued_messages", "grouping_sets", "sum", "watermarks")),
    *(("counters", f"{name}.sql") for name in ("lock", "triggers", "recount", "read", "proof", "fold", "compact")),
    *(("counters", f"{name}.sql") for name in ("deltas", "rebuild", "audit")),
    *(("control", f"{name}.sql") for name in ("arrivals", "start", "change", "step")),
    # Last: from here on messages are counted.
    _ATTACH,
)


class Adopted(msgspec.Struct, frozen=True):
    """The mapping of an adopted table as SQL that was checked: what stands for each placeholder of sql/adopt/.

    `queue`: the quoted name of the table. `names`: its keys that are text. `needs_index`: hold and release look
    messages up by `id`, which is no column. `search_path`: the one that the mapping was written for.
    """

    queue: str
    values: dict[str, str]
    names: tuple[str, ...] = ()
    is_partitioned: bool = False
    needs_index: bool = False
    search_path: str = "public"
    source: dict[str, Any] = {}
    """As its owner wrote it."""
    version: int = 0
    """Of the rules that make `values` of `source`: migrate renews a mapping of former ones."""
    has_collations: bool = False
    """Whether a column or an expression of it has another collation than the database's own."""

    def fill(self, text: str) -> str:
        values = {**self.values, "queue": self.queue, "names": ", ".join(self.names)}
        return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


@dataclass(frozen=True, slots=True)
class CountedTable:
    """Our own `messages` in a schema, one shard of it, or an adopted table. `schema`: where all that is ours stands."""

    messages_schema: str
    adopted: Adopted | None = None
    shard: int | None = None
    schema: str = SCHEMA

    @property
    def name(self) -> str:
        if self.adopted:
            return self.adopted.queue
        return f"{self.messages_schema}.messages" + ("" if self.shard is None else f"_{self.shard}")

    @property
    def parts(self) -> tuple[Parts, ...]:
        if self.adopted is None:
            return PARTS
        rows = "_rows" if self.adopted.is_partitioned else ""
        instead = {_QUEUE: ("adopt", "queued_messages.sql"), _RECOUNT: ("adopt", "recount.sql")}
        if rows:
            instead[_ATTACH] = ("adopt", "attach_rows.sql")
        *first, last = (instead.get(each, each) for each in PARTS)
        added = [("adopt", "rows.sql")] if rows else []
        if self.adopted.names:
            added += [("adopt", "names.sql"), ("adopt", f"attach_names{rows}.sql")]
        return (*first, *added, last)

    def render(self, parts: Parts) -> str:
        """The text of a file as it is run for this table."""
        text = sql_path(*parts).read_text("utf-8")
        if self.shard is not None:
            # A distributed queue has no holds, and its writers pay for no look at them.
            text = _LOOK_FOR_HOLDS.sub("", text)
        if self.adopted and parts[0] == "adopt":
            path = f"SET search_path = {self.adopted.search_path}, pg_temp;"
            return f"{path}\n{self.in_schema(self.adopted.fill(text))}\nSET search_path = {self.schema};"
        if self.adopted:
            # A row of a transition table has the columns of the adopted table: message_of makes a message of it.
            message = r"SELECT message.* FROM \1 CROSS JOIN LATERAL queuestats.message_of(ROW(\1.*)) AS message"
            text = _TRANSITION_TABLE.sub(rf"FROM ({message}) AS \1", text)
            text = text.replace("'public.messages'::regclass", "queuestats.messages_table()")
            is_mapped = "WHEN (queuestats.is_mapped(NULL) IS NULL)"
            text = text.replace("FOR EACH STATEMENT EXECUTE", f"FOR EACH STATEMENT {is_mapped} EXECUTE")
        return self.in_schema(text.replace("public.messages", self.name))

    def definitions(self) -> list[str]:
        """Our own tables as statements, for where no migration makes them."""
        found: list[str] = []

        def note(definition: Any, *_: Any, **__: Any) -> None:
            found.append(self.in_schema(str(definition.compile(dialect=engine.dialect))))

        engine = create_mock_engine("postgresql+asyncpg://", note)
        metadata.create_all(engine, tables=[each for each in metadata.sorted_tables if each.schema], checkfirst=False)
        return [each for each in found if self.shard is None or "message_status AS ENUM" not in each]

    def newer_columns(self) -> list[str]:
        """Adds to our own tables the columns that they lack."""
        dialect = create_mock_engine("postgresql+asyncpg://", lambda *_, **__: None).dialect
        return [
            # No lock where the column is there.
            self.in_schema(
                f"DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{table.fullname}'::regclass"
                f" AND attname = '{column.name}') THEN ALTER TABLE {table.fullname}"
                f" ADD COLUMN {CreateColumn(column).compile(dialect=dialect)}; END IF; END$$"
            )
            for table in metadata.sorted_tables
            if table.schema
            for column in table.columns
            if column.nullable or (column.server_default is not None and not column.computed)
        ]

    def in_schema(self, text: str) -> str:
        """A text with the schema of this table in place of queuestats."""
        if self.schema == SCHEMA:
            return text
        if self.shard is not None:
            text = re.sub(r"(?<![.\w])message_status\b", f"{self.messages_schema}.message_status", text)
        return re.sub(rf"\b{SCHEMA}\b", self.schema, text)

    def hash_of(self, parts: Parts) -> str:
        """A changed mapping changes every file, the triggers last: to attach them waits for who has the former one."""
        mapping = msgspec.json.encode(self.adopted, order="sorted") if self.adopted else b""
        return hashlib.sha256(sql_path(*parts).read_bytes() + mapping).hexdigest()

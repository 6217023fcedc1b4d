"""The SQL of `sql/`: statements with parameters (`:name`), and files with named places (`"{name}"`): sql/README.md."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg

from service.errors import CommandError
from service.resources import sql_path

_HEADER = re.compile(r"\A-- (?P<name>\w+): \S.*(?:\n--.*)*?\n-- parameters: (?P<parameters>.*)\n")
DECLARED = "-- places: "

# The folders with the statements that the service runs while it serves.
SERVED = ("queries", "tokens")

# The complete list of places: of every table of messages, of a mapping, and of adopt alone.
COMMON = (
    "schema messages messages_literal messages_oid counted_table message_status queued_messages locked queued"
    " new_rows old_rows has_created try_new_rows try_old_rows is_mapped uncounted_writes"
    " id sender stored_column stored_type begun_as"
)
MAPPED = (
    "sender account campaign isp status created condition id is_holdable try_columns column_names"
    " stored_column stored_type stored_new stored_proc stored_retry stored_hold own_isp own_status own_where"
    " arrival_sender arrival_status sender_number sender_text account_number account_text campaign_number campaign_text"
)
# A statement within another one, and the parameters that it has.
PROVED = "statement parameters nulls"
ADOPTING = (
    "search_path names expression expressions key writable_columns changed_column named_new_rows named_new_row"
    " named_old_rows named_old_row new_row old_row try_new_row try_old_row"
)
PLACES = frozenset(f"{COMMON} {PROVED} {MAPPED} {ADOPTING}".split())

# The places of a statement that the service runs, for our own schema.
OWN: Mapping[str, str] = MappingProxyType(
    {"schema": "queuestats", "queued_messages": "queuestats.scanned_messages(ARRAY[cast(:sender_id AS bigint)])"}
)


class BadStatement(CommandError):
    """A file below `sql/` breaks the rules; the service does not start."""


class _Template(string.Template):
    # A quoted identifier, so that psql, sqlfluff and other SQL parsers accept it.
    pattern = r'"\{(?P<named>\w+)\}"|(?P<escaped>(?!))|(?P<braced>(?!))|(?P<invalid>(?!))'  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: `text` is that of the file with places filled; `sql` and `order` are for asyncpg."""

    name: str
    text: str
    sql: str
    order: tuple[str, ...]
    types: Mapping[str, str]

    def bind(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values in the order of `$1, $2, …`. Raises BadStatement with the missing or unknown parameters."""
        if parameters.keys() != self.types.keys():
            wrong = sorted(parameters.keys() ^ self.types.keys())
            takes = ", ".join(self.types) or "no parameter"
            raise BadStatement(f"sql/{self.name}.sql takes {takes}; wrong or missing: {', '.join(wrong)}")
        return [parameters[name] for name in self.order]


def fill(name: str, source: str, places: Mapping[str, str]) -> str:
    """The text of `sql/<name>.sql` with its places filled in one pass; values are not searched for places.

    The line `-- places: …` is removed. Raises BadStatement if the text uses a place that it does not declare, that is
    not in PLACES, or that has no value, or if it declares a place that it does not use.
    """
    before, _, after = source.partition(DECLARED)
    names, _, rest = after.partition("\n")
    template = _Template(before + rest)
    declared, used = set(filter(None, names.split(", "))), set(template.get_identifiers())
    if wrong := (declared ^ used) | ((used | places.keys()) - PLACES):
        raise BadStatement(f"sql/{name}.sql declares and uses different or unknown places: {', '.join(sorted(wrong))}")
    if missing := used - places.keys():
        raise BadStatement(f"sql/{name}.sql has places without a value: {', '.join(sorted(missing))}")
    return template.substitute(places)


def read_sql(name: str, places: Mapping[str, str] = OWN) -> str:
    """The text of `sql/<name>.sql`, places filled. Raises BadStatement if there is no such file, or as `fill`."""
    path = sql_path(f"{name}.sql")
    if not path.is_file():
        raise BadStatement(f"There is no sql/{name}.sql")
    return fill(name, path.read_text("utf-8"), places)


def load_statement(name: str, places: Mapping[str, str] | None = None) -> Statement:
    """The checked statement of `sql/<name>.sql`. Without `places`, it is for our own schema, and cached.

    Raises BadStatement if there is no such file, or if it breaks a rule.
    """
    return _load_own(name) if places is None else parse_statement(name, read_sql(name, places))


@cache
def _load_own(name: str) -> Statement:
    return parse_statement(name, read_sql(name))


def load_statements() -> None:
    """Loads every statement that the service runs, before the first request. Raises BadStatement."""
    for folder in SERVED:
        for path in sql_path(folder).rglob("*.sql"):
            load_statement(str(path.relative_to(sql_path()).with_suffix("")))


def parse_statement(name: str, source: str) -> Statement:
    """The statement of a text whose places are filled. Raises BadStatement if its header does not match it."""
    header = _HEADER.match(source)
    if header is None or header["name"] != Path(name).name:
        raise BadStatement(f"sql/{name}.sql must begin with `-- {Path(name).name}: …` and have `-- parameters: …`")
    types: dict[str, str] = {}
    for declaration in header["parameters"].split(",") if header["parameters"].strip() != "none" else ():
        parameter, _, type_ = declaration.strip().partition(" ")
        if not type_ or parameter in types:
            raise BadStatement(f"sql/{name}.sql must declare a type for each parameter, as in `{parameter} bigint`")
        types[parameter] = type_
    # SQLAlchemy replaces the names by `$1, $2, …`, and changes nothing else.
    compiled = text(source).compile(dialect=asyncpg.dialect())  # type: ignore[no-untyped-call]
    order = tuple(compiled.positiontup or ())
    if set(order) != types.keys():
        wrong = sorted(set(order) ^ types.keys())
        raise BadStatement(f"sql/{name}.sql declares and uses different parameters: {', '.join(wrong)}")
    return Statement(name, source, str(compiled), order, MappingProxyType(types))


def replace_parameters(source: str, values: Mapping[str, str]) -> str:
    """The text of a statement in which SQL replaces each `:name`."""
    compiled = text(source).compile(dialect=postgresql.dialect(paramstyle="pyformat"))  # type: ignore[no-untyped-call]
    return str(compiled) % values


def literal(value: Any) -> str:
    """A value as an SQL literal; SQLAlchemy's literals depend on the server's standard_conforming_strings."""
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]"
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    quoted = str(value).replace("'", "''").replace("\\", "\\\\")
    return f"E'{quoted}'" if "\\" in quoted else f"'{quoted}'"

"""Named statements: all that runs in the database, one a file below `sql/`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from service.errors import CommandError
from service.resources import sql_path

_HEADER = re.compile(r"\A-- (?P<name>\w+): \S.*(?:\n--.*)*?\n-- parameters: (?P<parameters>.*)\n")


# Below these stands what the service runs while it serves.
SERVED = ("queries", "scan", "tokens")


class BadStatement(CommandError):
    """A file below `sql/` breaks the rules; it stops the start."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: `text` as the file has it, `sql` and `order` as asyncpg prepares and binds it."""

    name: str
    text: str
    sql: str
    order: tuple[str, ...]
    types: Mapping[str, str]

    def bind(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The values in the order of `$1, $2, …`.

        Raises BadStatement naming a parameter that is missing or that the statement does not have.
        """
        if parameters.keys() != self.types.keys():
            wrong = sorted(parameters.keys() ^ self.types.keys())
            takes = ", ".join(self.types) or "no parameter"
            raise BadStatement(f"sql/{self.name}.sql takes {takes}; wrong or missing: {', '.join(wrong)}")
        return [parameters[name] for name in self.order]


@cache
def load_statement(name: str) -> Statement:
    """The statement of `sql/<name>.sql`, checked: `queries/total`, say.

    Raises BadStatement where there is no such file, or it breaks a rule.
    """
    path = sql_path(f"{name}.sql")
    if not path.is_file():
        raise BadStatement(f"There is no sql/{name}.sql")
    return parse_statement(name, path.read_text("utf-8"))


def load_statements() -> None:
    """Every statement that the service runs, so that a broken one stops the start, and no request waits for its file.

    Raises BadStatement.
    """
    for path in (path for folder in SERVED for path in sql_path(folder).rglob("*.sql")):
        load_statement(str(path.relative_to(sql_path()).with_suffix("")))


def parse_statement(name: str, source: str) -> Statement:
    """Checks the header against the text.

    Raises BadStatement where the header does not name the file, the text uses other parameters than the header
    declares, or it uses one without `cast(:name AS type)` with its declared type.
    """
    header = _HEADER.match(source)
    if header is None or header["name"] != Path(name).name:
        raise BadStatement(f"sql/{name}.sql must begin with `-- {Path(name).name}: …` and have `-- parameters: …`")
    types = _declared(name, header["parameters"])
    sql, order = _compile(source)
    if set(order) != types.keys():
        wrong = sorted(set(order) ^ types.keys())
        raise BadStatement(f"sql/{name}.sql declares and uses different parameters: {', '.join(wrong)}")
    if bare := _uncast(source, types):
        raise BadStatement(f"sql/{name}.sql must write {', '.join(f'cast(:{each} AS {types[each]})' for each in bare)}")
    return Statement(name, source, sql, order, MappingProxyType(types))


def _declared(name: str, parameters: str) -> dict[str, str]:
    types: dict[str, str] = {}
    if parameters.strip() == "none":
        return types
    for each in parameters.split(","):
        parameter, _, type_ = each.strip().partition(" ")
        if not type_ or parameter in types:
            raise BadStatement(f"sql/{name}.sql must give each parameter one type, `{parameter} bigint` say")
        types[parameter] = type_
    return types


def _compile(source: str) -> tuple[str, tuple[str, ...]]:
    """The text with `$1, $2, …`, and the names in that order: SQLAlchemy finds them, and changes nothing else."""
    compiled = text(source).compile(dialect=dialect())  # type: ignore[no-untyped-call]
    return str(compiled), tuple(compiled.positiontup or ())


def _uncast(source: str, types: Mapping[str, str]) -> tuple[str, ...]:
    """The parameters that somewhere stand without their cast, so that PostgreSQL would guess their type."""
    for parameter, type_ in types.items():
        source = re.sub(rf"cast\(:{parameter} AS {re.escape(type_)}\)", "", source, flags=re.IGNORECASE)
    return _compile(source)[1]

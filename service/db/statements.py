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
SERVED = ("queries", "tokens")


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


def literal(value: Any) -> str:
    """A value as SQL writes it, whatever the server's settings."""
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]"
    if value is None or isinstance(value, int):
        return "NULL" if value is None else str(value)
    text = str(value).replace("'", "''").replace("\\", "\\\\")
    return f"E'{text}'" if "\\" in text else f"'{text}'"


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

    Raises BadStatement where the header does not name the file, or the text uses other parameters than it declares.
    """
    header = _HEADER.match(source)
    if header is None or header["name"] != Path(name).name:
        raise BadStatement(f"sql/{name}.sql must begin with `-- {Path(name).name}: …` and have `-- parameters: …`")
    types = _declared(name, header["parameters"])
    # SQLAlchemy finds the names, writes `$1, $2, …` in their place, and changes nothing else.
    compiled = text(source).compile(dialect=dialect())  # type: ignore[no-untyped-call]
    order = tuple(compiled.positiontup or ())
    if set(order) != types.keys():
        wrong = sorted(set(order) ^ types.keys())
        raise BadStatement(f"sql/{name}.sql declares and uses different parameters: {', '.join(wrong)}")
    return Statement(name, source, str(compiled), order, MappingProxyType(types))


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

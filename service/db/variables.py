"""psql's variables: whether a command line gives the files of `sql/` what their headers ask for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.db.statements import BadStatement, Statement, parse_statement
from service.errors import CommandError
from service.resources import sql_path

# What psql puts into the text as it stands must read as SQL; of arrays and times the server says it well enough.
SPELLINGS = {
    "bigint": (re.compile(r"-?\d+|null", re.IGNORECASE), "a whole number or NULL"),
    "integer": (re.compile(r"-?\d+|null", re.IGNORECASE), "a whole number or NULL"),
    "text": (re.compile(r"'(?:[^']|'')*'|null", re.IGNORECASE), "text in single quotes or NULL"),
}


@dataclass(slots=True)
class CommandLine:
    """What `-f` and `-v` say, and whether something else may use a variable."""

    files: list[Path] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    has_commands: bool = False


def require_variables(arguments: Sequence[str]) -> None:
    """Raises CommandError naming a variable that a file of ours lacks, that none of them takes, or that is no value."""
    line = read_command_line(arguments)
    ours = [each for each in map(_statement, line.files) if each is not None]
    for each in ours:
        _require(each, line.variables)
    taken = {name for each in ours for name in each.types}
    # psql's own variables are in capitals.
    extra = sorted(name for name in line.variables if name not in taken and not name.isupper())
    if ours and extra and len(ours) == len(line.files) and not line.has_commands:
        raise CommandError(f"sql/{ours[0].name}.sql takes no {', '.join(extra)}; it takes {_takes(ours[0])}.")


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """psql's options for files and variables, in each of their spellings."""
    line = CommandLine()
    rest = iter(arguments)
    for argument in rest:
        option = re.fullmatch(r"--(file|set|variable|command)(?:=(.*))?|-([fvc])(.*)", argument, re.DOTALL)
        if option is None:
            continue
        kind = (option[1] or option[3]).replace("variable", "v").replace("set", "v")[0]
        value = option[2] or option[4] or next(rest, "")
        if kind == "f":
            line.files.append(Path(value))
        elif kind == "v":
            name, _, line.variables[name] = value.partition("=")
        else:
            line.has_commands = True
    return line


def _statement(path: Path) -> Statement | None:
    """The statement of a file, where the file is one of ours."""
    path = path.resolve()
    if not path.is_file() or not path.is_relative_to(sql_path().resolve()):
        return None
    name = str(path.relative_to(sql_path().resolve()).with_suffix(""))
    try:
        return parse_statement(name, path.read_text("utf-8"))
    except BadStatement:
        # It is several statements, or somebody is at work on it: psql will see.
        return None


def _require(asked: Statement, given: Mapping[str, str]) -> None:
    if missing := [name for name in asked.types if name not in given]:
        raise CommandError(
            f"sql/{asked.name}.sql takes {_takes(asked)}; missing: {', '.join(missing)}. Give it by -v name=value."
        )
    for name, type_ in asked.types.items():
        spelling, words = SPELLINGS.get(type_, (None, ""))
        if spelling is not None and not spelling.fullmatch(given[name]):
            raise CommandError(f"{name} of sql/{asked.name}.sql must be {words}, as SQL writes it.")


def _takes(asked: Statement) -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in asked.types.items()) or "none"

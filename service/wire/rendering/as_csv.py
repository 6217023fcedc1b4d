"""Responses as CSV (RFC 4180), with a header line. Other members of a response are in HTTP headers."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from service.reports import Oldest


def write_head(columns: Sequence[str]) -> bytes:
    """The names of the columns; `oldest` has one for each of its times."""
    of_oldest = [f"oldest_{name}" for name in Oldest.__struct_fields__]
    return _write([[name for column in columns for name in (of_oldest if column == "oldest" else [column])]])


def write_rows(rows: Sequence[Any]) -> bytes:
    """A member that is a mapping has a cell for each of its values; None is an empty cell."""
    return _write([[cell(value) for value in _flat(row.values())] for row in rows])


def cell(value: Any) -> Any:
    """A text that a spreadsheet would read as a formula gets a leading `'`."""
    # https://owasp.org/www-community/attacks/CSV_Injection
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, Mapping):
            yield from value.values()
        else:
            yield value


def _write(lines: Iterable[Iterable[Any]]) -> bytes:
    written: list[str] = []
    csv.writer(SimpleNamespace(write=written.append)).writerows(lines)
    return "".join(written).encode("utf-8", "replace")

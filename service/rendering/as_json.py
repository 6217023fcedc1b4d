"""Responses as JSON, written by msgspec."""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from service.model import SUCCESS, Explanation, StatsRow

_encode = msgspec.json.Encoder().encode
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_report(slices: Iterator[Sequence[StatsRow]]) -> Iterator[bytes]:
    before = b'{"data":['
    for rows in slices:
        yield before + _write_rows(rows)
        before = b","
    opening = before if before != b"," else b""
    yield opening + _END


def _write_rows(rows: Sequence[StatsRow]) -> bytes:
    try:
        array = _encode(rows)
    except UnicodeEncodeError:
        array = _encode([msgspec.structs.replace(row, isp=_without_surrogates(row.isp)) for row in rows])
    return array[1:-1]


def write_rows(rows: Sequence[Mapping[str, object]]) -> bytes:
    return _encode({"data": rows, "error": 0, "error_text": SUCCESS})


def write_details(details: Mapping[str, object] | None) -> bytes:
    return _encode(({} if details is None else {"details": details}) | {"error": 0, "error_text": SUCCESS})


def write_explanation(explanation: Explanation) -> bytes:
    data = {
        "parameters": explanation.parameters,
        "plan": [explanation.tree],
        "sql": explanation.sql,
        "statement": explanation.statement,
        "warnings": explanation.warnings,
    }
    return _encode({"data": data, "error": 0, "error_text": SUCCESS})


def write_error(code: int, text: str) -> bytes:
    return _encode({"error": code, "error_text": _without_surrogates(text)})


def _without_surrogates(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


_END = b"]," + write_error(0, SUCCESS).removeprefix(b"{")

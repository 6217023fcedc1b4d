"""Responses as JSON, written by msgspec."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from service.model import SUCCESS, Explanation, Ids, StatsRow
from service.wire.rendering.rows import IDS, Rows

_encode = msgspec.json.Encoder().encode
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_report(slices: Iterator[Rows]) -> Iterator[bytes]:
    before = b'{"data":['
    for rows in slices:
        yield before + _write_rows(rows)
        before = b","
    opening = before if before != b"," else b""
    yield opening + _END


def _write_rows(rows: Rows) -> bytes:
    try:
        array = _encode(rows)
    except UnicodeEncodeError:
        array = _encode([_encodable(row) for row in rows])
    return array[1:-1]


def _encodable(row: StatsRow | Mapping[str, Any]) -> StatsRow | dict[str, Any]:
    if isinstance(row, StatsRow):
        return msgspec.structs.replace(row, isp=_without_surrogates(row.isp))
    return {name: _without_surrogates(value) if isinstance(value, str) else value for name, value in row.items()}


def write_rows(rows: Sequence[Mapping[str, object]]) -> bytes:
    return _encode({"data": rows, "error": 0, "error_text": SUCCESS})


def write_details(details: Mapping[str, object] | None) -> bytes:
    return _encode(({} if details is None else {"details": details}) | {"error": 0, "error_text": SUCCESS})


def write_explanation(explanation: Explanation, ids: Ids) -> bytes:
    has_text_ids = ids is Ids.STRING
    parameters = explanation.parameters.items()
    data = {
        "parameters": {name: _as_text(value) if has_text_ids and name in IDS else value for name, value in parameters},
        "plan": [explanation.tree],
        "sql": explanation.sql,
        "statement": explanation.statement,
        "warnings": explanation.warnings,
    }
    return _encode({"data": data, "error": 0, "error_text": SUCCESS})


def _as_text(value: Any) -> Any:
    """An id, or several, as strings."""
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return None if value is None else str(value)


def write_error(code: int, text: str) -> bytes:
    return _encode({"error": code, "error_text": _without_surrogates(text)})


def _without_surrogates(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


_END = b"]," + write_error(0, SUCCESS).removeprefix(b"{")

"""Responses as JSON, written by msgspec."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from service.model import StatsRow
from service.wire.rendering.rows import Rows

_encode = msgspec.json.Encoder().encode
_SURROGATE = re.compile("[\ud800-\udfff]")


def write(members: Mapping[str, object]) -> bytes:
    try:
        return _encode(members)
    except UnicodeEncodeError:
        return _encode(_encodable(members))


def write_rows(rows: Rows) -> bytes:
    """The rows with commas between."""
    try:
        array = _encode(rows)
    except UnicodeEncodeError:
        array = _encode([_encodable(row) for row in rows])
    return array[1:-1]


def _encodable(row: StatsRow | Mapping[str, Any]) -> dict[str, Any]:
    members = msgspec.structs.asdict(row) if isinstance(row, StatsRow) else row
    return {
        name: _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value for name, value in members.items()
    }

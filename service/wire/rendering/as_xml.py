"""Responses as XML, written by lxml.

The markup of a row never changes, so lxml writes it once, with a place for each value; texts are written by lxml too.
To write every row as an element takes longer: 100 rows take 0.09 ms this way, 0.29 with `etree.xmlfile` and one element
whose texts are exchanged, 0.95 with a tree.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from lxml import etree

from service.model import SUCCESS, Explanation, StatsRow
from service.wire.rendering.rows import Rows

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_report(slices: Iterator[Rows]) -> Iterator[bytes]:
    written = b"<xml>"
    for rows in slices:
        yield written + b"".join(map(_write_row, rows))
        written = b""
    opening = b"<xml><data/>" if written else b""
    yield opening + _END


def _write_row(row: StatsRow | Mapping[str, Any]) -> bytes:
    if not isinstance(row, StatsRow):
        return _template(tuple(row)) % tuple(map(_write_value, row.values()))
    return _ROW % (
        *(row.account_id, row.campaign_id, row.hold, _write_text(row.isp)),
        *(row.new, row.proc, row.retry, row.total),
    )


def _write_value(value: str | int | None) -> bytes:
    return b"%d" % value if isinstance(value, int) else _write_text(value or "")


@lru_cache
def _template(names: Sequence[str]) -> bytes:
    return _write("data", [(name, "%b") for name in names])


def write_rows(rows: Sequence[Mapping[str, object]]) -> bytes:
    found = [("data", _texts(row)) for row in rows or [{}]]
    return _write("xml", [*found, ("error", 0), ("error_text", SUCCESS)])


def write_details(details: Mapping[str, object] | None) -> bytes:
    found = [] if details is None else [("details", _texts(details))]
    return _write("xml", [*found, ("error", 0), ("error_text", SUCCESS)])


def _texts(members: Mapping[str, object]) -> list[tuple[str, object]]:
    """Times as JSON has them; None is an empty element."""
    return [
        (name, "" if value is None else msgspec.to_builtins(value) if isinstance(value, datetime) else value)
        for name, value in members.items()
    ]


def write_explanation(explanation: Explanation) -> bytes:
    data = [
        ("parameters", [(name, msgspec.json.encode(value).decode()) for name, value in explanation.parameters.items()]),
        ("plan", "\n".join(explanation.lines)),
        ("sql", explanation.sql),
        ("statement", explanation.statement),
        ("warnings", [("warning", each) for each in explanation.warnings]),
    ]
    return _write("xml", [("data", data), ("error", 0), ("error_text", SUCCESS)])


def write_error(code: int, text: str) -> bytes:
    return _write("xml", [("error", code), ("error_text", text)])


@lru_cache(maxsize=16_384)
def _write_text(text: str) -> bytes:
    """As an element holds it, escaped. Names of ISPs come again and again; one that is new takes 3 µs."""
    element = etree.Element("isp")
    _set_text(element, text)
    return etree.tostring(element, encoding="UTF-8")[len("<isp>") : -len("</isp>")]


def _write(name: str, content: object) -> bytes:
    return etree.tostring(_element(name, content), encoding="UTF-8")


def _element(name: str, content: object) -> etree._Element:
    """An element of that text, or of the child elements that an iterable of names and contents tells."""
    element = etree.Element(name)
    if isinstance(content, Iterable) and not isinstance(content, str):
        element.extend([_element(*each) for each in content])
    else:
        _set_text(element, str(content))
    return element


def _set_text(element: etree._Element, text: str) -> None:
    try:
        element.text = text
    except ValueError:
        element.text = _NOT_IN_XML.sub("\ufffd", text)


_END = write_error(0, SUCCESS).removeprefix(b"<xml>")
_ROW = _write("data", [(name, "%b" if name == "isp" else "%d") for name in StatsRow.__struct_fields__])

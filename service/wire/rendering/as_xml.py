"""Responses as XML, written by lxml.

The markup of a row never changes, so lxml writes it once, with a place for each value; texts are written by lxml too.
To write every row as an element takes longer: 100 rows take 0.09 ms this way, 0.29 with `etree.xmlfile` and one element
whose texts are exchanged, 0.95 with a tree.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from lxml import etree

from service.model import StatsRow
from service.wire.rendering.rows import Rows

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(members: Mapping[str, object]) -> bytes:
    """`<xml>` with the members: see `_element`."""
    return _write("xml", members)


def write_rows(rows: Rows) -> bytes:
    return b"".join(map(_write_row, rows)) or b"<data/>"


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
    return _write("data", dict.fromkeys(names, "%b"))


@lru_cache(maxsize=16_384)
def _write_text(text: str) -> bytes:
    """As an element holds it, escaped. Names of ISPs come again and again; one that is new takes 3 µs."""
    return _write("isp", text)[len("<isp>") : -len("</isp>")]


def _write(name: str, content: object) -> bytes:
    return etree.tostring(_element(name, content), encoding="UTF-8")


def _element(name: str, content: object) -> etree._Element:
    """An element of the members of a mapping, or of a text; a time as JSON has it, None as an empty text."""
    element = etree.Element(name)
    if isinstance(content, Mapping):
        for member, value in content.items():
            element.extend([_element(member, item) for item in _items(value)])
        return element
    text = "" if content is None else str(msgspec.to_builtins(content) if isinstance(content, datetime) else content)
    try:
        element.text = text
    except ValueError:
        element.text = _NOT_IN_XML.sub("\ufffd", text)
    return element


def _items(value: object) -> Iterable[object]:
    """An element is repeated for the items of a list; of an empty list there is one, without anything in it."""
    return (value or [{}]) if isinstance(value, list | tuple) else [value]


_ROW = _write("data", {name: "%b" if name == "isp" else "%d" for name in StatsRow.__struct_fields__})

"""Responses as XML, written by lxml.

A row has the same markup each time, so lxml writes that once, and then each row's texts. A tree of all rows takes five
times as long, one element whose texts are exchanged for each row 2.5 times (0.32 ms in place of 0.13 for 100 rows).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from lxml import etree

from service.model import SUCCESS, Explanation, StatsRow

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_report(slices: Iterator[Sequence[StatsRow]]) -> Iterator[bytes]:
    written = b"<xml>"
    for rows in slices:
        yield written + b"".join(map(_write_row, rows))
        written = b""
    opening = b"<xml><data/>" if written else b""
    yield opening + _END


def _write_row(row: StatsRow) -> bytes:
    return _ROW % (
        *(row.account_id, row.campaign_id, row.hold, _write_text(row.isp)),
        *(row.new, row.proc, row.retry, row.total),
    )


def write_explanation(explanation: Explanation) -> bytes:
    data = [
        ("parameters", explanation.given_parameters().items()),
        ("plan", "\n".join(explanation.plan)),
        ("sql", explanation.sql),
        ("statement", explanation.statement),
        ("warnings", [("warning", each) for each in explanation.warnings]),
    ]
    return _write("xml", [("data", data), ("error", 0), ("error_text", SUCCESS)])


def write_error(code: int, text: str) -> bytes:
    return _write("xml", [("error", code), ("error_text", text)])


@lru_cache(maxsize=1024)
def _write_text(text: str) -> bytes:
    """As an element holds it, escaped. Names of ISPs come again and again."""
    return _write("isp", text)[5:-6]


def _write(name: str, content: object) -> bytes:
    return etree.tostring(_element(name, content), encoding="utf-8")


def _element(name: str, content: object) -> etree._Element:
    """An element of that text, or of the child elements that an iterable of names and contents tells."""
    element = etree.Element(name)
    if isinstance(content, Iterable) and not isinstance(content, str):
        element.extend([_element(*each) for each in content])
        return element
    text = str(content)
    try:
        element.text = text
    except ValueError:
        element.text = _NOT_IN_XML.sub("\ufffd", text)
    return element


_END = write_error(0, SUCCESS).removeprefix(b"<xml>")
_ROW = _write("data", [(name, "%b" if name == "isp" else "%d") for name in StatsRow.__struct_fields__])

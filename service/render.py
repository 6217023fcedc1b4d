"""A report or an error to response bytes. Pure, and safe for any text.

Members stand in alphabetical order in both formats. JSON cannot hold a lone surrogate and XML not
most control characters either: each is written as U+FFFD. XML is a fixed template a row (10 ms
for 10,000 rows, where building a tree takes 83); the tests read it back with lxml.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from service.errors import ServiceError
from service.model import Explanation, Format, StatsReport, StatsRow

MEDIA_TYPES: Final = MappingProxyType(
    {
        Format.JSON: "application/json; charset=utf-8",
        Format.XML: "application/xml; charset=utf-8",
    }
)

_PIECE_ROWS = 1_000
_SUCCESS: Final = "Successful operation"
_ENCODE_JSON = msgspec.json.Encoder().encode
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_PLAIN_XML = re.compile("[&<>\r]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A bare CR would be read as LF; ">" is escaped because of "]]>".
_XML_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


def render_report(report: StatsReport, format: Format) -> bytes:
    return b"".join(render_report_in_pieces(report, format))


def render_report_in_pieces(report: StatsReport, format: Format) -> Iterator[bytes]:
    """The same bytes in pieces of a thousand rows (some 1 ms each), so that others may run between."""
    pieces = _report_as_json if format is Format.JSON else _report_as_xml
    return pieces(report.rows)


def render_error(error: ServiceError, format: Format) -> bytes:
    """`error` and `error_text`, nothing else."""
    if format is Format.JSON:
        return b"{%b}" % _outcome_as_json(error.code, error.text)
    return b"<xml>%b</xml>" % _outcome_as_xml(error.code, error.text)


def render_explanation(explanation: Explanation, format: Format) -> bytes:
    """The plan is one text of several lines, a parameter that is NULL is left out, and the rest is as in a report.

    `warnings` is there without any, too: an empty list.
    """
    parameters = {name: value for name, value in explanation.parameters.items() if value is not None}
    data = {
        "plan": "\n".join(explanation.plan),
        "sql": explanation.sql,
        "statement": explanation.statement,
    }
    if format is Format.JSON:
        return b'{"data":%b,%b}' % (
            _ENCODE_JSON({"parameters": parameters, **data, "warnings": explanation.warnings}),
            _outcome_as_json(0, _SUCCESS),
        )
    warnings = "".join(f"<warning>{_xml_text(each)}</warning>" for each in explanation.warnings)
    inner = (
        f"<parameters>{_members_as_xml(parameters)}</parameters>{_members_as_xml(data)}<warnings>{warnings}</warnings>"
    )
    return b"<xml><data>%b</data>%b</xml>" % (inner.encode(), _outcome_as_xml(0, _SUCCESS))


def _members_as_xml(members: Mapping[str, object]) -> str:
    return "".join(f"<{name}>{_xml_text(str(value))}</{name}>" for name, value in members.items())


def _portions(rows: Sequence[StatsRow]) -> Iterator[Sequence[StatsRow]]:
    for start in range(0, len(rows), _PIECE_ROWS):
        yield rows[start : start + _PIECE_ROWS]


def _report_as_json(rows: Sequence[StatsRow]) -> Iterator[bytes]:
    before = b'{"data":['
    for portion in _portions(rows):
        yield before + _rows_as_json(portion)
        before = b","
    end = b"],%b}" % _outcome_as_json(0, _SUCCESS)
    yield end if rows else before + end


def _rows_as_json(rows: Sequence[StatsRow]) -> bytes:
    try:
        array = _ENCODE_JSON(rows)
    except UnicodeEncodeError:
        array = _ENCODE_JSON([msgspec.structs.replace(row, isp=_json_text(row.isp)) for row in rows])
    return array[1:-1]


def _outcome_as_json(code: int, text: str) -> bytes:
    return b'"error":%d,"error_text":%b' % (code, _ENCODE_JSON(_json_text(text)))


def _json_text(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _report_as_xml(rows: Sequence[StatsRow]) -> Iterator[bytes]:
    yield b"<xml>" if rows else b"<xml><data/>"
    for portion in _portions(rows):
        yield "".join(map(_row_as_xml, portion)).encode()
    yield b"%b</xml>" % _outcome_as_xml(0, _SUCCESS)


def _row_as_xml(row: StatsRow) -> str:
    return (
        f"<data><account_id>{row.account_id}</account_id><campaign_id>{row.campaign_id}</campaign_id>"
        f"<hold>{row.hold}</hold><isp>{_xml_text(row.isp)}</isp><new>{row.new}</new>"
        f"<proc>{row.proc}</proc><retry>{row.retry}</retry><total>{row.total}</total></data>"
    )


def _outcome_as_xml(code: int, text: str) -> bytes:
    return f"<error>{code}</error><error_text>{_xml_text(text)}</error_text>".encode()


def _xml_text(text: str) -> str:
    return _NOT_PLAIN_XML.sub(_escape_xml, text)


def _escape_xml(found: re.Match[str]) -> str:
    return _XML_ESCAPES.get(found[0], "\ufffd")

"""Converts a report, an explanation or an error to the bytes of a response, with members in alphabetical order.

Characters that a format cannot contain are written as U+FFFD: lone surrogates, in XML also most control characters.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from service.errors import ServiceError
from service.model import SUCCESS, AnyFormat, Format, Ids, ReportFormat
from service.reports import Explanation, ReportPage, StatsReport, TopReport
from service.wire.rendering import as_csv, as_xml
from service.wire.rendering.rows import IDS, Rows, Shape

MEDIA_TYPES: Final[Mapping[AnyFormat, str]] = {
    **{format: f"application/{format}; charset=utf-8" for format in Format},
    ReportFormat.CSV: "text/csv; charset=utf-8; header=present",
}
Report = StatsReport | TopReport | ReportPage
_SLICE_ROWS: Final = 500
_SHAPED_SLICE_ROWS: Final = 100
_SUCCESS: Final[Mapping[str, object]] = {"error": 0, "error_text": SUCCESS}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode


def _write_json(content: object) -> bytes:
    try:
        return _encode(content)
    except UnicodeEncodeError:
        return _encode(_encodable(msgspec.to_builtins(content)))


def _encodable(content: Any) -> Any:
    if isinstance(content, list):
        return [_encodable(item) for item in content]
    if isinstance(content, dict):
        return {name: _encodable(value) for name, value in content.items()}
    return _SURROGATE.sub("\ufffd", content) if isinstance(content, str) else content


class _Writer(NamedTuple):
    """`write` renders a body from members, `write_rows` the part of a report between `before` and `after`.

    `before` gets the columns, `after` the members that follow the documented ones.
    """

    write: Callable[[Mapping[str, object]], bytes]
    write_rows: Callable[[Rows], bytes]
    before: Callable[[Sequence[str]], bytes]
    between: bytes
    after: Callable[[Mapping[str, object]], bytes]


_WRITERS: Final[Mapping[AnyFormat, _Writer]] = {
    Format.JSON: _Writer(
        _write_json,
        lambda rows: _write_json(rows)[1:-1],
        lambda _: b'{"data":[',
        b",",
        lambda more: b"]," + _write_json({**_SUCCESS, **more}).removeprefix(b"{"),
    ),
    Format.XML: _Writer(
        as_xml.write,
        as_xml.write_rows,
        lambda _: b"<xml>",
        b"",
        lambda more: as_xml.write({**_SUCCESS, **more}).removeprefix(b"<xml>"),
    ),
    # The members are in headers.
    ReportFormat.CSV: _Writer(lambda _: b"", as_csv.write_rows, as_csv.write_head, b"", lambda _: b""),
}

# The end of a documented response, which would take 12 us to render in XML.
_AROUND: Final = {format: (writer.before(()), writer.after({})) for format, writer in _WRITERS.items()}


def render_report(report: Report, format: AnyFormat, shape: Shape | None = None) -> bytes:
    before, after = _around(report, format, shape)
    return before + _WRITERS[format].write_rows(shape.apply(report.rows) if shape else report.rows) + after


def render_report_in_slices(report: Report, format: AnyFormat, shape: Shape | None = None) -> Iterator[bytes]:
    """The same bytes, a few rows at a time, so that other requests can run between slices. An empty report has one.

    500 rows take 0.5 ms, and 2 ms in XML if their ISPs were never rendered before. With names, 100 rows take as long.
    """
    writer = _WRITERS[format]
    before, after = _around(report, format, shape)
    step = _SHAPED_SLICE_ROWS if shape else _SLICE_ROWS
    for start in range(0, max(1, len(report.rows)), step):
        rows = report.rows[start : start + step]
        yield before + writer.write_rows(shape.apply(rows) if shape else rows)
        before = writer.between
    yield after


def _around(report: Report, format: AnyFormat, shape: Shape | None) -> tuple[bytes, bytes]:
    if not isinstance(report, ReportPage):
        return _AROUND[format]
    writer = _WRITERS[format]
    return writer.before(shape.columns(report.columns) if shape else report.columns), writer.after(report.more)


def render_error(error: ServiceError, format: AnyFormat) -> bytes:
    return _WRITERS[format].write({"error": error.code, "error_text": error.text})


def render_details(details: Mapping[str, object] | None, format: AnyFormat) -> bytes:
    """Success without rows, with `details` (numbers by name) if there are any."""
    return _WRITERS[format].write({**({} if details is None else {"details": details}), **_SUCCESS})


def render_rows(rows: Sequence[Mapping[str, object]], format: AnyFormat, shape: Shape | None = None) -> bytes:
    """Rows of any members, whose values are numbers, texts, times, lists of these or None."""
    return _WRITERS[format].write({"data": shape.apply(rows) if shape else rows, **_SUCCESS})


def render_explanation(explanation: Explanation, format: AnyFormat, ids: Ids = Ids.NUMBER) -> bytes:
    """In XML the plan is one text of several lines, and a parameter's value is JSON; `warnings` may be empty."""
    parameters: dict[str, Any] = explanation.parameters
    plan: object = [explanation.tree]
    warnings: object = explanation.warnings
    if format is Format.XML:
        parameters = {name: msgspec.json.encode(value).decode() for name, value in parameters.items()}
        plan = "\n".join(explanation.lines)
        warnings = {"warning": explanation.warnings} if explanation.warnings else {}
    elif ids is Ids.STRING:
        parameters = {name: _as_text(value) if name in IDS else value for name, value in parameters.items()}
    data = {
        "parameters": parameters,
        "plan": plan,
        "sql": explanation.sql,
        "statement": explanation.statement,
        "warnings": warnings,
    }
    return _WRITERS[format].write({"data": data, **_SUCCESS})


def _as_text(value: Any) -> Any:
    """An id, or several, as strings."""
    if isinstance(value, list):
        return [_as_text(id_) for id_ in value]
    return None if value is None else str(value)

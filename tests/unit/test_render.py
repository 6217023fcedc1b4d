"""Responses, read back with the JSON of the standard library and with lxml, equal the rendered report."""

import json
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from service.errors import BadRequest, InternalError, ServiceError, TimedOut, UnknownMethod
from service.model import Format, Ids, ReportFormat
from service.reports import StatsReport, StatsRow
from service.wire.rendering import MEDIA_TYPES, render_error, render_report, render_report_in_slices
from service.wire.rendering.rows import Shape

EXAMPLES = Path(__file__).parents[1] / "examples"
FIELDS = ["account_id", "campaign_id", "hold", "isp", "new", "proc", "retry", "total"]
DOCUMENTED = StatsReport(
    [
        StatsRow(account_id=306, campaign_id=4591, hold=0, isp="", new=100, proc=100, retry=0, total=200),
        StatsRow(account_id=306, campaign_id=4914, hold=80, isp="", new=10, proc=10, retry=40, total=140),
    ]
)
EMPTY = StatsReport([])

any_text = st.text(st.characters(codec=None))  # includes lone surrogates
counts = st.integers(0, 2**63 - 1)
any_row = st.builds(
    StatsRow,
    account_id=counts,
    campaign_id=counts,
    hold=counts,
    isp=any_text,
    new=counts,
    proc=counts,
    retry=counts,
    total=counts,
)


def named(isp: str) -> StatsRow:
    return StatsRow(account_id=0, campaign_id=0, hold=4, isp=isp, new=1, proc=2, retry=3, total=10)


def read_json_report(body: bytes) -> list[StatsRow]:
    answer = json.loads(body)
    assert list(answer) == ["data", "error", "error_text"]
    assert answer["error"] == 0
    assert answer["error_text"] == "Successful operation"
    assert all(list(row) == FIELDS for row in answer["data"])
    return [StatsRow(**row) for row in answer["data"]]


def read_xml_report(body: bytes) -> list[StatsRow]:
    root = etree.fromstring(body)
    *data, error, error_text = root
    assert (root.tag, error.tag, error_text.tag) == ("xml", "error", "error_text")
    assert (error.text, error_text.text) == ("0", "Successful operation")
    if len(data) == 1 and len(data[0]) == 0:
        return []
    assert all([field.tag for field in row] == FIELDS for row in data)
    texts = [{field.tag: field.text or "" for field in row} for row in data]
    return [msgspec.convert(row, StatsRow, strict=False) for row in texts]


def is_in_xml(character: str) -> bool:
    """XML 1.0, production 2."""
    code = ord(character)
    return code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


def as_json_holds_it(text: str) -> str:
    return "".join("\ufffd" if 0xD800 <= ord(character) <= 0xDFFF else character for character in text)


def as_xml_holds_it(text: str) -> str:
    return "".join(character if is_in_xml(character) else "\ufffd" for character in text)


def test_the_documented_json_response_is_rendered_exactly() -> None:
    printed = (EXAMPLES / "stats-response.json").read_bytes()
    rendered = render_report(DOCUMENTED, Format.JSON)
    assert json.loads(rendered, object_pairs_hook=list) == json.loads(printed, object_pairs_hook=list)


def test_the_documented_xml_response_is_rendered_exactly() -> None:
    printed = (EXAMPLES / "stats-response.xml").read_bytes()
    assert render_report(DOCUMENTED, Format.XML) == b"".join(line.strip() for line in printed.splitlines())


@pytest.mark.parametrize("format", Format)
def test_the_documented_response_read_back_is_the_report(format: Format) -> None:
    printed = (EXAMPLES / f"stats-response.{format}").read_bytes()
    if format is Format.JSON:
        assert read_json_report(printed) == DOCUMENTED.rows
    else:
        compact = etree.tostring(etree.fromstring(printed, etree.XMLParser(remove_blank_text=True)))
        assert read_xml_report(compact) == DOCUMENTED.rows


def test_a_response_without_rows_has_the_same_members() -> None:
    end = "Successful operation"
    assert render_report(EMPTY, Format.JSON) == b'{"data":[],"error":0,"error_text":"%s"}' % end.encode()
    assert render_report(EMPTY, Format.XML) == (
        b"<xml><data/><error>0</error><error_text>%s</error_text></xml>" % end.encode()
    )


def test_a_response_with_one_row_has_no_blanks() -> None:
    report = StatsReport([named("A&B")])
    assert render_report(report, Format.JSON) == (
        b'{"data":[{"account_id":0,"campaign_id":0,"hold":4,"isp":"A&B","new":1,"proc":2,"retry":3,"total":10}],'
        b'"error":0,"error_text":"Successful operation"}'
    )
    assert render_report(report, Format.XML) == (
        b"<xml><data><account_id>0</account_id><campaign_id>0</campaign_id><hold>4</hold><isp>A&amp;B</isp>"
        b"<new>1</new><proc>2</proc><retry>3</retry><total>10</total></data>"
        b"<error>0</error><error_text>Successful operation</error_text></xml>"
    )


def test_an_empty_isp_is_an_element_with_a_start_and_an_end() -> None:
    assert b"<isp></isp>" in render_report(StatsReport([named("")]), Format.XML)


@given(st.lists(any_row, max_size=4))
@example([])
@example([named("\r\n\t\r]]>&amp;<\0\x0b\x7f\x85\u2028\ufffe\uffff\ud800\U0001f98a")])
def test_a_report_read_back_is_the_same_report_in_both_formats(rows: list[StatsRow]) -> None:
    from_json = read_json_report(render_report(StatsReport(rows), Format.JSON))
    from_xml = read_xml_report(render_report(StatsReport(rows), Format.XML))
    assert [row.isp for row in from_json] == [as_json_holds_it(row.isp) for row in rows]
    assert [row.isp for row in from_xml] == [as_xml_holds_it(row.isp) for row in rows]
    for read in (from_json, from_xml):
        assert [numbers(row) for row in read] == [numbers(row) for row in rows]


def numbers(row: StatsRow) -> list[int]:
    return [getattr(row, name) for name in FIELDS if name != "isp"]


def test_every_character_is_kept_or_replaced() -> None:
    names = ["".join(map(chr, range(start, start + 0x1000))) for start in range(0, 0x12000, 0x1000)]
    report = StatsReport([named(name) for name in [*names, "\U0010ffff"]])
    assert [row.isp for row in read_json_report(render_report(report, Format.JSON))] == (
        [as_json_holds_it(row.isp) for row in report.rows]
    )
    assert [row.isp for row in read_xml_report(render_report(report, Format.XML))] == (
        [as_xml_holds_it(row.isp) for row in report.rows]
    )


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 2000, 2500])
@pytest.mark.parametrize("format", Format)
def test_the_concatenated_slices_are_the_report(format: Format, count: int) -> None:
    rows = [named(f"isp {number}") for number in range(count)]
    slices = list(render_report_in_slices(StatsReport(rows), format))
    assert b"".join(slices) == render_report(StatsReport(rows), format)
    read = read_json_report if format is Format.JSON else read_xml_report
    assert read(b"".join(slices)) == rows
    opening = b'{"account_id"' if format is Format.JSON else b"<data>"
    assert all(each.count(opening) <= 500 for each in slices)
    assert len(slices) == max(1, math.ceil(count / 500)) + 1, "and the part after the rows"


def test_rows_may_be_any_sequence() -> None:
    rows = (named("Gmail"), named("Yahoo"))
    for format in Format:
        assert render_report(StatsReport(rows), format) == render_report(StatsReport(list(rows)), format)


@pytest.mark.parametrize("error", [BadRequest("id must be 1"), UnknownMethod(), InternalError(), TimedOut()])
def test_an_error_has_two_members_and_nothing_else(error: ServiceError) -> None:
    assert json.loads(render_error(error, Format.JSON)) == {"error": error.code, "error_text": error.text}
    root = etree.fromstring(render_error(error, Format.XML))
    assert (root.tag, [(child.tag, child.text) for child in root]) == (
        "xml",
        [("error", str(error.code)), ("error_text", error.text)],
    )


@given(any_text)
@example("<root> & ]]>\r\0\ud800")
def test_an_error_may_have_any_text(detail: str) -> None:
    error = BadRequest(detail)
    assert json.loads(render_error(error, Format.JSON))["error_text"] == as_json_holds_it(error.text)
    assert etree.fromstring(render_error(error, Format.XML))[1].text == as_xml_holds_it(error.text)


def test_each_format_has_its_media_type() -> None:
    assert MEDIA_TYPES == {
        Format.JSON: "application/json; charset=utf-8",
        Format.XML: "application/xml; charset=utf-8",
        ReportFormat.CSV: "text/csv; charset=utf-8; header=present",
    }


@pytest.mark.parametrize("format", Format)
def test_names_keep_or_replace_characters_as_isps_do(format: Format) -> None:
    text = "\r\n\t]]>&amp;<\0\x0b\ufffe\ud800\U0001f98a"
    shape = Shape(names={306: text}, sender_id=119)
    report = StatsReport([msgspec.structs.replace(named(text), account_id=306)])
    rendered = render_report(report, format, shape)
    if format is Format.JSON:
        (row,) = json.loads(rendered)["data"]
        assert (row["isp"], row["account_name"]) == (as_json_holds_it(text), as_json_holds_it(text))
        assert (row["campaign_name"], row["sender_name"]) == (None, None)
    else:
        read = etree.fromstring(rendered)
        assert (read.findtext("data/isp"), read.findtext("data/account_name")) == (
            as_xml_holds_it(text),
            as_xml_holds_it(text),
        )
        assert b"<campaign_name></campaign_name><sender_name></sender_name></data>" in rendered


def test_a_hold_of_all_accounts_has_no_id_and_no_name() -> None:
    rows = [{"account_id": None, "id": 2**63 - 1, "sender_id": 119}]
    shaped = Shape(Ids.STRING, names={}).apply(rows)
    assert shaped == [
        {"account_id": None, "id": str(2**63 - 1), "sender_id": "119", "account_name": None, "sender_name": None}
    ]
    assert rows == [{"account_id": None, "id": 2**63 - 1, "sender_id": 119}]

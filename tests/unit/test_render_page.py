"""A page of the report on many senders as JSON, XML and CSV, and rows with more than the documented members."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.model import AnyFormat, Format, Ids, ReportFormat
from service.reports import Oldest, ReportPage, StatsReport, StatsRowWithOldest, StatsRowWithRates, Window
from service.wire.rendering import render_report, render_report_in_slices, render_rows
from service.wire.rendering.as_csv import cell
from service.wire.rendering.rows import Shape

JSON_END = b'"error":0,"error_text":"Successful operation"}'
XML_END = b"<error>0</error><error_text>Successful operation</error_text></xml>"
NEXT = {"count": 3, "next": "abc"}
PAGE = ReportPage(("sender_id", "isp", "total"), [{"sender_id": 119, "isp": "a<b", "total": 7}], NEXT)
OLDEST = {"hold": None, "total": "2026-11-25T12:30:00Z"}
BY_AGE = ReportPage(("sender_id", "oldest"), [{"sender_id": 119, "oldest": OLDEST}], {"next": None})
OF_OLDEST = "oldest_hold,oldest_new,oldest_proc,oldest_retry,oldest_total"
NAMED = Shape(Ids.STRING, {119: "Zoë"})
AT = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
WITH_OLDEST = StatsRowWithOldest(0, 0, 0, "", 1, 0, 0, 1, Oldest(None, "2026-11-25T12:30:00Z", None, None, "x"))
WITH_RATES = StatsRowWithRates(0, 0, 0, "Gmail", 1, 0, 0, 1, 5, None, AT, 6, Window(AT, AT))


def test_a_page_has_its_rows_and_after_the_documented_members_its_next() -> None:
    end = b'"error":0,"error_text":"Successful operation","count":3,"next":"abc"}'
    assert render_report(PAGE, Format.JSON) == b'{"data":[{"sender_id":119,"isp":"a<b","total":7}],' + end
    assert render_report(PAGE, Format.XML) == (
        b"<xml><data><sender_id>119</sender_id><isp>a&lt;b</isp><total>7</total></data>"
        b"<error>0</error><error_text>Successful operation</error_text><count>3</count><next>abc</next></xml>"
    )
    assert render_report(PAGE, ReportFormat.CSV) == b"sender_id,isp,total\r\n119,a<b,7\r\n"


def test_a_page_with_names_has_a_column_for_them() -> None:
    assert b'[{"sender_id":"119","isp":"a<b","total":7,"sender_name":"Zo\xc3\xab"}]' in render_report(
        PAGE, Format.JSON, NAMED
    )
    assert b"<total>7</total><sender_name>Zo\xc3\xab</sender_name></data>" in render_report(PAGE, Format.XML, NAMED)
    assert render_report(PAGE, ReportFormat.CSV, NAMED) == (
        b"sender_id,isp,total,sender_name\r\n119,a<b,7,Zo\xc3\xab\r\n"
    )
    assert render_report(PAGE, ReportFormat.CSV, Shape()) == render_report(PAGE, ReportFormat.CSV)


def test_columns_of_names_are_in_the_order_of_their_ids() -> None:
    columns = ["sender_id", "campaign_id", "account_id", "total"]
    assert Shape().columns(columns) == columns
    assert Shape(names={}).columns(columns) == [*columns, "account_name", "campaign_name", "sender_name"]
    assert Shape(names={}).columns(["isp"]) == ["isp"]


def test_the_oldest_messages_of_a_page_have_a_time_for_each_status() -> None:
    assert render_report(BY_AGE, Format.JSON).startswith(
        b'{"data":[{"sender_id":119,"oldest":{"hold":null,"total":"2026-11-25T12:30:00Z"}}],'
    )
    assert render_report(BY_AGE, Format.XML).startswith(
        b"<xml><data><sender_id>119</sender_id><oldest><hold></hold><total>2026-11-25T12:30:00Z</total></oldest></data>"
    )
    assert render_report(BY_AGE, ReportFormat.CSV) == (
        f"sender_id,{OF_OLDEST}\r\n119,,2026-11-25T12:30:00Z\r\n".encode()
    )


@pytest.mark.parametrize("format", ReportFormat)
@pytest.mark.parametrize("count", [0, 1, 500, 1001])
def test_the_concatenated_slices_of_a_page_are_the_page(format: AnyFormat, count: int) -> None:
    page = ReportPage(PAGE.columns, [*PAGE.rows] * count, NEXT)
    for shape in (None, NAMED):
        assert b"".join(render_report_in_slices(page, format, shape)) == render_report(page, format, shape)


def test_a_csv_page_without_rows_has_its_header() -> None:
    page = ReportPage(PAGE.columns, [], {"next": None})
    end = b'"error":0,"error_text":"Successful operation","next":null}'
    assert render_report(page, Format.JSON) == b'{"data":[],' + end
    assert render_report(page, ReportFormat.CSV) == b"sender_id,isp,total\r\n"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "a=1", "1-1", "'=1", " =1", 0, -1, None])
def test_every_other_cell_is_unchanged(value: Any) -> None:
    assert cell(value) == value


def test_a_cell_of_csv_may_have_any_text() -> None:
    rows: list[dict[str, Any]] = [
        {"isp": 'a"b,c'},
        {"isp": "a\r\nb"},
        {"isp": None},
        {"isp": "\ud800=é"},
        {"isp": "-1"},
    ]
    assert render_report(ReportPage(("isp",), rows, {}), ReportFormat.CSV) == (
        'isp\r\n"a""b,c"\r\n"a\r\nb"\r\n""\r\n?=é\r\n\'-1\r\n'.encode()
    )


def test_a_row_with_the_oldest_has_them_after_the_documented_members() -> None:
    report = StatsReport([WITH_OLDEST])
    assert render_report(report, Format.JSON) == (
        b'{"data":[{"account_id":0,"campaign_id":0,"hold":0,"isp":"","new":1,"proc":0,"retry":0,"total":1,"oldest":'
        b'{"hold":null,"new":"2026-11-25T12:30:00Z","proc":null,"retry":null,"total":"x"}}],' + JSON_END
    )
    assert render_report(report, Format.XML) == (
        b"<xml><data><account_id>0</account_id><campaign_id>0</campaign_id><hold>0</hold><isp></isp><new>1</new>"
        b"<proc>0</proc><retry>0</retry><total>1</total><oldest><hold></hold><new>2026-11-25T12:30:00Z</new>"
        b"<proc></proc><retry></retry><total>x</total></oldest></data>" + XML_END
    )


def test_a_row_with_rates_and_names_has_the_members_of_the_wire() -> None:
    report, shape = StatsReport([WITH_RATES]), Shape(Ids.STRING, {119: "Zoë"}, sender_id=119)
    assert render_report(report, Format.JSON, shape) == (
        '{"data":[{"account_id":"0","campaign_id":"0","hold":0,"isp":"Gmail","new":1,"proc":0,"retry":0,"total":1,'
        '"arrived":5,"empty_in":null,"last_left":"2026-11-25T12:30:00Z","left":6,'
        '"window":{"from":"2026-11-25T12:30:00Z","to":"2026-11-25T12:30:00Z"},'
        '"account_name":null,"campaign_name":null,"sender_name":"Zoë"}],'.encode()
        + JSON_END
    )
    assert (
        b"<left>6</left><window><from>2026-11-25T12:30:00Z</from><to>2026-11-25T12:30:00Z</to></window>"
        b"<account_name></account_name><campaign_name></campaign_name><sender_name>Zo\xc3\xab</sender_name></data>"
    ) in render_report(report, Format.XML, shape)


def test_rows_with_any_members_can_be_rendered() -> None:
    shape = Shape(Ids.STRING, {119: "Zoë"})
    assert render_rows([{"id": 7, "sender_id": 119}], Format.JSON, shape) == (
        b'{"data":[{"id":"7","sender_id":"119","sender_name":"Zo\xc3\xab"}],' + JSON_END
    )

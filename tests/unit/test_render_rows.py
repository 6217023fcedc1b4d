"""Other responses than the report of a queue: rows with any members, details, explanations; and ids as strings."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from service.model import Format, Ids
from service.reports import Explanation, StatsReport, StatsRow, TopReport
from service.wire.rendering import (
    render_details,
    render_explanation,
    render_report,
    render_report_in_slices,
    render_rows,
)
from service.wire.rendering.rows import Shape, named_ids

JSON_END = b'"error":0,"error_text":"Successful operation"}'
XML_END = b"<error>0</error><error_text>Successful operation</error_text></xml>"
AT = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
ROW = {"account_id": None, "at": AT, "id": 7, "reason": "a<b"}
TOP = TopReport([{"account_id": 306, "hold": 1, "total": 2}])
QUEUE = StatsReport([StatsRow(306, 0, 4, "Gmail", 1, 2, 3, 10)])
EXPLANATION = Explanation(
    "queries/x",
    "SELECT 1;",
    {"sender_id": [119, 120], "id": None, "limit": 3, "isp": "a"},
    ["Top", "  Scan"],
    {"Plan": 1},
    ["w1", "w2"],
)


def test_rows_are_written_with_times_and_without_unknown_values() -> None:
    assert render_rows([ROW], Format.JSON) == (
        b'{"data":[{"account_id":null,"at":"2026-11-25T12:30:00Z","id":7,"reason":"a<b"}],' + JSON_END
    )
    assert render_rows([ROW], Format.XML) == (
        b"<xml><data><account_id></account_id><at>2026-11-25T12:30:00Z</at><id>7</id><reason>a&lt;b</reason></data>"
        + XML_END
    )


def test_no_rows_are_an_empty_list_and_an_empty_element() -> None:
    assert render_rows([], Format.JSON) == b'{"data":[],' + JSON_END
    assert render_rows([], Format.XML) == b"<xml><data/>" + XML_END


def test_the_largest_are_written_as_rows() -> None:
    assert render_report(TOP, Format.JSON) == b'{"data":[{"account_id":306,"hold":1,"total":2}],' + JSON_END
    assert render_report(TOP, Format.XML) == (
        b"<xml><data><account_id>306</account_id><hold>1</hold><total>2</total></data>" + XML_END
    )
    shape = Shape(Ids.STRING, {306: "Acme"})
    assert render_report(TOP, Format.JSON, shape) == (
        b'{"data":[{"account_id":"306","hold":1,"total":2,"account_name":"Acme"}],' + JSON_END
    )


def test_details_are_written_if_there_are_any() -> None:
    assert render_details(None, Format.JSON) == b"{" + JSON_END
    assert render_details(None, Format.XML) == b"<xml>" + XML_END
    assert render_details({"changed": 3}, Format.JSON) == b'{"details":{"changed":3},' + JSON_END
    assert render_details({"changed": 3}, Format.XML) == b"<xml><details><changed>3</changed></details>" + XML_END


def test_a_row_without_names_has_its_documented_members_in_their_order() -> None:
    shape = Shape(Ids.STRING)
    assert render_report(QUEUE, Format.JSON, shape) == (
        b'{"data":[{"account_id":"306","campaign_id":"0","hold":4,"isp":"Gmail","new":1,"proc":2,"retry":3,"total":10}],'
        + JSON_END
    )
    assert render_report(QUEUE, Format.XML, Shape(names={306: "A&B"})) == (
        b"<xml><data><account_id>306</account_id><campaign_id>0</campaign_id><hold>4</hold><isp>Gmail</isp><new>1</new>"
        b"<proc>2</proc><retry>3</retry><total>10</total><account_name>A&amp;B</account_name>"
        b"<campaign_name></campaign_name></data>" + XML_END
    )


def test_a_row_of_any_members_keeps_its_times() -> None:
    assert Shape().apply([ROW]) == [ROW]


@pytest.mark.parametrize("format", Format)
def test_a_slice_of_rows_with_names_has_a_hundred_of_them(format: Format) -> None:
    report = StatsReport([*QUEUE.rows] * 250)
    slices = list(render_report_in_slices(report, format, Shape(names={306: "Acme"})))
    assert [piece.count(b"Acme") for piece in slices if b"Acme" in piece] == [100, 100, 50]
    assert b"".join(slices) == render_report(report, format, Shape(names={306: "Acme"}))


def test_only_the_ids_of_senders_accounts_and_campaigns_may_have_names() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "account_id": 306, "campaign_id": 0},
        {"sender_id": 119, "account_id": None},
    ]
    assert list(named_ids(rows, None)) == [306, 119]
    assert list(named_ids(QUEUE.rows, 120)) == [120, 306]


def test_an_explanation_is_written_with_its_plan_as_a_tree_and_as_text() -> None:
    assert render_explanation(EXPLANATION, Format.JSON) == (
        b'{"data":{"parameters":{"sender_id":[119,120],"id":null,"limit":3,"isp":"a"},"plan":[{"Plan":1}],'
        b'"sql":"SELECT 1;","statement":"queries/x","warnings":["w1","w2"]},' + JSON_END
    )
    assert render_explanation(EXPLANATION, Format.XML) == (
        b'<xml><data><parameters><sender_id>[119,120]</sender_id><id>null</id><limit>3</limit><isp>"a"</isp>'
        b"</parameters><plan>Top\n  Scan</plan><sql>SELECT 1;</sql><statement>queries/x</statement>"
        b"<warnings><warning>w1</warning><warning>w2</warning></warnings></data>" + XML_END
    )


def test_the_warnings_of_an_explanation_may_be_empty() -> None:
    explanation = replace(EXPLANATION, warnings=[])
    assert b'"warnings":[]}' in render_explanation(explanation, Format.JSON)
    assert b"<warnings/></data>" in render_explanation(explanation, Format.XML)


def test_an_explanation_with_ids_as_strings_has_only_its_ids_so() -> None:
    assert b'"parameters":{"sender_id":["119","120"],"id":null,"limit":3,"isp":"a"}' in render_explanation(
        EXPLANATION, Format.JSON, Ids.STRING
    )


def test_a_report_has_the_name_of_its_sender_in_each_row() -> None:
    shape = Shape(names={119: "Zoë"}, sender_id=119)
    assert b'"sender_name":"Zo\xc3\xab"}]' in render_report(QUEUE, Format.JSON, shape)
    assert b"<sender_name>Zo\xc3\xab</sender_name></data>" in render_report(QUEUE, Format.XML, shape)


def test_xml_is_written_in_utf_8() -> None:
    assert b"<name>Zo\xc3\xab</name>" in render_rows([{"name": "Zoë"}], Format.XML)

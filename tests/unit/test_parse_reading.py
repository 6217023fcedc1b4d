"""The parameters of requests that read, in a body and in a URL."""

import json
from typing import Any

import pytest

from service.errors import BadRequest
from service.model import Action, Dimension, Format, Grouping, Ids, Measure, Presentation, StatsQuery, TopQuery
from service.wire.parsing import (
    Envelope,
    parse_control,
    parse_envelope,
    parse_presentation,
    parse_query,
    parse_top,
    parse_url,
)
from service.wire.parsing.parameters import ID, INTERVAL_MS
from service.wire.parsing.refusals import compressed

MAX_INT = 9_223_372_036_854_775_807


def parse_sender(envelope: Envelope) -> int:
    return ID.read(envelope.members)


def parse_interval(envelope: Envelope) -> int:
    return INTERVAL_MS.read(envelope.members)


def body(**members: Any) -> Envelope:
    return parse_envelope(json.dumps(members).encode())


def refusal(read: Any, **members: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        read(body(**members))
    return refused.value.text.removeprefix("Incorrect request: ")


def top_of(**members: Any) -> tuple[str, str, int, int | None]:
    query = parse_top(body(**members))
    assert isinstance(query, TopQuery)
    return query.by.value, query.order.value, query.limit, query.sender_id


def test_the_largest_are_the_hundred_senders_with_most_messages_unless_the_request_differs() -> None:
    assert top_of() == ("sender", "total", 100, None)
    assert top_of(by="", order=None, limit="") == ("sender", "total", 100, None)
    assert top_of(by="isp", order="hold", limit=7, id=119) == ("isp", "hold", 7, 119)
    assert top_of(limit="1000", id="no id is read") == ("sender", "total", 1000, None)
    assert top_of(limit=1) == ("sender", "total", 1, None)
    assert not parse_top(body()).by_age
    assert parse_top(body(order="oldest")) == TopQuery(Dimension.SENDER, Measure.TOTAL, 100, by_age=True)
    assert parse_top(body(order="oldest", status=" hold", limit=2)) == TopQuery(
        Dimension.SENDER, Measure.HOLD, 2, by_age=True
    )


def test_the_parameters_of_the_largest_accept_only_their_choices() -> None:
    assert refusal(parse_top, by="group") == "by must be sender, account, campaign or isp"
    assert refusal(parse_top, order="sent") == "order must be total, new, proc, retry, hold or oldest"
    assert refusal(parse_top, order="oldest", status="sent") == "status must be total, new, proc, retry or hold"
    assert refusal(parse_top, order="oldest", by="isp", id=119) == "order=oldest is for by=sender"
    assert refusal(parse_top, status="new") == "status is for order=oldest"
    for limit in (0, 1001, -1, "many"):
        assert refusal(parse_top, limit=limit) == "limit must be a whole number from 1 to 1000"
    for id_ in (None, 0):
        assert refusal(parse_top, by="account", id=id_) == f"id must be a whole number from 1 to {MAX_INT}"


def test_ids_are_numbers_and_rows_have_no_names_unless_the_request_differs() -> None:
    assert parse_presentation(body(), Format.JSON) == Presentation()
    assert parse_presentation(body(ids="string"), Format.JSON) == Presentation(Ids.STRING)
    assert parse_presentation(body(ids="string", names=1), Format.XML) == Presentation(Ids.NUMBER, has_names=True)
    assert parse_presentation(body(ids="number", names=1), Format.JSON) == Presentation(has_names=True)
    for format in Format:
        with pytest.raises(BadRequest, match="ids must be number or string"):
            parse_presentation(body(ids="text"), format)
        with pytest.raises(BadRequest, match="names must be 0 or 1"):
            parse_presentation(body(names=2), format)


def test_an_interval_is_a_second_unless_the_request_differs() -> None:
    assert [parse_interval(body(**given)) for given in ({}, {"interval_ms": ""}, {"interval_ms": None})] == [1000] * 3
    assert [parse_interval(body(interval_ms=given)) for given in (100, "60000")] == [100, 60_000]
    for given in (99, 60_001, "soon"):
        assert refusal(parse_interval, interval_ms=given) == "interval_ms must be a whole number from 100 to 60000"


def test_a_sender_is_a_whole_number_from_1() -> None:
    assert [parse_sender(body(id=given)) for given in (1, "119")] == [1, 119]
    for members in ({}, {"id": 0}):
        assert refusal(parse_sender, **members) == f"id must be a whole number from 1 to {MAX_INT}"


def test_a_url_has_the_parameters_of_a_body() -> None:
    envelope = parse_url("id=119&isp=a%26b+c&group=isp&account_id=&format=xml")
    assert parse_query(envelope, Grouping.TOTAL) == StatsQuery(119, isp="a&b c", grouping=Grouping.ISP)
    assert (envelope.format(), envelope.written_in) == (Format.XML, Format.JSON)
    assert envelope.members["account_id"] == ""
    assert sorted(envelope.members) == ["account_id", "format", "group", "id", "isp"]


def test_the_last_of_repeated_parameters_of_a_url_is_used() -> None:
    assert parse_sender(parse_url("id=1&id=2&id=3")) == 3
    assert parse_url("").members == {}


@pytest.mark.parametrize(
    ("coding", "name"),
    [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("br", "br"),
        ("x-secret", "an unknown coding"),
        ("a, b", "an unknown coding"),
    ],
)
def test_a_compressed_body_is_refused_with_the_name_of_a_known_coding(coding: str, name: str) -> None:
    assert compressed(coding).text == (
        f"Incorrect request: the body is compressed (Content-Encoding: {name}); it must be a JSON object, "
        "or an XML document with the root <xml>, uncompressed"
    )


def control_refusal(written: bytes) -> str:
    with pytest.raises(BadRequest) as refused:
        parse_control(parse_envelope(written), Action.HOLD)
    return refused.value.text.removeprefix("Incorrect request: ")


def test_a_reason_has_at_most_200_characters() -> None:
    assert parse_control(body(id=1, reason="é" * 200), Action.HOLD).reason == "é" * 200
    text = "reason must be a string of at most 200 characters without NUL and lone surrogates"
    for reason in ("x" * 201, 7, "\0"):
        assert control_refusal(json.dumps({"id": 1, "reason": reason}).encode()) == text


def test_a_hold_expires_within_a_year() -> None:
    assert parse_control(body(id=1, expires_in=31_536_000), Action.HOLD).expires_in_seconds == 31_536_000
    assert control_refusal(b'{"id":1,"expires_in":31536001}') == (
        "expires_in must be a whole number from 0 to 31536000"
    )


def test_a_no_break_space_is_no_blank() -> None:
    assert body(token="\u00a0abc").token() == "\u00a0abc"
    assert parse_control(body(id=1, isp="\u00a0"), Action.HOLD).query.isp == "\u00a0"
    assert control_refusal("<xml>\u00a0<id>1</id></xml>".encode()) == (
        "<xml> must contain only elements, and contains text between them"
    )


def test_only_text_between_the_elements_of_the_root_is_text_between_them() -> None:
    for written in (b"\n<?xml version='1.0'?><xml>\n<id>1</id><x><y>text</y></x></xml>", b"<xml><id>1</id>\t</xml>"):
        assert parse_control(parse_envelope(written), Action.HOLD).query == StatsQuery(1)
    assert (
        control_refusal(b"<xml>X<id>1</id></xml>") == "<xml> must contain only elements, and contains text between them"
    )


def test_a_name_that_is_not_plain_is_not_echoed() -> None:
    assert control_refusal(b'{"id":1,"two words":1,"two words":2}') == (
        "a name that is too long or not plain must be given once, and is given 2 times"
    )


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"[]", "the body must be a JSON object, or an XML document with the root <xml>"),
        (b"<!DOCTYPE xml><xml/>", "the XML body must have no DOCTYPE"),
        (
            rb'{"isp":"\\\\","id":119,}',
            "the body must be one JSON object, and is not: trailing comma in object at byte 23",
        ),
        (b'{"id":1,' * 300, "the body must be one JSON object, and is not: object keys must be strings at byte 8"),
    ],
)
def test_the_error_of_a_body_is_one_sentence(written: bytes, text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_envelope(written)
    assert refused.value.text == f"Incorrect request: {text}"


def test_brackets_in_a_string_behind_a_backslash_are_not_deep() -> None:
    written = rb'{"extra":["\\","' + b"[" * 100 + b'"],"id":1}'
    assert parse_sender(parse_envelope(written)) == 1


def test_a_token_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        body(token=7).token()
    assert refused.value.text == "Incorrect request: token must be a string without NUL and lone surrogates"


@pytest.mark.parametrize("given", [{}, *({"with": nothing} for nothing in (None, "", " ", ",", [], [""], [" ", "\n"]))])
def test_a_report_has_the_documented_members_unless_the_request_differs(given: dict[str, Any]) -> None:
    assert parse_query(body(id=119, **given), Grouping.TOTAL) == StatsQuery(119)


def test_a_report_has_more_members_on_request() -> None:
    for given in ("oldest", " oldest,", ["oldest"], ["", " oldest\n", "oldest"]):
        assert parse_query(body(id=119, **{"with": given}), Grouping.TOTAL) == StatsQuery(119, has_oldest=True)
    for given in ("oldest, rates", "rates,oldest", ["oldest", "rates"]):
        query = parse_query(body(id=119, **{"with": given}), Grouping.TOTAL)
        assert query == StatsQuery(119, has_oldest=True, has_rates=True)
    in_xml = parse_envelope(b"<xml><id>119</id><with>rates</with></xml>")
    assert parse_query(in_xml, Grouping.ISP) == StatsQuery(119, grouping=Grouping.ISP, has_rates=True)


@pytest.mark.parametrize(
    "wrong", ["newest", "Oldest", "oldest rates", ["oldest", 5], [None], [["oldest"]], 5, True, {}]
)
def test_an_invalid_list_of_more_members_is_refused(wrong: Any) -> None:
    text = "with must be a list of oldest, rates"
    assert refusal(lambda envelope: parse_query(envelope, Grouping.TOTAL), id=119, **{"with": wrong}) == text

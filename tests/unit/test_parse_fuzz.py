"""Arbitrary bytes raise only `BadRequest`, and both formats are parsed into the same query."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import BadRequest
from service.model import Format, Grouping, StatsQuery
from service.wire.parsing import parse_envelope, parse_query, sniff
from service.wire.parsing.json_body import read_any_json, read_json
from service.wire.parsing.parameters import PARAMETERS as EVERY_PARAMETER
from service.wire.parsing.parameters import Number

PARAMETERS = ["token", "format", "id", "account_id", "campaign_id", "isp", "group"]
JSON_BODY = b'{"token":"abc","id":119,"account_id":"007","isp":"Gmail","group":"isp","extra":[{"a":null}]}'
XML_BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?><xml><token>abc</token><id a="1">119</id><!-- note -->'
    b"<isp>G<![CDATA[<m>]]>&amp;&#105;l</isp><extra><b/></extra></xml>"
)
XML_PIECES = [
    *("<xml>", "</xml>", "<id>", "</id>", "<isp>", "</isp>", "<isp/>", "<p:id>", "</p:id>", "<xml xmlns='u'>"),
    *("<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<?xml version='1.0' encoding='", "UTF-8", "UTF-16", "'?>"),
    *("<!DOCTYPE xml [", "<!ENTITY e '", "<!ENTITY % e SYSTEM 'file:///dev/null'>", "'>", "]>", "&e;", "%e;"),
    *("&amp;", "&#", "&#0;", "&#x", "119", ";", "<", ">", "&", "'", '"', "=", " ", "\n", "\0", "\ufeff", "\uffff", "é"),
]

any_text = st.text(st.characters(codec=None))  # includes lone surrogates
xml_characters = st.characters(
    codec="utf-8", exclude_categories=["Cc"], include_characters="\t\n\r", exclude_characters="\ufffe\uffff"
)
blanks = st.text(" \t\r\n", max_size=2)
written_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
likely_text = (
    st.sampled_from(
        ["", "json", "xml", "null", *Grouping, "Total", "0", "1", "-1", "119.0", str(2**63 - 1), str(2**63)]
    )
    | written_numbers
    | st.text("0123456789", max_size=25)
)
padded_text = st.tuples(blanks, likely_text, blanks).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | padded_text | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)


def read_everything(body: bytes) -> StatsQuery:
    """Parses a body as an endpoint does. Raises the first error."""
    assert sniff(body) in (None, *Format)
    envelope = parse_envelope(body)
    assert envelope.written_in is sniff(body)
    assert envelope.valid_format() in (None, *Format)
    assert envelope.format() is envelope.valid_format()
    token = envelope.token()
    assert token is None or token.encode().strip(b" \t\r\n") == token.encode() != b""
    return parse_query(envelope, Grouping.TOTAL)


def survives(body: bytes) -> None:
    with suppress(BadRequest):
        query = read_everything(body)
        assert 0 < query.sender_id < 2**63
        assert query.isp is None or "\0" not in query.isp.encode().decode()


@given(st.binary())
@example(b"{" + b"[" * 65_000)
@example(b'{"id":' + b"9" * 65_000 + b"}")
@example(b'{"id":-' + b"1e" * 32_000 + b"}")
@example(b"<xml>" + b"<id>" * 16_000)
@example(b"<xml><id>&#" + b"9" * 65_000 + b";</id></xml>")
@example(b"<" * 65_536)
@example(b"\xef\xbb\xbf" * 21_845)
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    survives(body)


@given(st.sampled_from([b"{", b'{"id":', b'{"isp":"', b"<", b"<xml>", b"<xml><id>", b"<!DOCTYPE "]), st.binary())
def test_any_bytes_after_a_valid_beginning_are_parsed_or_refused(beginning: bytes, rest: bytes) -> None:
    survives(beginning + rest)


@given(st.sampled_from([JSON_BODY, XML_BODY]), st.data())
def test_any_valid_body_with_a_replaced_piece_is_parsed_or_refused(body: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 8)))
    other = data.draw(st.integers(0, len(body)))
    piece = data.draw(st.binary(max_size=4) | st.just(body[other : other + 12]))
    survives(body[:start] + piece + body[end:])


@given(st.lists(st.tuples(st.sampled_from(PARAMETERS) | any_text, values), max_size=8), st.booleans())
def test_any_json_object_is_parsed_or_refused(pairs: list[tuple[str, object]], ascii_only: bool) -> None:
    members = ",".join(
        f"{json.dumps(name, ensure_ascii=ascii_only)}:{json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in pairs
    )
    survives(b"{%b}" % members.encode(errors="surrogatepass"))


JSON_PIECES = [
    *(
        '"',
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        " ",
        "\\\\",
        '\\"',
        "\\u005c",
        "\\ud83e\\udd8a",
        "\\ud800",
        "\\uDFFF",
        "\\x",
        "\0",
    ),
    *("0", "-1", "1e5", "01", "true", "null", "NaN", '"id":', '"isp":', '"":', "é", "\U0001f98a", "\x7f", "\v"),
]
leaves = ["0", "-1.5e3", "true", "null", '"["', r'"\"]"', r'"\\"', r'"\ud800"', r'"\ud83e\udd8a"', '"}{"']
some_json = st.recursive(
    st.sampled_from(leaves),
    lambda inner: st.lists(inner, max_size=4).flatmap(
        lambda values: st.sampled_from(["[" + ",".join(values) + "]", "{" + ",".join(f'"[":{v}' for v in values) + "}"])
    ),
    max_leaves=40,
)


@given(st.lists(st.sampled_from(JSON_PIECES), max_size=25).map("".join) | some_json, st.integers(0, 35))
def test_a_body_is_accepted_if_and_only_if_the_standard_library_accepts_it(inner: str, levels: int) -> None:
    """The standard library checks the syntax only, so bodies beyond the limits of depth and members are left out."""
    text = '{"x":' + "[" * levels + inner + "]" * levels + "}"
    try:
        pairs = json.loads(text, object_pairs_hook=list, parse_constant=pytest.fail)
    except (ValueError, pytest.fail.Exception):
        pairs = None
    if pairs is not None and depth_of(pairs) <= 32:
        assert parse_envelope(text.encode()).members.keys() == {name for name, _ in pairs}
    else:
        with pytest.raises(BadRequest, match="the body must"):
            parse_envelope(text.encode())


plain_members = st.tuples(
    st.sampled_from([*sorted(EVERY_PARAMETER), "extra", "iD", "", "id\\u0000"]),
    st.sampled_from(
        ["0", "-0", "1", "01", "007", "119.0", "1.", "1e2", "-1", "+1", str(2**63 - 1), str(2**63), "9" * 30]
    )
    | st.sampled_from(
        ["null", "true", "[]", "[1]", "{}", '{"id":1}', '"', '""', '" 7 "', '"\\\\"', '"\\ud800"', '"\t"', '"é"']
    )
    | st.text("0123456789.-+eE", max_size=22)
    | st.text(st.characters(codec="utf-8"), max_size=12).map(json.dumps)
    | st.text(st.characters(codec="utf-8"), max_size=12).map('"{}"'.format),
)
separators = st.sampled_from([",", ",", ",", " ,", ",\n", "", ",,"])


@given(st.lists(st.tuples(plain_members, separators), max_size=6), st.sampled_from(["", "", "", " ", "}", "\0", "{"]))
@example([(("id", "1" + "0" * 1100), ",")], "")
@example([(("isp", '"' + "x" * 1100 + '"'), ",")], "")
def test_a_body_with_only_plain_characters_is_read_as_any_other(
    pairs: list[tuple[tuple[str, str], str]], rest: str
) -> None:
    members = "".join(f'"{name}":{value}{separator}' for (name, value), separator in pairs)
    body = f"{{{members.removesuffix(',')}}}{rest}".encode()
    assert reading(read_json, body) == reading(read_any_json, body)


def reading(read: Callable[[bytes, int], Mapping[str, object]], body: bytes) -> object:
    """The result of parsing a body: kind and text of each parameter, and the other names; or the error."""
    try:
        members = read(body, 0)
    except BadRequest as error:
        return error.text
    return {name: kind_of(value) if name in EVERY_PARAMETER else None for name, value in members.items()}


def kind_of(value: object) -> object:
    """Replaces a number by its text."""
    return ("number", str(value)) if isinstance(value, int | Number) else value


def depth_of(value: object) -> int:
    """Objects are lists of pairs here, so that repeated members are kept with their values."""
    if not isinstance(value, list):
        return 0
    return 1 + max((depth_of(each[1] if isinstance(each, tuple) else each) for each in value), default=0)


@given(st.lists(st.sampled_from(XML_PIECES) | st.text(max_size=3), max_size=30).map("".join), st.booleans())
def test_anything_that_looks_like_xml_is_parsed_or_refused(pieces: str, in_root: bool) -> None:
    survives((f"<xml>{pieces}</xml>" if in_root else f"<{pieces}").encode())


@given(st.dictionaries(st.sampled_from(PARAMETERS), padded_text | st.text(xml_characters)), st.sampled_from(Grouping))
@example({"id": "007", "isp": " \t\n", "group": "\nisp "}, Grouping.TOTAL)
def test_the_same_strings_in_json_and_in_xml_are_the_same_request(texts: dict[str, str], default: Grouping) -> None:
    children = "".join(f"<{name}>{escape(text, {chr(13): '&#13;'})}</{name}>" for name, text in texts.items())
    assert outcome(json.dumps(texts).encode(), default) == outcome(f"<xml>{children}</xml>".encode(), default)


def outcome(body: bytes, default: Grouping) -> list[object]:
    """The result of each step of reading a body: a value, or the text of the error."""
    envelope = parse_envelope(body)
    results: list[object] = []
    for read in (envelope.token, envelope.format, lambda: parse_query(envelope, default)):
        try:
            results.append(read())
        except BadRequest as error:
            results.append(error.text)
    return results


@given(st.sampled_from([("id", "sender_id", 1), ("account_id", "account_id", 0)]), padded_text | any_text)
def test_a_number_is_accepted_if_and_only_if_the_contract_accepts_it(
    parameter: tuple[str, str, int], text: str
) -> None:
    name, field, least = parameter
    trimmed = text.strip(" \t\r\n")
    digits_only = all(character in "0123456789" for character in trimmed)
    accepted = digits_only and least <= int(trimmed or "0") < 2**63
    body = json.dumps({"id": 119, name: text}).encode()
    if accepted:
        assert getattr(read_everything(body), field) == (int(trimmed or "0") or None)
    else:
        with pytest.raises(BadRequest, match=f"{name} must be a whole number from {least} to"):
            read_everything(body)


@given(written_numbers)
def test_a_json_number_is_accepted_if_and_only_if_its_digits_are_as_a_string(number: str) -> None:
    as_number, as_string = f'{{"id":{number}}}'.encode(), f'{{"id":"{number}"}}'.encode()
    assert outcome(as_number, Grouping.TOTAL) == outcome(as_string, Grouping.TOTAL)


plain = st.text(xml_characters.filter(lambda character: character not in "<>&\r"), max_size=5)
pieces_of_text = st.one_of(
    plain.map(lambda text: (text, text)),
    plain.map(lambda text: (f"<![CDATA[{text}<&]]>", f"{text}<&")),
    xml_characters.map(lambda character: (f"&#{ord(character)};", character)),
    xml_characters.map(lambda character: (f"&#x{ord(character):X};", character)),
    st.sampled_from([("<!-- <isp> & -->", ""), ("<?target isp?>", ""), ("&lt;", "<"), ("&amp;", "&"), ("\r\n", "\n")]),
)


@given(st.lists(pieces_of_text))
def test_the_text_of_an_element_is_the_text_of_its_pieces(pieces: list[tuple[str, str]]) -> None:
    written = "".join(piece for piece, _ in pieces)
    meant = "".join(text for _, text in pieces)
    body = f"<xml><id>119</id><isp>{written}</isp></xml>"
    assert read_everything(body.encode()).isp == (meant or None)

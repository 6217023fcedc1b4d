"""JSON bodies: which ones are accepted, and which members they contain."""

import gzip
import json
import zlib
from urllib.parse import quote

import pytest

from service.errors import BadRequest
from service.model import Format, Grouping
from service.wire.parsing import parse_envelope, parse_query, sniff
from service.wire.parsing.parameters import ACCEPTED, MAX_DEPTH, MAX_MEMBERS
from service.wire.parsing.refusals import unknown_names


def members_of(body: bytes) -> dict[str, object]:
    return dict(parse_envelope(body).members)


def nested(levels: int) -> bytes:
    """A body with this number of levels. The object itself is the first level."""
    return b'{"extra":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("lead", [b"", b" ", b"\t\r\n", b"\xef\xbb\xbf", b"\n\xef\xbb\xbf \xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("body", "format", "id_"), [(b'{"id":1}', Format.JSON, 1), (b"<xml><id>1</id></xml>", Format.XML, "1")]
)
def test_the_first_byte_after_blanks_and_byte_order_marks_selects_the_format(
    lead: bytes, body: bytes, format: Format, id_: object
) -> None:
    assert sniff(lead + body) is format
    envelope = parse_envelope(lead + body)
    assert envelope.written_in is format
    assert envelope.members == {"id": id_}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"[]",
        b"null",
        b'"{}"',
        b"id=119",
        b"\x00{}",
        b"\x0b{}",
        b"\xc2\xa0{}",
        '{"id":119}'.encode("utf-16"),
        "<xml/>".encode("utf-16"),
        '{"id":119}'.encode("utf-16-be"),
    ],
)
def test_any_other_first_byte_is_an_error(body: bytes) -> None:
    assert sniff(body) is None
    with pytest.raises(BadRequest, match="must be a JSON object, or an XML document with the root <xml>"):
        parse_envelope(body)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (gzip.compress(b"{}", mtime=0), "compressed with gzip"),
        (zlib.compress(b"{}", 1), "compressed with deflate"),
        (zlib.compress(b"{}"), "compressed with deflate"),
        (zlib.compress(b"{}", 9), "compressed with deflate"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "compressed with zstd"),
        ('{"id":119}'.encode("utf-16"), "UTF-16"),
        (b"id=119", "a form (application/x-www-form-urlencoded)"),
        (b"a=b&c=d", "a form (application/x-www-form-urlencoded)"),
        (b"isp%5B%5D=x", "a form (application/x-www-form-urlencoded)"),
        (quote('{"id":119}').encode(), "a form (application/x-www-form-urlencoded)"),
        (b'--x\r\nContent-Disposition: form-data; name="id"\r\n\r\n1\r\n--x--', "a form (multipart/form-data)"),
        (b"--x\r\ncontent-type: text/plain\r\nContent-Disposition: form-data", "a form (multipart/form-data)"),
    ],
)
def test_the_error_names_the_kind_of_the_body(body: bytes, what: str) -> None:
    text = f"Incorrect request: the body is {what}; it must be a JSON object, or an XML document with the root <xml>"
    with pytest.raises(BadRequest) as raised:
        parse_envelope(body)
    assert raised.value.text == text


def test_the_value_of_a_parameter_keeps_its_spelling() -> None:
    body = b'{"id":"7","account_id":7,"campaign_id":7.0,"isp":7e0,"group":-0,"token":null,"format":" x "}'
    members = members_of(body)
    assert list(members.values()) == ["7", "7", "7.0", "7e0", "-0", None, " x "]
    assert {name for name, value in members.items() if type(value) is str} == {"id", "format"}


def test_blanks_may_follow_the_object() -> None:
    assert members_of(b'{"id":119} \t\r\n') == {"id": 119}


def test_the_last_of_repeated_members_is_used() -> None:
    assert members_of(b'{"id":1,"id":[2],"id":"3"}') == {"id": "3"}


def test_an_escaped_name_is_the_name() -> None:
    assert members_of(b'{"\\u0069d":119}') == {"id": "119"}


@pytest.mark.parametrize(
    "value",
    [
        "[1,[2,[3]]]",
        '{"id":5,"token":{}}',
        "1e999999999",
        "-0.0",
        "9" * 60_000,
        '"\\ud800"',
        '"\\u0000"',
        '"\u202e\U0001f600"',
        "true",
        "null",
        json.dumps("[{" * 100),
        json.dumps('"\\' * 100 + "[" * 100),
    ],
)
def test_an_unknown_member_may_have_any_value(value: str) -> None:
    body = f'{{"extra":{value},"id":119,"\\ud800":{value[:9] if value[0] == "9" else 1}}}'
    assert members_of(body.encode())["id"] == "119"


@pytest.mark.parametrize("text", [r"\\ud800", r"\\\\ud800\ud83e\udd8a", r"\ud83e\udd8a", r"\\u005cud800"])
def test_a_lone_surrogate_elsewhere_changes_no_value(text: str) -> None:
    body = f'{{"isp":"{text}","x":"\\udd8a","y":"\\\\ud83e\\udd8a"}}'
    assert members_of(body.encode())["isp"] == json.loads(f'"{text}"')


@pytest.mark.parametrize(
    "text", [r"\\ud800\udc00", r"\\\ud800", r"\ud800\\udc00", r"\udc00\ud800", r"\ud800\ud800\udc00"]
)
def test_a_lone_surrogate_is_detected_after_backslashes_and_beside_others(text: str) -> None:
    with pytest.raises(BadRequest, match="isp must be a string"):
        parse_query(parse_envelope(f'{{"id":1,"isp":"{text}"}}'.encode()), Grouping.TOTAL)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}}",
        b"{}{}",
        b"{} x",
        b"{} \xef\xbb\xbf",
        b"{} <xml/>",
        b"{'id':119}",
        b"{id:119}",
        b'{"id":119,}',
        b'{"id"}',
        b'{"id":}',
        b'{"id":007}',
        b'{"id":+1}',
        b'{"id":.5}',
        b'{"id":1.}',
        b'{"id":0x10}',
        b'{"id":1_000}',
        '{"id":\u0661}'.encode(),
        b'{"id":NaN}',
        b'{"extra":Infinity}',
        b'{"extra":[-Infinity]}',
        b'{"id":True}',
        b'{"id":119} // sender',
        b'{"isp":"a\nb"}',
        b'{"isp":"\x00"}',
        b'{"isp":"\\x41"}',
        b'{"isp":"\\u00g0"}',
        b'{"isp":"open}',
        b'{"isp":"\xff"}',
        b'{"isp":"\xc0\x80"}',
        b'{"isp":"\xed\xa0\x80"}',
        b'{"\xff":1}',
        '{"id":119}'.encode("utf-16-le"),
    ],
)
def test_a_body_that_is_not_one_json_object_in_utf_8_is_an_error(body: bytes) -> None:
    with pytest.raises(BadRequest, match="the body must be"):
        parse_envelope(body)


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        (b'{"id":119,}', "trailing comma in object at byte 10"),
        (b'\xef\xbb\xbf\n{"id":119 "isp":""}', "expected ',' or '}' at byte 14"),
        (b'{"id":119} {}', "trailing characters at byte 12"),
        (b'{"id":007}', "invalid number at byte 7"),
        (b'{"isp":"\\ud800","id":119,}', "trailing comma in object at byte 25"),
        (b'{"id":119', "it ends too early"),
    ],
)
def test_a_syntax_error_is_described_with_its_position(body: bytes, mistake: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_envelope(body)
    assert caught.value.text == f"Incorrect request: the body must be one JSON object, and is not: {mistake}"


@pytest.mark.parametrize(
    ("body", "good_bytes"), [(b'\xef\xbb\xbf{"isp":"\xff"}', 11), (b"\xef\xbb\xbf\n<xml><id></xml>", 15)]
)
def test_the_errors_of_encoding_and_xml_name_the_number_of_valid_bytes_before(body: bytes, good_bytes: int) -> None:
    with pytest.raises(BadRequest, match=f" after byte {good_bytes}$"):
        parse_envelope(body)


@pytest.mark.parametrize("beside", [b"{", b'{"beside":[[],{}],'])
def test_32_levels_are_read_and_33_are_not(beside: bytes) -> None:
    assert "extra" in members_of(nested(MAX_DEPTH).replace(b"{", beside))
    with pytest.raises(BadRequest, match="32 levels"):
        parse_envelope(nested(MAX_DEPTH + 1).replace(b"{", beside))


@pytest.mark.parametrize("inner", [b"[]", b"{}", b'{"":[]}', b'"[["', b'"\\"[{"'])
def test_many_brackets_side_by_side_are_not_deep(inner: bytes) -> None:
    assert "extra" in members_of(b'{"extra":[' + b",".join([inner] * 2000) + b"]}")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[{},", b'["]",'])
def test_a_body_of_nothing_but_opening_brackets_is_an_error(opening: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_envelope(b'{"extra":' + opening * 9000)


def test_256_members_are_read_and_257_are_not() -> None:
    def body(count: int) -> bytes:
        return b"{" + b",".join([b'"id":119'] * count) + b"}"

    assert members_of(body(MAX_MEMBERS)) == {"id": "119"}
    with pytest.raises(BadRequest, match="256 members"):
        parse_envelope(body(MAX_MEMBERS + 1))


@pytest.mark.parametrize("count", [MAX_MEMBERS, MAX_MEMBERS + 1])
@pytest.mark.parametrize("value", ["1", '{"a":1,"b":{"c":":"}}', '":::"', '[{"a":0},{"":1}]'])
def test_only_the_members_of_the_object_itself_are_counted(count: int, value: str) -> None:
    body = b"{%b}" % ",".join(f'"name {number}":{value}' for number in range(count)).encode()
    if count == MAX_MEMBERS:
        assert len(members_of(body)) == count
    else:
        with pytest.raises(BadRequest, match="256 members"):
            parse_envelope(body)


def unknown(body: bytes) -> list[str]:
    return unknown_names(parse_envelope(body).members, ACCEPTED["stats"])


def test_unknown_names_are_listed_if_they_fit_into_a_header() -> None:
    names = ["grup", "isp", "a,b", "two words", "\u00e9", "tab\t", "", "x" * 32, "x" * 33, "ID", "a-b.c:d"]
    assert unknown(json.dumps(dict.fromkeys(names)).encode()) == ["grup", "x" * 32, "ID", "a-b.c:d"]
    assert unknown(b"<xml><grup>isp</grup><id>1</id><p:x/></xml>") == ["grup", "p:x"]
    assert len(unknown(json.dumps({f"n{number}": 0 for number in range(99)}).encode())) == 8


def test_an_unknown_member_may_have_any_number_of_members() -> None:
    inner = json.dumps(dict.fromkeys(map(str, range(1000))))
    assert "extra" in members_of(f'{{"extra":{inner}}}'.encode())


@pytest.mark.parametrize("body", [b'{"token":"secret-word"}', b"<xml><token>secret-word</token></xml>"])
def test_the_repr_of_an_envelope_does_not_contain_the_token(body: bytes) -> None:
    envelope = parse_envelope(body)
    assert envelope.token() == "secret-word"
    assert "secret" not in repr(envelope)

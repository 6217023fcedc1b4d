"""Which values each parameter accepts, in JSON and in XML, and what the errors say."""

import json
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from service.errors import BadRequest
from service.model import Format, Grouping, StatsQuery
from service.wire.parsing import Envelope, parse_envelope, parse_query
from service.wire.parsing.parameters import ANALYZE, FORMAT

EXAMPLES = Path(__file__).parents[1] / "examples"
MAX_INT = 9_223_372_036_854_775_807

WHOLE_NUMBERS = {"id": 1, "account_id": 0, "campaign_id": 0}  # with the smallest valid value
NO_STRINGS = ["0", "1", "119.0", "true", "false", "[]", '["json"]', "{}", '{"a":"isp"}']


def in_json(**members: str) -> Envelope:
    """The values are written as in JSON."""
    written = ",".join(f'"{name}":{value}' for name, value in members.items())
    return parse_envelope(b"{%b}" % written.encode())


def in_xml(**members: str) -> Envelope:
    children = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in members.items())
    return parse_envelope(f"<xml>{children}</xml>".encode())


def in_members(**members: str | None) -> Envelope:
    return Envelope(Format.JSON, members)


def both(**members: str) -> list[Envelope]:
    """The same strings, as JSON strings and as XML text."""
    return [in_json(**{name: json.dumps(text) for name, text in members.items()}), in_xml(**members)]


def query(envelope: Envelope) -> StatsQuery:
    return parse_query(envelope, Grouping.TOTAL)


@pytest.mark.parametrize("name", ["stats-request.json", "stats-request.xml"])
def test_the_documented_request_is_parsed(name: str) -> None:
    envelope = parse_envelope((EXAMPLES / name).read_bytes())
    assert envelope.token() == "abcdefghijklmnqrstuvwxyz"
    assert envelope.format() is None
    assert envelope.written_in == name.rpartition(".")[2]
    assert query(envelope) == StatsQuery(119, None, None, None, Grouping.TOTAL)


def test_every_parameter_is_parsed_into_its_field() -> None:
    for envelope in both(id="1", account_id="2", campaign_id="3", isp="4", group="isp", format="xml", token="5"):
        assert query(envelope) == StatsQuery(1, 2, 3, "4", Grouping.ISP)
        assert (envelope.format(), envelope.token()) == (Format.XML, "5")


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
@pytest.mark.parametrize("written", ["7", "007", " 7", "7\t\r\n", "0" * 5000 + "7"])
def test_a_whole_number_may_be_a_string_with_leading_zeros_and_blanks(name: str, written: str) -> None:
    for envelope in both(**{"id": "119", name: written}):
        assert getattr(query(envelope), "sender_id" if name == "id" else name) == 7


@pytest.mark.parametrize("written", ["119", "1", str(MAX_INT)])
def test_a_whole_number_may_be_a_json_number(written: str) -> None:
    assert query(in_json(id=written)).sender_id == int(written)


def test_the_largest_whole_number_is_the_largest_bigint() -> None:
    for envelope in both(id=str(MAX_INT)):
        assert query(envelope).sender_id == 2**63 - 1
    for envelope in both(id=str(MAX_INT + 1)):
        with pytest.raises(BadRequest):
            query(envelope)


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
@pytest.mark.parametrize(
    "written",
    [
        *("119.0", "1e2", "1E2", "-1", "-0", "0.0", "0e0", "true", "false", "[]", "[119]", "{}", '{"id":119}'),
        *(str(MAX_INT + 1), "9" * 60_000, "1e60000", '"X1"'),
        *('"+1"', '"-1"', '"-0"', '"1.0"', '"1e2"', '"1_000"', '"1 1"', '"0x1"', '"\\u0661"', '"\\uff11"', '"\\u00b2"'),
        *('"\\u00a07"', '"7\\u000b"', '"7\\u0000"', '"\\ud800"', '"true"', '"null"', '"abc"', '"' + "9" * 60_000 + '"'),
    ],
)
def test_other_values_are_refused_and_the_error_describes_a_whole_number(name: str, written: str) -> None:
    text = f"Incorrect request: {name} must be a whole number from {WHOLE_NUMBERS[name]} to {MAX_INT}"
    with pytest.raises(BadRequest) as caught:
        query(in_json(**{"id": "119", name: written}))
    assert caught.value.text == text


@pytest.mark.parametrize("text", ["+1", "-1", "119.0", "1e2", "1 1", "\u0661", "\u00a07", "true", "null", "9" * 60_000])
def test_the_same_rule_is_valid_for_xml_text(text: str) -> None:
    with pytest.raises(BadRequest, match="id must be a whole number from 1"):
        query(in_xml(id=text))


@pytest.mark.parametrize("name", ["account_id", "campaign_id", "isp", "group", "format", "token"])
def test_a_parameter_that_is_left_out_null_or_empty_is_the_same(name: str) -> None:
    absent = in_json(id="119")
    for envelope in [in_json(id="119", **{name: "null"}), *both(id="119", **{name: ""})]:
        assert query(envelope) == query(absent)
        assert (envelope.token(), envelope.format()) == (absent.token(), absent.format()) == (None, None)


@pytest.mark.parametrize("name", ["account_id", "campaign_id", "group", "format", "token"])
def test_a_value_of_blanks_is_empty(name: str) -> None:
    for envelope in both(id="119", **{name: " \t\r\n"}):
        assert query(envelope) == StatsQuery(119)
        assert (envelope.token(), envelope.format()) == (None, None)


@pytest.mark.parametrize("name", ["account_id", "campaign_id"])
def test_a_filter_of_0_matches_every_message(name: str) -> None:
    for envelope in [in_json(id="119", **{name: "0"}), *both(id="119", **{name: "000"})]:
        assert query(envelope) == StatsQuery(119)


def test_an_id_that_is_left_out_or_0_is_an_error() -> None:
    without = [in_json(), *(in_json(id=value) for value in ("null", '""', '" "', "0", '"0"', '"00"'))]
    for envelope in [*without, in_xml(), in_xml(id=""), in_xml(id="0")]:
        with pytest.raises(BadRequest, match="id must be a whole number from 1 to"):
            query(envelope)


@pytest.mark.parametrize("isp", ["Gmail", " Gmail ", " ", "\n", "gmail", "Почта 🦊", "a" * 9000, "null", "\u00a0"])
def test_an_isp_is_not_trimmed(isp: str) -> None:
    for envelope in both(id="119", isp=isp):
        assert query(envelope).isp == isp


@pytest.mark.parametrize("grouping", Grouping)
def test_a_group_is_trimmed(grouping: Grouping) -> None:
    for envelope in [*both(id="119", group=grouping), *both(id="119", group=f" \t{grouping}\r\n")]:
        assert query(envelope).grouping is grouping


@pytest.mark.parametrize("default", Grouping)
def test_the_default_group_is_used_without_one(default: Grouping) -> None:
    for envelope in [in_json(id="119"), in_json(id="119", group="null"), *both(id="119", group="")]:
        assert parse_query(envelope, default).grouping is default


@pytest.mark.parametrize("group", ["Total", "ISP", "sender", "account,isp", "account_campaign_", "\u00a0isp", "null"])
def test_an_unknown_group_is_an_error_that_names_the_known_ones(group: str) -> None:
    for envelope in both(id="119", group=group):
        with pytest.raises(BadRequest) as caught:
            query(envelope)
        assert caught.value.text == "Incorrect request: group must be total, account, account_campaign or isp"


@pytest.mark.parametrize("format", Format)
def test_a_format_is_trimmed(format: Format) -> None:
    for envelope in both(format=f"\n {format}\t"):
        assert envelope.format() is envelope.valid_format() is format
    in_url = in_members(format=f" {format} ")
    assert FORMAT.read(in_url.members) is in_url.valid_format() is format


@pytest.mark.parametrize("format", ["JSON", "Xml", "yaml", "application/json", "json xml", "null"])
def test_a_wrong_format_is_an_error_that_names_both(format: str) -> None:
    for envelope in both(format=format):
        with pytest.raises(BadRequest) as caught:
            envelope.format()
        assert caught.value.text == "Incorrect request: format must be json or xml"
        assert envelope.valid_format() is None
    with pytest.raises(BadRequest):
        FORMAT.read({"format": format})
    assert in_members(format=format).valid_format() is None


def test_an_empty_format_in_the_url_is_left_out() -> None:
    assert [FORMAT.read({"format": value}) for value in ("", " ", None)] == [None] * 3


@pytest.mark.parametrize("value", NO_STRINGS)
def test_other_types_are_an_error_for_every_string_parameter(value: str) -> None:
    envelope = in_json(id="119", token=value, format=value)
    assert envelope.valid_format() is None
    with pytest.raises(BadRequest, match="token must be a string"):
        envelope.token()
    with pytest.raises(BadRequest, match="format must be json or xml"):
        envelope.format()
    with pytest.raises(BadRequest, match="isp must be a string"):
        query(in_json(id="119", isp=value))
    with pytest.raises(BadRequest, match="group must be total"):
        query(in_json(id="119", group=value))


@pytest.mark.parametrize("text", ["\\u0000", "a\\u0000b", "\\ud800", "a\\udfffb", "\\udc00\\ud800"])
@pytest.mark.parametrize("name", ["token", "format", "isp", "group"])
def test_nul_and_lone_surrogates_are_an_error_in_every_string_parameter(name: str, text: str) -> None:
    envelope = in_json(id="119", **{name: f'"{text}"'})
    with pytest.raises(BadRequest, match=f"{name} must be"):
        getattr(envelope, name)() if name in ("token", "format") else query(envelope)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert query(in_json(id="119", isp='"\\ud83e\\udd8a"')).isp == "🦊"


def test_a_token_is_trimmed() -> None:
    for envelope in both(token="\t abc def \r\n"):
        assert envelope.token() == "abc def"
    assert in_members(token=" abc ").token() == "abc"
    assert [in_members(token=value).token() for value in ("", " ", None)] == [None] * 3


def test_analyze_is_0_or_1() -> None:
    assert not ANALYZE.read(in_json().members)
    for value in ("0", '"0"', "null", '""'):
        assert not ANALYZE.read(in_json(analyze=value).members)
    for value in ("1", '"1"', '" 01"'):
        assert ANALYZE.read(in_json(analyze=value).members)
    for value in ("2", "-1", "true", "[]", '"yes"', "1.0"):
        with pytest.raises(BadRequest) as caught:
            ANALYZE.read(in_json(analyze=value).members)
        assert caught.value.text == "Incorrect request: analyze must be 0 or 1"


def test_an_error_never_echoes_a_value() -> None:
    secret = "secret-word"
    broken = [f'{{"token":"{secret}', f'{{"token":"{secret}"}} {secret}', f"<xml><token>{secret}</xml>", secret]
    for body in broken:
        with pytest.raises(BadRequest) as caught:
            parse_envelope(body.encode())
        assert secret not in caught.value.text
    for envelope in both(token=f"{secret}", format=secret, group=secret, id=secret):
        for read in (envelope.format, lambda e=envelope: query(e)):
            with pytest.raises(BadRequest) as caught:
                read()
            assert secret not in caught.value.text

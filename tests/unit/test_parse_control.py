"""The strict parsing of requests with effects: what they refuse, in JSON and in XML."""

import json
from xml.sax.saxutils import escape

import pytest

from service.errors import BadRequest
from service.model import Action, ControlRequest, StatsQuery
from service.wire.parsing import Envelope, parse_control, parse_envelope
from service.wire.parsing.parameters import ACCEPTED
from service.wire.parsing.refusals import refuse_empty, refuse_in_url, refuse_unknown

SECRET = "qs_" + "x" * 43


def bodies(*members: tuple[str, object]) -> list[Envelope]:
    """The same members in both formats, including repeated ones. None is null in JSON and an empty element in XML."""
    in_json = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members)
    in_xml = "".join(f"<{name}>{escape('' if value is None else str(value))}</{name}>" for name, value in members)
    return [parse_envelope(f"{{{in_json}}}".encode()), parse_envelope(f"<xml>{in_xml}</xml>".encode())]


def refusal(envelope: Envelope, action: Action) -> str:
    try:
        refuse_unknown(action, envelope.members)
        parse_control(envelope, action)
    except BadRequest as error:
        return error.text.removeprefix("Incorrect request: ")
    return "accepted"


@pytest.mark.parametrize("action", Action)
def test_every_parameter_is_parsed_into_its_field(action: Action) -> None:
    own: dict[Action, dict[str, object]] = {Action.HOLD: {"reason": "spam", "expires_in": 60}}
    members = {"id": 119, "account_id": 306, "campaign_id": 7, "isp": "Gmail", "at_most": 0, **own.get(action, {})}
    for envelope in bodies(*members.items()):
        reason, seconds = ("spam", 60) if action is Action.HOLD else ("", 0)
        query = StatsQuery(119, 306, 7, "Gmail")
        assert parse_control(envelope, action) == ControlRequest(action, query, reason, seconds, at_most=0)
    for envelope in bodies(("id", 119), ("hold_id", 3)):
        assert parse_control(envelope, Action.RELEASE) == ControlRequest(Action.RELEASE, StatsQuery(119), hold_id=3)


@pytest.mark.parametrize(
    "body", ['\ufeff\n{"id":119}', "\ufeff <xml><id>119</id></xml>", '<xml xmlns=""><id>119</id></xml>']
)
def test_a_byte_order_mark_and_an_empty_namespace_are_ignored(body: str) -> None:
    assert parse_control(parse_envelope(body.encode()), Action.PURGE) == ControlRequest(Action.PURGE, StatsQuery(119))


@pytest.mark.parametrize(
    ("action", "name", "meant"),
    [
        (Action.PURGE, "dryrun", "dry_run"),
        (Action.PURGE, "dryRun", "dry_run"),
        (Action.PURGE, "DRY_RUN", "dry_run"),
        (Action.PURGE, "acount_id", "account_id"),
        (Action.PURGE, "campain_id", "campaign_id"),
        (Action.PURGE, "accountId", "account_id"),
        (Action.PURGE, "atmost", "at_most"),
        (Action.HOLD, "expires_at", "expires_in"),
        (Action.HOLD, "reasons", "reason"),
        (Action.RELEASE, "holdId", "hold_id"),
        (Action.RELEASE, "ID", "id"),
    ],
)
def test_the_error_for_a_misspelt_parameter_names_the_right_one(action: Action, name: str, meant: str) -> None:
    for envelope in bodies(("id", 119), (name, 1)):
        assert refusal(envelope, action) == f"{name} is not a parameter of {action}; did you mean {meant}?"


@pytest.mark.parametrize("action", Action)
def test_a_parameter_of_another_endpoint_is_refused(action: Action) -> None:
    others = {name for accepted in ACCEPTED.values() for name in accepted} - set(ACCEPTED[action])
    assert {"group", "analyze", "by"} <= others
    for name in others:
        for envelope in bodies(("id", 119), (name, 1)):
            assert refusal(envelope, action).startswith(f"{name} is not a parameter of {action}, which takes token, ")


@pytest.mark.parametrize("action", Action)
def test_a_parameter_without_a_value_is_refused(action: Action) -> None:
    for name in ACCEPTED[action]:
        for value in (None, "", " \t\r\n"):
            for envelope in bodies(*{"id": 119, name: value}.items()):
                assert refusal(envelope, action) == f"{name} must have a value, or be omitted"


@pytest.mark.parametrize("action", Action)
def test_a_doubled_name_is_refused(action: Action) -> None:
    for name in ACCEPTED[action]:
        for envelope in bodies(("id", 119), (name, 1), (name, 1)):
            assert refusal(envelope, action) == f"{name} must be given once, and is given {2 + (name == 'id')} times"
    escaped = parse_envelope(rb'{"id":119,"account_id":1,"\u0061ccount_id":2}')
    assert refusal(escaped, action) == "account_id must be given once, and is given 2 times"


def test_a_doubled_name_is_found_in_a_body_with_a_lone_surrogate_or_much_markup() -> None:
    lone = parse_envelope(rb'{"id":119,"reason":"\ud800","id":120}')
    assert refusal(lone, Action.HOLD) == "id must be given once, and is given 2 times"
    costly = parse_envelope(b"<xml><id>1</id><id>2</id><reason>" + b"<b/>" * 5000 + b"</reason></xml>")
    assert refusal(costly, Action.HOLD) == "id must be given once, and is given 2 times"


@pytest.mark.parametrize("attribute", ["dry_run", "dryrun", "version"])
@pytest.mark.parametrize("place", ["<xml", "<id"])
def test_an_attribute_is_refused(attribute: str, place: str) -> None:
    body = '<xml xmlns:p="x" p:kind="y"><id type="integer" p:kind="y">119</id></xml>'
    expected = f"{attribute} must not be an attribute: a parameter is an element of <xml>"
    assert refusal(parse_envelope(body.encode()), Action.PURGE) == "accepted"
    with_attribute = body.replace(place, f'{place} {attribute}="1"')
    assert refusal(parse_envelope(with_attribute.encode()), Action.PURGE) == expected


@pytest.mark.parametrize(
    "text", ["account_id=306", "&lt;account_id&gt;306&lt;/account_id&gt;", "<![CDATA[<account_id>306</account_id>]]>"]
)
def test_text_between_the_elements_is_refused(text: str) -> None:
    expected = "<xml> must contain only elements, and contains text between them"
    for body in (f"<xml>{text}<id>119</id></xml>", f"<xml>\n<id>119</id>\n{text}</xml>"):
        assert refusal(parse_envelope(body.encode()), Action.PURGE) == expected


@pytest.mark.parametrize("name", ["account_id", "campaign_id", "hold_id"])
@pytest.mark.parametrize("value", [0, "0", "000"])
def test_a_filter_of_0_is_refused(name: str, value: object) -> None:
    for envelope in bodies(("id", 119), (name, value)):
        expected = f"{name} must be a whole number from 1 to 9223372036854775807"
        assert refusal(envelope, Action.RELEASE) == expected


def test_the_0_of_a_flag_and_of_an_expiry_is_their_default() -> None:
    for envelope in bodies(("id", 119), ("dry_run", 0), ("details", 0), ("expires_in", 0)):
        refuse_unknown("hold", envelope.members)
        assert parse_control(envelope, Action.HOLD) == ControlRequest(Action.HOLD, StatsQuery(119))


@pytest.mark.parametrize("at_most", ["many", "-1", "1.5", True, []])
def test_at_most_is_a_whole_number(at_most: object) -> None:
    for envelope in bodies(("id", 119), ("at_most", at_most)):
        assert refusal(envelope, Action.PURGE) == "at_most must be a whole number from 0 to 9223372036854775807"


@pytest.mark.parametrize(("name", "value"), [("account_id", 306), ("campaign_id", 7), ("isp", "Gmail")])
def test_a_hold_id_replaces_the_filters(name: str, value: object) -> None:
    for envelope in bodies(("id", 119), ("hold_id", 3), (name, value)):
        expected = "hold_id can't be combined with account_id, campaign_id or isp: the hold has its own filter"
        assert refusal(envelope, Action.RELEASE) == expected


def test_the_url_accepts_only_token_and_format() -> None:
    refuse_in_url("purge", ["token", "format"])
    for name, advice in {
        "dry_run": "; did you mean dry_run in the body?",
        "campaign": "; did you mean campaign_id in the body?",
        "formt": "; did you mean format?",
        "reason": "",
    }.items():
        with pytest.raises(BadRequest) as refused:
            refuse_in_url("purge", [name])
        expected = f"Incorrect request: {name} is not accepted in the URL, which takes token and format{advice}"
        assert refused.value.text == expected
    with pytest.raises(BadRequest, match="token must have a value, or be omitted"):
        refuse_empty([("format", "json"), ("token", "")])


def test_a_token_in_place_of_a_name_is_not_echoed() -> None:
    for refuse in (refuse_unknown, refuse_in_url):
        with pytest.raises(BadRequest) as refused:
            refuse("purge", [SECRET])
        assert SECRET not in refused.value.text
    with pytest.raises(BadRequest) as refused:
        parse_control(bodies(("id", 1), (SECRET, 1), (SECRET, 2))[0], Action.PURGE)
    assert SECRET not in refused.value.text

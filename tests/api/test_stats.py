"""The counts of every group and every combination of filters, in both formats, compared with sums in Python."""

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from lxml import etree
from msgspec.structs import replace

from service.model import Format, Grouping, StatsQuery
from service.reports import StatsRow
from service.settings import Settings
from tests.api.wire import MEDIA_TYPES, STATS, body_of, client_of, serving
from tests.oracle import STATUSES, Message, expected_rows, insert
from tests.unit.test_render import as_xml_holds_it, read_json_report, read_xml_report

EXAMPLES = Path(__file__).parents[1] / "examples"
SENDER, OTHER_SENDER, UNKNOWN_SENDER = 119, 2**63 - 1, 7
ODD_ISPS = ["", " ", "Gmail", "gmail", "<&>\"']]>", "\x01\x1f\x7f\x85", "\t\r\n", "é", "\ufffd", "\uffff", "\U00010000"]
READERS = {Format.JSON: read_json_report, Format.XML: read_xml_report}


def skewed_messages() -> list[Message]:
    """Most messages have one account and one ISP. Some have account 0, campaign 0 or an unusual name of an ISP."""
    dice = random.Random(1)
    few_of_many = [0.5, 0.3, 0.1, 0.06, 0.04]
    return [
        Message(
            dice.choice([SENDER, SENDER, OTHER_SENDER]),
            dice.choices([306, 0, 1, 2**63 - 1, 10], few_of_many)[0],
            dice.choices([4591, 4914, 0, 2**53 + 1, 9], few_of_many)[0],
            dice.choice(["Gmail", *ODD_ISPS]),
            dice.choices(STATUSES, [8, 4, 2, 1])[0],
        )
        for _ in range(3000)
    ]


def as_held(rows: list[StatsRow], format: Format) -> list[StatsRow]:
    """The rows as the format can represent them. JSON has every character, XML replaces some."""
    if format is Format.JSON:
        return rows
    return [StatsRow(**{**_fields(row), "isp": as_xml_holds_it(row.isp)}) for row in rows]


def _fields(row: StatsRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in StatsRow.__struct_fields__}


async def ask(client: httpx.AsyncClient, token: str, format: Format, query: StatsQuery) -> list[StatsRow]:
    body = body_of(
        format,
        token=token,
        id=query.sender_id,
        account_id=query.account_id,
        campaign_id=query.campaign_id,
        # The unusual names are sent as JSON, because XML cannot represent all of them.
        isp=query.isp,
        group=query.grouping.value,
    )
    response = await client.post(STATS, content=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == MEDIA_TYPES[format]
    assert response.headers["cache-control"] == "no-store"
    return READERS[format](response.content)


@pytest.mark.parametrize("grouping", Grouping)
async def test_every_combination_of_filters_counts_the_inserted_messages(
    client: httpx.AsyncClient, owner: Any, token: str, grouping: Grouping
) -> None:
    messages = skewed_messages()
    await insert(owner, messages)
    combinations = product([None, 306, 1, 5], [None, 4591, 2**53 + 1, 5], [None, "Gmail", "é", "unknown"], Format)

    for account_id, campaign_id, isp, format in combinations:
        query = StatsQuery(SENDER, account_id, campaign_id, isp, grouping)
        assert await ask(client, token, format, query) == as_held(expected_rows(messages, query), format), query


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("grouping", Grouping)
async def test_each_sender_has_its_own_queue_and_an_unknown_sender_has_an_empty_one(
    client: httpx.AsyncClient, owner: Any, token: str, grouping: Grouping, format: Format
) -> None:
    messages = skewed_messages()
    await insert(owner, messages)

    for sender_id in (OTHER_SENDER, UNKNOWN_SENDER):
        query = StatsQuery(sender_id, grouping=grouping)
        assert await ask(client, token, format, query) == as_held(expected_rows(messages, query), format)


@pytest.mark.parametrize("isp", [isp for isp in ODD_ISPS if isp])
async def test_a_filter_for_an_unusual_isp_name_finds_exactly_that_name(
    client: httpx.AsyncClient, owner: Any, token: str, isp: str
) -> None:
    messages = skewed_messages()
    await insert(owner, messages)
    query = StatsQuery(SENDER, isp=isp, grouping=Grouping.ISP)

    assert await ask(client, token, Format.JSON, query) == expected_rows(messages, query)
    assert len(expected_rows(messages, query)) == 1


async def test_isps_are_in_the_order_of_their_utf8_bytes(client: httpx.AsyncClient, owner: Any, token: str) -> None:
    names = ["\U00010000", "\ufffd", "é", "z", "Z", "a", "B", "zz", "", "10", "9"]
    await insert(owner, [Message(SENDER, 1, 1, name, "new") for name in names])

    rows = await ask(client, token, Format.JSON, StatsQuery(SENDER, grouping=Grouping.ISP))
    assert [row.isp for row in rows] == ["", "10", "9", "B", "Z", "a", "z", "zz", "é", "\ufffd", "\U00010000"]


async def test_numbers_beyond_double_precision_are_exact(client: httpx.AsyncClient, owner: Any, token: str) -> None:
    await insert(owner, [Message(SENDER, 2**63 - 1, 2**53 + 1, "", "hold")])
    body = body_of(Format.JSON, token=token, id=SENDER, group="account_campaign")

    answer = (await client.post(STATS, content=body)).content
    assert b'"account_id":9223372036854775807,"campaign_id":9007199254740993,' in answer


@pytest.mark.parametrize("format", Format)
async def test_an_empty_queue_has_no_row_or_one_row_of_zeros(
    client: httpx.AsyncClient, token: str, format: Format
) -> None:
    zeros = StatsRow(account_id=0, campaign_id=0, hold=0, isp="", new=0, proc=0, retry=0, total=0)
    for grouping in Grouping:
        rows = await ask(client, token, format, StatsQuery(1, 2, 3, "Gmail", grouping))
        assert rows == ([zeros] if grouping is Grouping.TOTAL else [])


async def test_a_report_includes_what_was_committed_before_the_request(
    client: httpx.AsyncClient, owner: Any, token: str
) -> None:
    for count in range(1, 21):
        await insert(owner, [Message(SENDER, 1, 1, "", "new")])
        [row] = await ask(client, token, Format.JSON, StatsQuery(SENDER))
        assert row.new == count


@pytest.mark.parametrize("left_out", ["{}", '{"account_id": 0, "isp": ""}', '{"account_id": null, "campaign_id": "0"}'])
async def test_left_out_null_empty_and_zero_filters_match_everything(
    client: httpx.AsyncClient, owner: Any, token: str, left_out: str
) -> None:
    messages = skewed_messages()
    await insert(owner, messages)
    body = json.dumps({"token": token, "id": SENDER, **json.loads(left_out)})

    response = await client.post(STATS, content=body.encode())
    assert read_json_report(response.content) == expected_rows(messages, StatsQuery(SENDER))


async def insert_the_documented_queue(owner: Any) -> None:
    counts = {4591: {"new": 100, "proc": 100}, 4914: {"hold": 80, "new": 10, "proc": 10, "retry": 40}}
    await insert(
        owner,
        [
            Message(119, 306, campaign, "Gmail", status)
            for campaign, by_status in counts.items()
            for status, count in by_status.items()
            for _ in range(count)
        ],
    )


async def know_the_documented_token(owner: Any) -> None:
    await owner.execute("INSERT INTO queuestats.tokens VALUES ('documented', sha256('abcdefghijklmnqrstuvwxyz'))")


def without_blanks(root: Any) -> list[Any]:
    return [root.tag, root.text if root.text and root.text.strip() else "", *map(without_blanks, root)]


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize("format", Format)
async def test_the_documented_requests_get_the_documented_responses(
    settings: Settings, owner: Any, format: Format, by_default: bool
) -> None:
    await insert_the_documented_queue(owner)
    await know_the_documented_token(owner)
    request, printed = ((EXAMPLES / f"stats-{part}.{format}").read_bytes() for part in ("request", "response"))
    if by_default:
        settings = replace(settings, default_group=Grouping.ACCOUNT_CAMPAIGN)
    elif format is Format.JSON:
        request = json.dumps({**json.loads(request), "group": "account_campaign"}).encode()
    else:
        request = request.replace(b"</xml>", b"<group>account_campaign</group></xml>")

    async with serving(settings) as url, client_of(url) as client:
        response = await client.post(STATS, content=request)
    if format is Format.JSON:
        # Pairs also compare the order of the members.
        assert json.loads(response.content, object_pairs_hook=list) == json.loads(printed, object_pairs_hook=list)
    else:
        assert without_blanks(etree.fromstring(response.content)) == without_blanks(etree.fromstring(printed))


async def test_a_documented_request_without_group_gets_the_total_by_default(
    client: httpx.AsyncClient, owner: Any
) -> None:
    await insert_the_documented_queue(owner)
    await know_the_documented_token(owner)

    response = await client.post(STATS, content=(EXAMPLES / "stats-request.json").read_bytes())
    assert response.content == (
        b'{"data":[{"account_id":0,"campaign_id":0,"hold":80,"isp":"","new":110,"proc":110,"retry":40,"total":340}],'
        b'"error":0,"error_text":"Successful operation"}'
    )

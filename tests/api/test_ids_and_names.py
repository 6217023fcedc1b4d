"""The parameters `ids` and `names`: ids beyond the numbers of JavaScript, and the texts of adopted keys."""

import asyncio
import json
from datetime import datetime
from typing import Any

import httpx
import pytest
from lxml import etree
from prometheus_client import REGISTRY

from service.access.admin import create_token
from service.model import Format, Scope
from tests.api.test_stream import following
from tests.api.wire import STATS, body_of
from tests.conftest import PATIENCE_SECONDS, TestDatabase
from tests.oracle import Message, insert

# The smallest id that a double can't represent, and the largest id.
SENDER, ACCOUNT, CAMPAIGN = 9007199254740993, 2**63 - 1, 9007199254740995
NAMES = {SENDER: "acme <&>", ACCOUNT: "Müller"}
END = '"error":0,"error_text":"Successful operation"'
QUEUE = [
    Message(SENDER, ACCOUNT, CAMPAIGN, "Gmail"),
    Message(SENDER, ACCOUNT, CAMPAIGN, "Gmail", "hold"),
    Message(SENDER),
]
LOOK_UP_WAITS = "SELECT count(*) FROM pg_locks WHERE relation = 'queuestats.keys'::regclass AND NOT granted"
READING = ("stats", "explain", "holds", "jobs", "audit", "top", "stream")


@pytest.fixture
async def token(database: TestDatabase, owner: Any) -> str:
    await insert(owner, QUEUE)
    await owner.executemany("INSERT INTO queuestats.keys (id, value) VALUES ($1, $2)", NAMES.items())
    return await create_token(database.owner_url, "everything", list(Scope))


class Reader:
    """Sends a request to any endpoint that reads, in the same way."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client, self.headers = client, {"Authorization": f"Bearer {token}"}

    async def read(self, call: str, format: Format = Format.JSON, tag: str = "", **given: Any) -> httpx.Response:
        url, headers = STATS.replace("stats", call), self.headers | ({"If-None-Match": tag} if tag else {})
        if call == "top":
            given = {"by": "account", **given}
        if call in ("top", "stream"):
            asked = {"id": SENDER, "format": format.value, **given}
            return await self.client.get(url, params=asked, headers=headers)
        return await self.client.post(url, content=body_of(format, **{"id": SENDER, **given}), headers=headers)

    async def text(self, call: str, format: Format = Format.JSON, **given: Any) -> str:
        response = await self.read(call, format, **given)
        assert response.status_code == 200, response.text
        return response.text


@pytest.fixture
def reader(client: httpx.AsyncClient, token: str) -> Reader:
    return Reader(client, token)


async def test_stats_writes_ids_as_strings(reader: Reader) -> None:
    assert await reader.text("stats", group="account_campaign", isp="Gmail", ids="string") == (
        f'{{"data":[{{"account_id":"{ACCOUNT}","campaign_id":"{CAMPAIGN}","hold":1,"isp":"","new":1,"proc":0,"retry":0,'
        f'"total":2}}],{END}}}'
    )


async def test_stats_adds_names_after_the_documented_members(reader: Reader) -> None:
    counts = '"proc":0,"retry":0'
    assert await reader.text("stats", group="account", names=1) == (
        f'{{"data":[{{"account_id":0,"campaign_id":0,"hold":0,"isp":"","new":1,{counts},"total":1,'
        f'"account_name":null,"campaign_name":null,"sender_name":"acme <&>"}},'
        f'{{"account_id":{ACCOUNT},"campaign_id":0,"hold":1,"isp":"","new":1,{counts},"total":2,'
        f'"account_name":"Müller","campaign_name":null,"sender_name":"acme <&>"}}],{END}}}'
    )


async def test_in_xml_names_are_added_and_ids_do_not_change(reader: Reader) -> None:
    documented = await reader.text("stats", Format.XML, group="account_campaign")
    assert await reader.text("stats", Format.XML, group="account_campaign", ids="string") == documented
    named = etree.fromstring((await reader.text("stats", Format.XML, group="account", names=1)).encode())
    (_, row) = named.findall("data")
    assert [(each.tag, each.text) for each in row][-4:] == [
        *(("total", "2"), ("account_name", "Müller")),
        *(("campaign_name", None), ("sender_name", "acme <&>")),
    ]


@pytest.mark.parametrize(
    ("by", "row"),
    [
        ("sender", {"sender_id": str(SENDER), "total": 3, "sender_name": "acme <&>"}),
        ("account", {"account_id": str(ACCOUNT), "total": 2, "account_name": "Müller"}),
        ("campaign", {"campaign_id": str(CAMPAIGN), "total": 2, "campaign_name": None}),
        ("isp", {"isp": "Gmail", "total": 2}),
    ],
)
async def test_top_names_the_keys_of_its_rows(reader: Reader, by: str, row: dict[str, Any]) -> None:
    found = json.loads(await reader.text("top", by=by, ids="string", names=1))["data"][0]
    assert {each: found[each] for each in found if each not in ("hold", "new", "proc", "retry")} == row
    assert list(found)[-1] == ("total" if by == "isp" else f"{by}_name")


@pytest.mark.parametrize("format", Format)
async def test_holds_and_jobs_have_ids_as_strings_and_names(reader: Reader, format: Format) -> None:
    held = await reader.client.post(
        STATS.replace("stats", "hold"),
        content=body_of(Format.JSON, id=SENDER, account_id=ACCOUNT, details=1),
        headers=reader.headers,
    )
    details = held.json()["details"]
    expected = {"sender_id": SENDER, "account_id": ACCOUNT, "sender_name": "acme <&>", "account_name": "Müller"}
    for call, id_ in (("holds", details["hold_id"]), ("jobs", details["job_id"])):
        text = await reader.text(call, format, ids="string", names=1)
        if format is Format.JSON:
            (row,) = json.loads(text)["data"]
            assert row["campaign_name"] is None
        else:
            row = {each.tag: each.text for each in etree.fromstring(text.encode()).findall("data/*")}
        assert {each: row[each] for each in (*expected, "id")} == {
            each: value if each.endswith("name") else str(value) for each, value in {**expected, "id": id_}.items()
        }
        assert list(row)[-3:] == ["account_name", "campaign_name", "sender_name"]


async def test_a_stream_has_both_in_every_event(reader: Reader, token: str, owner: Any) -> None:
    query = f"id={SENDER}&group=account&interval_ms=100"
    async with (
        following(reader.client, token, query) as plain,
        following(reader.client, token, f"{query}&ids=string&names=1") as named,
    ):
        for total in (2, 3):
            events = [await each.next() for each in (plain, named)]
            rows = [event.data["data"][1] for event in events if event]
            assert [row["account_id"] for row in rows] == [ACCOUNT, str(ACCOUNT)]
            assert [row["total"] for row in rows] == [total, total]
            assert "sender_name" not in rows[0]
            assert list(rows[1].items())[-3:] == [
                *(("account_name", "Müller"), ("campaign_name", None), ("sender_name", "acme <&>"))
            ]
            await insert(owner, [Message(SENDER, ACCOUNT)])


async def test_the_look_up_of_names_does_not_change_the_time_of_an_event(
    reader: Reader, token: str, owner: Any
) -> None:
    async def first_event() -> Any:
        async with following(reader.client, token, f"id={SENDER}&names=1") as stream:
            return await stream.next()

    async with owner.transaction():
        await owner.execute("LOCK TABLE queuestats.keys IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(first_event())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await owner.fetchval(LOOK_UP_WAITS):  # noqa: ASYNC110 - it sends no event
                await asyncio.sleep(0.01)
        waited_since = await owner.fetchval("SELECT clock_timestamp()")
        # Longer than the statement of the report.
        await asyncio.sleep(1)
    event = await reading
    assert datetime.fromisoformat(event.data["taken_at"]) <= waited_since


async def test_explain_shows_ids_as_strings(reader: Reader) -> None:
    parameters = json.loads(await reader.text("explain", ids="string", group="isp"))["data"]["parameters"]
    assert parameters == {"sender_id": [str(SENDER)], "account_id": [None], "campaign_id": [None]}


@pytest.mark.parametrize("call", ["stats", "top", "holds", "jobs", "audit"])
@pytest.mark.parametrize("format", Format)
async def test_the_defaults_are_the_documented_bytes_and_need_no_look_up(
    reader: Reader, call: str, format: Format
) -> None:
    def look_ups() -> float:
        count = REGISTRY.get_sample_value("queuestats_statement_seconds_count", {"file": "queries/names"})
        return count or 0.0

    before = look_ups()
    documented = await reader.read(call, format)
    assert b"name" not in documented.content
    asked = await reader.read(call, format, ids="number", names=0)
    assert (asked.content, asked.headers.get("etag")) == (documented.content, documented.headers.get("etag"))
    await reader.read(call, format, ids="string")
    assert look_ups() == before
    await reader.read(call, format, names=1)
    assert look_ups() == before + (call in ("stats", "top"))


@pytest.mark.parametrize("call", ["stats", "top"])
async def test_each_representation_has_an_entity_tag_of_its_own(reader: Reader, call: str) -> None:
    asked: list[dict[str, Any]] = [{}, {"ids": "string"}, {"names": 1}, {"ids": "string", "names": 1}]
    tags = [(await reader.read(call, **each)).headers["etag"] for each in asked]
    assert len({*tags}) == len(asked)
    for given in asked:
        for tag, of in zip(tags, asked, strict=True):
            response = await reader.read(call, tag=tag, **given)
            assert response.status_code == (304 if of == given else 200)


@pytest.mark.parametrize("format", Format)
async def test_a_large_report_has_both_in_every_row(reader: Reader, owner: Any, format: Format) -> None:
    first = 2**62
    accounts = range(first, first + 1500)
    await insert(owner, [Message(7, each) for each in accounts])
    named = {each: f"account {each}" for each in accounts if each % 2}
    await owner.executemany("INSERT INTO queuestats.keys (id, value) VALUES ($1, $2)", named.items())
    text = await reader.text("stats", format, id=7, group="account", ids="string", names=1)
    if format is Format.JSON:
        rows = json.loads(text)["data"]
    else:
        data = etree.fromstring(text.encode()).findall("data")
        rows = [{each.tag: each.text for each in row} for row in data]
    assert [(row["account_id"], row["account_name"]) for row in rows] == [
        (str(each), named.get(each)) for each in accounts
    ]


@pytest.mark.parametrize("call", READING)
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"ids": "text"}, "ids must be number or string"),
        ({"ids": "String"}, "ids must be number or string"),
        ({"names": 2}, "names must be 0 or 1"),
        ({"names": "yes"}, "names must be 0 or 1"),
    ],
)
async def test_every_endpoint_that_reads_refuses_a_wrong_value(
    reader: Reader, call: str, given: dict[str, Any], text: str
) -> None:
    response = await reader.read(call, **given)
    assert (response.status_code, response.json()["error_text"]) == (400, f"Incorrect request: {text}")

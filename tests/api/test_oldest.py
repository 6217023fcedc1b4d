"""`with=oldest`: the arrival time of the oldest message of each status."""

import json
from typing import Any

import httpx
import pytest
from lxml import etree

from service.access.admin import create_token
from service.model import Format
from tests.api.operator import Operator
from tests.api.test_stream import following
from tests.api.wire import STATS, body_of, check_error
from tests.conftest import TestDatabase
from tests.counters.observing import fold

QUEUE = """
INSERT INTO messages (sender_id, account_id, status, recipient, created_at) VALUES
  (119, 1, 'new', 'x', '2026-01-01 00:00:00.000001Z'), (119, 2, 'new', 'x', '2026-01-02Z'),
  (119, 1, 'proc', 'x', '2025-12-31 23:30:00+00'), (119, 1, 'hold', 'x', '2026-03-01 02:00:00+02'),
  (120, 1, 'new', 'x', '2020-01-01Z')
"""
OLDEST = {
    "hold": "2026-03-01T00:00:00.000000Z",
    "new": "2026-01-01T00:00:00.000001Z",
    "proc": "2025-12-31T23:30:00.000000Z",
    "retry": None,
    "total": "2025-12-31T23:30:00.000000Z",
}
WITH_OLDEST: dict[str, Any] = {"with": "oldest"}
ROW = {"account_id": 0, "campaign_id": 0, "hold": 1, "isp": "", "new": 2, "proc": 1, "retry": 0, "total": 4}


@pytest.fixture
async def queue(owner: Any) -> None:
    await owner.execute(QUEUE)


async def ask(client: httpx.AsyncClient, token: str, format: Format = Format.JSON, **members: Any) -> httpx.Response:
    return await client.post(STATS, content=body_of(format, **{"token": token, "id": 119, **members}))


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("written", ["oldest", " oldest ,", ["oldest"], ["oldest", "oldest"]], ids=str)
async def test_a_row_ends_with_the_oldest_messages(client: httpx.AsyncClient, token: str, written: Any) -> None:
    response = await ask(client, token, **{"with": written})
    assert response.json()["data"] == [ROW | {"oldest": OLDEST}]
    assert list(response.json()["data"][0]) == [*ROW, "oldest"]
    assert list(response.json()["data"][0]["oldest"]) == sorted(OLDEST)


async def test_a_time_outside_the_range_of_responses_becomes_the_nearest_time(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, status, recipient, created_at) VALUES (119, 'new', 'x', '0044-03-15 BC'),"
        " (119, 'proc', 'x', '-infinity'), (119, 'retry', 'x', '20000-01-01'), (119, 'hold', 'x', 'infinity')"
    )
    first, last = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"
    expected = {"hold": last, "new": first, "proc": first, "retry": last, "total": first}
    top, bearer = f"{STATS.replace('stats', 'top')}?order=oldest", {"Authorization": f"Bearer {token}"}
    for _ in range(2):
        assert (await ask(client, token, **WITH_OLDEST)).json()["data"][0]["oldest"] == expected
        assert (await client.get(top, headers=bearer)).json()["data"][0]["oldest"] == expected
        await fold(owner, mark_every=0.0)


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("written", ["", None, []], ids=repr)
async def test_the_body_without_with_is_the_documented_one(client: httpx.AsyncClient, token: str, written: Any) -> None:
    plain = await ask(client, token)
    content = json.dumps({"token": token, "id": 119, "with": written})
    assert (await client.post(STATS, content=content)).content == plain.content
    assert plain.json()["data"] == [ROW]


@pytest.mark.usefixtures("queue")
async def test_xml_has_an_element_for_each_time(client: httpx.AsyncClient, token: str) -> None:
    root = etree.fromstring((await ask(client, token, Format.XML, **WITH_OLDEST)).content)
    assert {each.tag: each.text for each in root.findall("data/oldest/*")} == OLDEST
    assert [each.tag for each in root.findall("data/*")] == [*ROW, "oldest"]


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("format", Format)
async def test_names_and_ids_can_be_combined_with_it(client: httpx.AsyncClient, token: str, format: Format) -> None:
    response = await ask(client, token, format, **WITH_OLDEST, names=1, ids="string")
    assert response.status_code == 200
    text = response.text
    assert text.index("oldest") < text.index("account_name")
    assert str(OLDEST["new"]) in text


async def test_an_empty_queue_has_none(client: httpx.AsyncClient, token: str) -> None:
    (row,) = (await ask(client, token, **WITH_OLDEST)).json()["data"]
    assert row["oldest"] == dict.fromkeys(OLDEST)


@pytest.mark.parametrize(
    "members",
    [{"group": "isp"}, {"account_id": 1}, {"campaign_id": 1}, {"isp": "Gmail"}],
    ids=lambda given: next(iter(given)),
)
@pytest.mark.parametrize("format", Format)
async def test_it_can_not_be_combined_with_filters_or_groups(
    client: httpx.AsyncClient, token: str, members: dict[str, Any], format: Format
) -> None:
    response = await ask(client, token, format, **WITH_OLDEST, **members)
    assert "oldest is for the group total" in check_error(response, 400, format)


@pytest.mark.parametrize("written", ["age", ["oldest", "age"], [1], 7, {"oldest": 1}], ids=str)
async def test_another_word_is_refused(client: httpx.AsyncClient, token: str, written: Any) -> None:
    assert "with must be a list of oldest" in check_error(
        await ask(client, token, **{"with": written}), 400, Format.JSON
    )


async def test_a_token_limited_to_accounts_is_refused(client: httpx.AsyncClient, database: TestDatabase) -> None:
    token = await create_token(database.owner_url, "agency", sender_ids=[119], account_ids=[1])
    check_error(await ask(client, token, **WITH_OLDEST), 403, Format.JSON)


@pytest.mark.usefixtures("queue")
async def test_the_result_comes_from_messages_until_they_are_counted(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    await owner.execute("DELETE FROM queuestats.baseline")
    (row,) = (await ask(client, token, **WITH_OLDEST)).json()["data"]
    assert row == ROW | {"oldest": OLDEST}


@pytest.mark.usefixtures("queue")
async def test_a_stream_has_it_and_sends_its_changes(client: httpx.AsyncClient, token: str, owner: Any) -> None:
    async with following(client, token, "id=119&interval_ms=100&with=oldest") as stream:
        first = await stream.next()
        assert first is not None
        assert first.data["data"] == [ROW | {"oldest": OLDEST}]
        # No count changes.
        await owner.execute("UPDATE messages SET created_at = '2019-01-01Z' WHERE sender_id = 119 AND status = 'proc'")
        second = await stream.next()
        assert second is not None
        assert second.data["data"][0]["oldest"]["total"] == "2019-01-01T00:00:00.000000Z"


@pytest.mark.usefixtures("queue")
async def test_a_message_that_is_held_and_released_keeps_its_time(operator: Operator, owner: Any) -> None:
    await owner.execute("UPDATE messages SET created_at = '2018-01-01Z' WHERE status = 'new' AND account_id = 2")
    await operator.done("hold", account_id=2)
    (row,) = (await operator.post("stats", **WITH_OLDEST)).json()["data"]
    assert row["oldest"]["hold"] == "2018-01-01T00:00:00.000000Z"
    await operator.done("release")
    (row,) = (await operator.post("stats", **WITH_OLDEST)).json()["data"]
    assert row["oldest"]["new"] == "2018-01-01T00:00:00.000000Z"

"""`queue/history/`: the counts at the end of each step, and how many messages arrived and left within it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from lxml import etree

from service.access.admin import create_token
from service.model import Format
from tests.api.wire import STATS, body_of, check_error
from tests.conftest import TestDatabase
from tests.counters.clock import Clock

HISTORY = STATS.replace("stats", "history")
MEMBERS = ["arrived", "at", "hold", "isp", "left", "new", "proc", "retry", "total"]
QUEUE = (
    "INSERT INTO messages (sender_id, account_id, isp, status, recipient)"
    " SELECT 119, 1, CASE n % 3 WHEN 0 THEN 'Yahoo' ELSE 'Gmail' END, 'new', 'x' FROM generate_series(1, 9) AS n"
)
# The middle of a minute, so that no step ends during the test.
NOW = (datetime.now(UTC) - timedelta(hours=1)).replace(minute=20, second=30, microsecond=0)


@pytest.fixture
async def clock(owner: Any) -> Clock:
    """Ten minutes of history: of nine messages, one leaves and one changes in each of the last five minutes."""
    clock = Clock(owner, NOW - timedelta(minutes=10))
    await clock.begin()
    await owner.execute(QUEUE)
    await clock.run(300)
    for _ in range(5):
        await owner.execute(
            "DELETE FROM messages WHERE id = (SELECT min(id) FROM messages);"
            "UPDATE messages SET status = 'proc' WHERE id = (SELECT min(id) FROM messages)"
        )
        await clock.run(60)
    return clock


async def ask(
    client: httpx.AsyncClient,
    token: str,
    format: Format = Format.JSON,
    since: str | None = None,
    **members: Any,
) -> httpx.Response:
    """`since`: the parameter `from`."""
    given = {"token": token, "id": 119, **members, **({"from": since} if since else {})}
    return await client.post(HISTORY, content=body_of(format, **given))


def minute(before: int) -> str:
    return f"{NOW.replace(second=0) - timedelta(minutes=before):%Y-%m-%dT%H:%M:%SZ}"


async def test_it_has_a_row_for_each_minute_and_for_the_current_one(
    client: httpx.AsyncClient, token: str, clock: Clock
) -> None:
    response = await ask(client, token, since=minute(60))
    rows = response.json()["data"]
    assert [list(row) for row in rows] == [MEMBERS] * 10
    assert [row["at"] for row in rows] == [minute(before) for before in range(8, -2, -1)]
    assert [(row["arrived"], row["left"], row["total"]) for row in rows[4:]] == [
        *((0, 1, 9 - gone) for gone in range(1, 6)),
        (0, 0, 4),
    ]


async def test_xml_and_openapi_have_it(client: httpx.AsyncClient, token: str, clock: Clock) -> None:
    of_json = await ask(client, token, since=minute(3))
    of_xml = await ask(client, token, Format.XML, since=minute(3))
    rows = [{each.tag: each.text or "" for each in row} for row in etree.fromstring(of_xml.content).findall("data")]
    assert rows == [{name: str(value) for name, value in row.items()} for row in of_json.json()["data"]]
    described = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert list(described["HistoryRow"]["properties"]) == MEMBERS


async def test_isps_have_ten_minutes(client: httpx.AsyncClient, token: str, clock: Clock) -> None:
    rows = (await ask(client, token, group="isp", since=minute(3))).json()["data"]
    assert [(row["isp"], row["proc"], row["new"], row["arrived"]) for row in rows] == [
        ("Gmail", 0, 2, 0),
        ("Yahoo", 1, 1, 0),
    ]
    rows = (await ask(client, token, isp="Yahoo", since=minute(3))).json()["data"]
    assert [(row["isp"], row["total"]) for row in rows] == [("", 2)]


async def test_after_an_outage_the_current_step_has_only_its_counts(
    client: httpx.AsyncClient, token: str, clock: Clock
) -> None:
    await clock.pause(17)
    *_, row = (await ask(client, token)).json()["data"]
    assert (row["total"], row["arrived"], row["left"]) == (4, None, None)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"step": 60, "group": "isp"}, "step 60 is for all ISPs together"),
        ({"step": 60, "isp": "Gmail"}, "step 60 is for all ISPs together"),
        ({"step": 61}, "step must be 60, 600 or 3600"),
        ({"step": 5}, "step must be a whole number"),
        ({"group": "account"}, "group must be total or isp"),
        ({"from": "yesterday"}, "from must be a time as in RFC 3339"),
        ({"from": "2026-03-01T12:00:00"}, "from must be a time as in RFC 3339"),
        ({"from": "2026-02-30T12:00:00Z"}, "from must be a time as in RFC 3339"),
        ({"to": "0001-01-01T00:00:00+23:00"}, "to must be a time as in RFC 3339"),
        ({"from": 2**63 - 1}, "from must be a time as in RFC 3339"),
        ({"from": 60, "to": 60}, "from must be before to"),
        ({"from": ["1"]}, "from must be a time"),
        ({"account_id": 1}, "account_id"),
        ({"id": 0}, "id must be"),
    ],
    ids=str,
)
async def test_wrong_parameters_are_refused(
    client: httpx.AsyncClient, token: str, members: dict[str, Any], words: str
) -> None:
    assert words in check_error(await ask(client, token, **members), 400, Format.JSON)


@pytest.mark.parametrize("limits", [{"account_ids": [1]}, {"sender_ids": [120]}], ids=["accounts", "senders"])
async def test_a_token_limited_to_accounts_or_to_another_sender_is_refused(
    client: httpx.AsyncClient, database: TestDatabase, limits: dict[str, Any]
) -> None:
    token = await create_token(database.owner_url, "agency", **limits)
    check_error(await ask(client, token), 403, Format.JSON)


async def test_while_the_queue_is_not_counted_it_is_unavailable(
    client: httpx.AsyncClient, token: str, owner: Any
) -> None:
    await owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_inserted")
    check_error(await ask(client, token), 503, Format.JSON)


async def rates(client: httpx.AsyncClient, token: str, **members: Any) -> Any:
    content = body_of(Format.JSON, **{"token": token, "id": 119, "with": "rates", **members})
    return (await client.post(STATS, content=content)).json()["data"]


async def test_rates_are_those_of_the_last_five_full_minutes(
    client: httpx.AsyncClient, token: str, clock: Clock
) -> None:
    (row,) = await rates(client, token)
    assert list(row)[8:] == ["arrived", "empty_in", "last_left", "left", "window"]
    assert (row["total"], row["arrived"], row["left"]) == (4, 0, 5)
    assert row["window"] == {"from": minute(5), "to": minute(0)}
    assert (row["empty_in"], row["last_left"]) == (240, minute(1))
    (both,) = await rates(client, token, **{"with": ["oldest", "rates"]})
    assert both | {"oldest": None} == row | {"oldest": None}
    assert both["oldest"]["total"] is not None


async def test_isps_have_rates_before_and_after_the_roll_up(
    client: httpx.AsyncClient, token: str, clock: Clock
) -> None:
    expected = [("Gmail", 0, 4, minute(1), 150), ("Yahoo", 0, 1, minute(3), 600)]
    for _ in range(2):
        rows = await rates(client, token, group="isp")
        found = [(row["isp"], row["arrived"], row["left"], row["last_left"], row["empty_in"]) for row in rows]
        assert found == expected
        await clock.roll_up()


async def test_after_an_outage_there_are_no_rates(client: httpx.AsyncClient, token: str, clock: Clock) -> None:
    await clock.pause(3600 * 7)
    await clock.run(4)
    await clock.roll_up()
    (row,) = await rates(client, token)
    last_left = f"{NOW.replace(second=0) - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    assert (row["arrived"], row["left"], row["empty_in"], row["last_left"]) == (None, None, None, last_left)


@pytest.mark.parametrize("members", [{"group": "account"}, {"account_id": 1}, {"isp": "Gmail"}], ids=str)
async def test_rates_are_for_senders_and_their_isps(
    client: httpx.AsyncClient, token: str, members: dict[str, Any]
) -> None:
    content = body_of(Format.JSON, **{"token": token, "id": 119, "with": "rates", **members})
    assert "rates are for the groups total and isp" in check_error(
        await client.post(STATS, content=content), 400, Format.JSON
    )

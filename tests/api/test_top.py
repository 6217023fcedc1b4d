"""GET queue/top/ over HTTP."""

from typing import Any

import httpx
import pytest

from service.access.admin import create_token
from tests.api.operator import Operator
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

TOP = "/api/v1.1/admin/senders/queue/top/"


@pytest.fixture
async def queue(owner: Any) -> None:
    await insert(owner, [Message(isp="Gmail"), Message(isp="A&B", status="hold"), Message(sender_id=7)])


async def get(client: httpx.AsyncClient, token: str, query: str, **headers: str) -> httpx.Response:
    return await client.get(f"{TOP}?{query}", headers={"Authorization": f"Bearer {token}", **headers})


@pytest.mark.usefixtures("queue")
async def test_senders_in_json(client: httpx.AsyncClient, token: str) -> None:
    response = await get(client, token, "")
    assert response.status_code == 200
    assert response.text == (
        '{"data":[{"hold":1,"new":1,"proc":0,"retry":0,"sender_id":119,"total":2},'
        '{"hold":0,"new":1,"proc":0,"retry":0,"sender_id":7,"total":1}],"error":0,"error_text":"Successful operation"}'
    )


@pytest.mark.usefixtures("queue")
async def test_isps_of_a_sender_in_xml(client: httpx.AsyncClient, token: str) -> None:
    response = await get(client, token, "by=isp&id=119&order=hold&format=xml")
    assert response.headers["content-type"] == "application/xml; charset=utf-8"
    assert response.text == (
        "<xml><data><hold>1</hold><isp>A&amp;B</isp><new>0</new><proc>0</proc><retry>0</retry><total>1</total></data>"
        "<error>0</error><error_text>Successful operation</error_text></xml>"
    )


OLDEST = "2026-01-01T00:00:00.000001Z"
AGED = """
INSERT INTO messages (sender_id, account_id, status, recipient, created_at) VALUES
  (119, 1, 'new', 'x', '2026-01-02Z'), (120, 2, 'retry', 'x', '2026-01-01 00:00:00.000001Z'),
  (120, 2, 'new', 'x', '2026-01-03Z'), (7, 1, 'hold', 'x', '2026-01-02Z')
"""


@pytest.fixture
async def aged(owner: Any) -> None:
    await owner.execute(AGED)


@pytest.mark.usefixtures("aged")
async def test_the_senders_with_the_oldest_messages_in_json_and_xml(client: httpx.AsyncClient, token: str) -> None:
    response = await get(client, token, "order=oldest&limit=1")
    assert response.text == (
        '{"data":[{"hold":0,"new":1,"proc":0,"retry":1,"sender_id":120,"total":2,"oldest":{"hold":null,'
        f'"new":"2026-01-03T00:00:00.000000Z","proc":null,"retry":"{OLDEST}","total":"{OLDEST}"}}}}],'
        '"error":0,"error_text":"Successful operation"}'
    )
    response = await get(client, token, "order=oldest&limit=1&format=xml")
    assert response.text == (
        "<xml><data><hold>0</hold><new>1</new><proc>0</proc><retry>1</retry><sender_id>120</sender_id><total>2</total>"
        "<oldest><hold></hold><new>2026-01-03T00:00:00.000000Z</new><proc></proc>"
        f"<retry>{OLDEST}</retry><total>{OLDEST}</total></oldest></data>"
        "<error>0</error><error_text>Successful operation</error_text></xml>"
    )


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize(
    ("query", "senders"),
    [
        ("order=oldest", [120, 7, 119]),
        ("order=oldest&status=total&limit=2", [120, 7]),
        ("order=oldest&status=new", [119, 120]),
        ("order=oldest&status=hold", [7]),
        ("order=oldest&status=proc", []),
    ],
)
@pytest.mark.parametrize("limits", [[], [7, 119, 120, 121]], ids=["unlimited", "limited"])
async def test_a_status_has_an_order_of_its_own(
    client: httpx.AsyncClient, database: TestDatabase, query: str, senders: list[int], limits: list[int]
) -> None:
    token = await create_token(database.owner_url, "reader", sender_ids=limits)
    assert [row["sender_id"] for row in (await get(client, token, query)).json()["data"]] == senders


@pytest.mark.usefixtures("aged")
async def test_a_limited_token_reads_the_oldest_messages_of_only_its_senders(
    client: httpx.AsyncClient, database: TestDatabase, token: str
) -> None:
    limited = await create_token(database.owner_url, "agency", sender_ids=[7, 119])
    everything = (await get(client, token, "order=oldest")).json()["data"]
    assert (await get(client, limited, "order=oldest")).json()["data"] == everything[1:]
    of_account = await create_token(database.owner_url, "account", sender_ids=[119], account_ids=[1])
    assert (await get(client, of_account, "order=oldest")).status_code == 403


@pytest.mark.usefixtures("aged")
async def test_a_held_message_keeps_its_place_among_the_oldest(operator: Operator, token: str) -> None:
    async def first(status: str) -> list[tuple[int, str]]:
        rows = (await get(operator.client, token, f"order=oldest&status={status}&limit=2")).json()["data"]
        return [(row["sender_id"], row["oldest"][status][:10]) for row in rows]

    await operator.done("hold")
    assert await first("hold") == [(7, "2026-01-02"), (119, "2026-01-02")]
    await operator.done("release")
    assert await first("new") == [(119, "2026-01-02"), (120, "2026-01-03")]


@pytest.mark.usefixtures("aged")
async def test_ids_and_names_can_be_combined_with_the_oldest_messages(client: httpx.AsyncClient, token: str) -> None:
    (row,) = (await get(client, token, "order=oldest&limit=1&ids=string&names=1")).json()["data"]
    assert list(row)[-2:] == ["oldest", "sender_name"]
    assert row["sender_id"] == "120"


async def test_of_an_empty_queue(client: httpx.AsyncClient, token: str) -> None:
    assert (await get(client, token, "")).json()["data"] == []
    assert (await get(client, token, "order=oldest")).json()["data"] == []
    assert (await get(client, token, "format=xml")).text.startswith("<xml><data/><error>0</error>")


@pytest.mark.usefixtures("queue")
async def test_a_client_with_the_current_report_gets_304(client: httpx.AsyncClient, token: str) -> None:
    response = await get(client, token, "limit=1")
    tag = response.headers["etag"]
    assert (await get(client, token, "limit=1", **{"If-None-Match": tag})).status_code == 304


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("by=planet", "by must be sender, account, campaign or isp"),
        ("order=size", "order must be total, new, proc, retry, hold or oldest"),
        ("order=oldest&status=sent", "status must be total, new, proc, retry or hold"),
        ("order=new&status=new", "status is for order=oldest"),
        ("order=oldest&by=isp&id=119", "order=oldest is for by=sender"),
        ("limit=0", "limit must be a whole number from 1 to 1000"),
        ("limit=1001", "limit must be a whole number from 1 to 1000"),
        ("by=isp", "id must be a whole number from 1 to 9223372036854775807"),
        ("format=csv", "format must be json or xml"),
    ],
)
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, token: str, query: str, text: str) -> None:
    response = await get(client, token, query)
    assert (response.status_code, response.json()["error_text"]) == (400, f"Incorrect request: {text}")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("bye=isp", "bye is not a parameter of top; did you mean by?"),
        ("by=isp&id=119&account_id=306", "account_id is not a parameter of top, which takes token, format, "),
        ("by=account&id=119&isp=Gmail", "isp is not a parameter of top, which takes token, format, "),
        ("group=isp", "group is not a parameter of top, which takes token, format, "),
    ],
)
async def test_an_unknown_parameter_is_refused(client: httpx.AsyncClient, token: str, query: str, text: str) -> None:
    refused = await get(client, token, query)
    assert refused.status_code == 400
    assert refused.json()["error_text"].startswith(f"Incorrect request: {text}")


async def test_a_token_in_the_url_is_not_used(client: httpx.AsyncClient, token: str) -> None:
    response = await client.get(f"{TOP}?token={token}")
    assert (response.status_code, response.json()["error_text"]) == (401, "API token required")


async def test_another_method_is_refused_with_the_one_that_is_allowed(client: httpx.AsyncClient) -> None:
    response = await client.post(TOP, content=b"{}")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")

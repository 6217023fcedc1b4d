"""GET queue/top/ on the wire."""

from typing import Any

import httpx
import pytest

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


async def test_of_an_empty_queue(client: httpx.AsyncClient, token: str) -> None:
    assert (await get(client, token, "")).json()["data"] == []
    assert (await get(client, token, "format=xml")).text.startswith("<xml><data/><error>0</error>")


@pytest.mark.usefixtures("queue")
async def test_who_has_the_report_gets_304(client: httpx.AsyncClient, token: str) -> None:
    response = await get(client, token, "limit=1")
    tag = response.headers["etag"]
    assert (await get(client, token, "limit=1", **{"If-None-Match": tag})).status_code == 304


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("by=planet", "by must be sender, account, campaign or isp"),
        ("order=size", "order must be total, new, proc, retry or hold"),
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


async def test_a_token_in_the_url_is_none(client: httpx.AsyncClient, token: str) -> None:
    response = await client.get(f"{TOP}?token={token}")
    assert (response.status_code, response.json()["error_text"]) == (401, "API token required")


async def test_another_method_is_refused_with_the_one_that_is_allowed(client: httpx.AsyncClient) -> None:
    response = await client.post(TOP, content=b"{}")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")

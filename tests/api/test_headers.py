"""HTTP headers: compression, timings, entity tags, and the id of a request."""

import gzip
import re
from typing import Any

import httpx
import pytest

from service.model import Format
from tests.api.wire import STATS, body_of


@pytest.fixture
async def many_rows(owner: Any) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, account_id, campaign_id, isp, recipient)"
        " SELECT 119, n % 50, n, 'Gmail', 'someone@example.com' FROM generate_series(1, 2500) AS n"
    )


async def ask(client: httpx.AsyncClient, token: str, group: str, **headers: str) -> httpx.Response:
    body = body_of(Format.JSON, token=token, id=119, group=group)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = client.build_request("POST", STATS, content=body, headers={"accept-encoding": "identity", **names})
    return await client.send(request, stream=True)


async def raw(response: httpx.Response) -> bytes:
    return b"".join([chunk async for chunk in response.aiter_raw()])


@pytest.mark.parametrize("group", ["account", "account_campaign"])
@pytest.mark.usefixtures("many_rows")
async def test_a_compressed_response_has_the_same_bytes(client: httpx.AsyncClient, token: str, group: str) -> None:
    plain = await ask(client, token, group)
    packed = await ask(client, token, group, accept_encoding="br, gzip;q=0.5")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(await raw(packed)) == await raw(plain)
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3


@pytest.mark.parametrize("accepted", ["", "identity", "br", "gzip;q=0", "gzip; q=0.0", "x-gzip"])
@pytest.mark.usefixtures("many_rows")
async def test_nothing_is_compressed_without_accept_encoding(
    client: httpx.AsyncClient, token: str, accepted: str
) -> None:
    response = await ask(client, token, "account", accept_encoding=accepted)
    assert "content-encoding" not in response.headers
    assert (await raw(response)).startswith(b'{"data":[')


async def test_a_response_that_fits_into_one_packet_is_not_compressed(client: httpx.AsyncClient, token: str) -> None:
    assert "content-encoding" not in (await ask(client, token, "total", accept_encoding="gzip")).headers


async def test_a_response_has_its_milliseconds_in_the_database_and_in_the_queue(
    client: httpx.AsyncClient, token: str
) -> None:
    timing = (await ask(client, token, "total")).headers["server-timing"]
    assert re.fullmatch(r"db;dur=\d+\.\d\d, wait;dur=\d+\.\d\d", timing)


@pytest.mark.parametrize("given", ["7f3a", "a-b.c_d", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "x" * 64])
async def test_the_request_id_of_the_client_is_used(client: httpx.AsyncClient, token: str, given: str) -> None:
    for response in (
        await ask(client, token, "total", x_request_id=given),
        await ask(client, "wrong", "total", x_request_id=given),
        await client.get("/unknown", headers={"x-request-id": given}),
    ):
        assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a/b", "<script>", 'a"b'])
async def test_a_request_id_with_other_characters_is_replaced(
    client: httpx.AsyncClient, token: str, given: str
) -> None:
    made = [(await ask(client, token, "total", x_request_id=given)).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)
    assert made[0] != made[1]


@pytest.mark.parametrize("group", ["total", "account", "account_campaign"])
@pytest.mark.usefixtures("many_rows")
async def test_a_client_that_has_the_report_gets_304_until_it_changes(
    client: httpx.AsyncClient, owner: Any, token: str, group: str
) -> None:
    tag = (await ask(client, token, group)).headers["etag"]
    for given in (tag, tag.removeprefix("W/"), f'"another", {tag}', "*"):
        for coding in ("identity", "gzip"):
            same = await ask(client, token, group, if_none_match=given, accept_encoding=coding)
            assert (same.status_code, await raw(same), same.headers["etag"]) == (304, b"", tag)
            assert same.headers["vary"] == "Accept-Encoding"
    await owner.execute("UPDATE messages SET status = 'hold' WHERE campaign_id = 7")
    changed = await ask(client, token, group, if_none_match=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert (await ask(client, token, group, if_none_match='"another"')).status_code == 200


async def test_each_format_has_its_own_tag(client: httpx.AsyncClient, token: str) -> None:
    answers = [await client.post(STATS, content=body_of(each, token=token, id=119)) for each in Format]
    assert len({each.headers["etag"] for each in answers}) == len(answers)

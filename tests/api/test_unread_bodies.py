"""A response before the end of the request's body has the usual headers, body and format."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from msgspec.structs import replace

from service.model import Format
from service.settings import Settings
from service.wire.parsing.parameters import MAX_BODY_BYTES
from tests.api.wire import MEDIA_TYPES, STATS, address_of, body_of, check_error, head_of, serving
from tests.conftest import PATIENCE_SECONDS

REFUSALS = [("POST", STATS, 413), ("PUT", STATS, 405), ("POST", "/api/v1.1/unknown/", 404)]
LARGE = "Content-Length: 40000000"
QUEUE = STATS.removesuffix("stats/")


async def talk(url: str, *pieces: bytes) -> list[httpx.Response]:
    """Writes the pieces one by one. Returns all responses until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address_of(url))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.05)
            return list(read_responses(await reader.read()))
    finally:
        writer.close()


def read_responses(answer: bytes) -> Sequence[httpx.Response]:
    responses = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        responses.append(httpx.Response(int(first.split()[1]), headers=headers, content=answer[:length]))
        answer = answer[length:]
    return responses


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize(("method", "path", "code"), REFUSALS)
@pytest.mark.parametrize("framing", [LARGE, "Transfer-Encoding: chunked"])
async def test_a_refusal_before_the_end_of_a_body_is_complete(
    nowhere: Settings, method: str, path: str, code: int, format: Format, framing: str
) -> None:
    large = body_of(format, id=1) + b" " * MAX_BODY_BYTES
    content = large if framing == LARGE else b"%x\r\n%b\r\n" % (len(large), large)
    async with serving(nowhere) as url:
        for pieces in (
            (head_of(framing, method=method, path=path) + content,),
            (head_of(framing, method=method, path=path), content),
        ):
            [response] = await talk(url, *pieces)
            check_error(response, code, format)
            assert response.headers["connection"] == "close"


@pytest.mark.parametrize("format", Format)
async def test_a_body_that_is_late_is_refused_in_its_format(nowhere: Settings, format: Format) -> None:
    async with serving(replace(nowhere, request_time_limit_ms=200)) as url:
        for path, code in (STATS, 400), ("/unknown", 404), (f"{QUEUE}hold/", 400):
            [response] = await talk(url, head_of("Content-Length: 100", path=path), body_of(format, id=1))
            check_error(response, code, format)


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize(("method", "path", "code"), REFUSALS)
async def test_a_client_that_expects_100_continue_gets_it_and_then_the_refusal(
    nowhere: Settings, method: str, path: str, code: int, format: Format
) -> None:
    headers = ["Expect: 100-Continue", LARGE, f"Content-Type: {MEDIA_TYPES[format]}"]
    async with serving(nowhere) as url:
        asked, response = await talk(url, head_of(*headers, method=method, path=path))
    assert asked.status_code == 100
    check_error(response, code, format)
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("more", [[], ["Expect: 100-continue"], ["Connection: close, upgrade", "Upgrade: h2c"]])
async def test_a_401_has_its_challenge_and_its_body_in_every_state_of_the_request_body(
    settings: Settings, format: Format, more: list[str]
) -> None:
    small, large = body_of(format, id=1), body_of(format, id=1) + b" " * (MAX_BODY_BYTES - 100)
    close = [] if "Connection: close, upgrade" in more else ["Connection: close"]
    async with serving(settings) as url:
        for body in small, large:
            for path in (STATS, f"{QUEUE}purge/"):
                head = head_of(*close, *more, f"Content-Length: {len(body)}", path=path)
                for pieces in (head + body,), (head, body), (head + body[:5], body[5:]):
                    *asked, response = await talk(url, *pieces)
                    assert [each.status_code for each in asked] in ([], [100])
                    check_error(response, 401, format)


async def test_a_get_has_its_401_with_and_without_its_body(settings: Settings) -> None:
    async with serving(settings) as url:
        for path in (f"{QUEUE}stream/?id=1", f"{QUEUE}top/", "/metrics"):
            head = head_of("Connection: close", "Content-Length: 2", method="GET", path=path)
            [response] = await talk(url, head, b"{}")
            check_error(response, 401, Format.JSON)

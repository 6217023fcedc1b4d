"""Requests over HTTP: paths, content types, sizes, tokens, and clients with unusual behaviour."""

import asyncio
import gzip
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.model import Format
from service.settings import Settings
from service.wire.parsing.parameters import MAX_BODY_BYTES
from tests.api.wire import STATS, address_of, body_of, check_error, client_of, head_of, read_error, send_raw, serving
from tests.conftest import PATIENCE_SECONDS


async def status_of(client: httpx.AsyncClient, path: str, **request: object) -> int:
    response = await client.post(path, follow_redirects=False, **request)  # type: ignore[arg-type]
    return response.status_code


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1.1/admin/senders/queue/stats/",
        "/api/v1.1/admin/senders/queue/stats",
        "/api/v1.1//admin/senders/queue/stats/",
        "//api//v1.1/admin///senders/queue/stats//",
        "/api/v1.1/admin/senders/queue/st%61ts/",
        "/api/v1.1/admin/senders/queue/stats/?",
        "/api/v1.1/admin/senders/queue/stats?unknown=1&=&&x",
    ],
)
async def test_a_path_with_missing_or_doubled_slashes_reaches_the_handler_directly(
    settings: Settings, token: str, path: str
) -> None:
    body = body_of(Format.JSON, token=token, id=1)
    async with serving(settings) as url:
        # Written by hand, because an HTTP library would normalize the path.
        answer = await send_raw(url, head_of(f"Content-Length: {len(body)}", "Connection: close", path=path) + body)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"location" not in answer.lower()


async def test_the_declared_content_type_is_ignored(client: httpx.AsyncClient, token: str) -> None:
    for format in Format:
        for declared in (
            "",
            "application/json",
            "text/xml",
            "application/x-www-form-urlencoded",
            "x/y; charset=utf-16",
        ):
            body = b"\xef\xbb\xbf\r\n\t " + body_of(format, token=token, id=1)
            response = await client.post(STATS, content=body, headers={"Content-Type": declared})
            assert response.status_code == 200
            assert response.headers["content-type"] == f"application/{format}; charset=utf-8"


async def test_a_form_is_400_and_the_error_names_it(client: httpx.AsyncClient, token: str) -> None:
    forms: list[dict[str, Any]] = [{"data": {"token": token, "id": "1"}}, {"files": {"id": b"1"}}]
    for form in forms:
        response = await client.post(STATS, **form)
        text = check_error(response, 400, Format.JSON)
        kind = response.request.headers["content-type"].partition(";")[0]
        assert text.startswith(f"Incorrect request: the body is a form ({kind}); it must be a JSON object, or an XML ")
        assert token not in text


@pytest.mark.parametrize(
    ("coding", "named"),
    [
        *((each, each) for each in ("gzip", "deflate", "br", "zstd", "compress")),
        ("X-GZIP", "gzip"),
        ("gzip, br", "an unknown coding"),
        ("qs_secret", "an unknown coding"),
    ],
)
async def test_the_error_for_an_unreadable_body_with_a_declared_coding_names_the_coding(
    client_of_nowhere: httpx.AsyncClient, coding: str, named: str
) -> None:
    """Bytes in the codings br and raw deflate have no signature, and may begin as JSON or XML does."""
    for content in (gzip.compress(b"{}"), b"{\x0b\x80", b"<\x0b\x80", b"\x0b\x01\x80{}\x03"):
        headers = {"Content-Encoding": coding}
        response = await client_of_nowhere.post(STATS, content=content, headers=headers)
        text = check_error(response, 400, Format.XML if content[:1] == b"<" else Format.JSON)
        assert f"the body is compressed (Content-Encoding: {named}); it must be a JSON object, or an XML " in text


async def test_a_declared_coding_is_ignored_if_the_body_is_readable(client: httpx.AsyncClient, token: str) -> None:
    for coding in ("gzip", "identity", ""):
        body = body_of(Format.JSON, token=token, id=1)
        assert await status_of(client, STATS, content=body, headers={"Content-Encoding": coding}) == 200


async def test_accept_and_similar_headers_are_ignored(client: httpx.AsyncClient, token: str) -> None:
    wishes = {"Accept": "application/xml, */*;q=0.1", "Accept-Encoding": "gzip, br", "Accept-Charset": "latin-1"}
    response = await client.post(STATS, content=body_of(Format.JSON, token=token, id=1), headers=wishes)
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize(
    ("in_body", "in_url", "written_in", "answered_in"),
    [
        (None, None, Format.JSON, "json"),
        (None, None, Format.XML, "xml"),
        (None, "xml", Format.JSON, "xml"),
        ("json", "xml", Format.XML, "json"),
        ("xml", "yaml", Format.JSON, "xml"),
        ("", "json", Format.XML, "json"),
        (" xml\n", None, Format.JSON, "xml"),
        (None, "", Format.XML, "xml"),
    ],
)
async def test_the_format_is_that_of_the_member_or_else_of_the_url_or_else_of_the_body(
    client: httpx.AsyncClient, token: str, in_body: str | None, in_url: str | None, written_in: Format, answered_in: str
) -> None:
    body = body_of(written_in, token=token, id=1, format=in_body)
    path = STATS if in_url is None else f"{STATS}?format={in_url}"
    response = await client.post(path, content=body)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"application/{answered_in}; charset=utf-8"


async def test_a_wrong_format_in_the_url_is_an_error_if_the_body_has_none(
    client: httpx.AsyncClient, token: str
) -> None:
    response = await client.post(f"{STATS}?format=XML", content=body_of(Format.JSON, token=token, id=1))
    assert "format must be json or xml" in check_error(response, 400, Format.JSON)


async def test_a_token_is_read_from_the_header_then_the_body_then_the_url(
    client: httpx.AsyncClient, token: str
) -> None:
    async def ask(header: str | None, body: str | None, url: str | None) -> int:
        headers = {} if header is None else {"Authorization": header}
        params = {} if url is None else {"token": url}
        content = body_of(Format.JSON, token=body, id=1)
        return await status_of(client, STATS, headers=headers, params=params, content=content)

    right: list[tuple[str | None, str | None, str | None]] = [
        (f"Bearer {token}", "x", "x"),
        (f"bEARER  {token}", "x", None),
        (None, token, "x"),
        (None, f" {token}\n", None),
        (None, None, token),
        (None, "", f" {token} "),
        ("Bearer", token, "x"),
        ("Basic dTpw", token, None),
        (token, None, token),
        ("", "", token),
    ]
    for each in right:
        assert await ask(*each) == 200, each
    wrong: list[tuple[str | None, str | None, str | None]] = [
        ("Bearer x", token, token),
        (None, "x", token),
        (None, None, "x"),
        (f"Basic {token}", None, None),
        (token, None, None),
        (f"Bearer {token} {token}", None, None),
        (f"Bearer{token}", None, None),
    ]
    for each in wrong:
        assert await ask(*each) == 401, each


async def test_the_last_of_several_tokens_in_the_url_is_used(client: httpx.AsyncClient, token: str) -> None:
    body = b'{"id": 1}'
    assert await status_of(client, f"{STATS}?token=x&token={token}", content=body) == 200
    assert await status_of(client, f"{STATS}?token={token}&token=x", content=body) == 401
    assert await status_of(client, f"{STATS}?token={token}&token=", content=body) == 401
    assert await status_of(client, f"{STATS}?token=%00", content=body) == 400


def padded(format: Format, token: str, size: int) -> bytes:
    body = body_of(format, token=token, id=1)
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("format", Format)
async def test_a_body_at_the_limit_is_accepted_and_one_byte_more_is_not(
    client: httpx.AsyncClient, token: str, format: Format
) -> None:
    assert await status_of(client, STATS, content=padded(format, token, MAX_BODY_BYTES)) == 200
    for size in (MAX_BODY_BYTES + 1, 300_000, 5_000_000):
        response = await client.post(STATS, content=padded(format, token, size))
        check_error(response, 413, format)
    # The same connection or a new one serves the next request.
    assert await status_of(client, STATS, content=padded(format, token, MAX_BODY_BYTES)) == 200


@pytest.mark.parametrize("format", Format)
async def test_a_declared_size_over_the_limit_is_refused_before_the_body_has_arrived(
    nowhere: Settings, format: Format
) -> None:
    beginnings = {Format.JSON: b'{"id"', Format.XML: b" <xml>"}
    async with serving(nowhere) as url:
        for path in (STATS, "/api/unknown"):
            answer = await send_raw(url, head_of("Content-Length: 10000000000", path=path) + beginnings[format])
            head, _, body = answer.partition(b"\r\n\r\n")
            assert read_error(body, format)[0] == (413 if path == STATS else 404)
            assert b"connection: close" in head.lower()


async def test_a_declared_size_over_the_limit_is_refused_if_no_body_arrives(nowhere: Settings) -> None:
    async with serving(nowhere) as url:
        head = head_of("Content-Length: 10000000000", "Content-Type: application/xml")
        answer = await send_raw(url, head)
        assert read_error(answer.partition(b"\r\n\r\n")[2], Format.XML)[0] == 413


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@pytest.mark.parametrize("format", Format)
async def test_an_endless_body_is_refused_at_the_limit_and_then_cut_off(nowhere: Settings, format: Format) -> None:
    beginning, end = {Format.JSON: (b'{"id": ', b"}"), Format.XML: (b"<xml>", b"</xml>")}[format]
    sent = 0

    async def send_for_ever(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head_of("Transfer-Encoding: chunked") + chunk(beginning))
        while True:
            writer.write(chunk(b"x" * 100_000))
            await writer.drain()
            sent += 100_000

    async with serving(nowhere) as url:
        reader, writer = await asyncio.open_connection(*address_of(url))
        sending = asyncio.create_task(send_for_ever(writer))
        answer = await reader.readuntil(end)
        with pytest.raises(ConnectionError):
            await sending
        writer.close()
    assert read_error(answer.partition(b"\r\n\r\n")[2], format)[0] == 413
    assert sent < 100_000_000


@pytest.mark.parametrize("format", Format)
async def test_a_long_body_in_chunks_is_refused_and_the_client_reads_the_response(
    client_of_nowhere: httpx.AsyncClient, format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine, the client may send for longer than the service keeps the connection open.
    monkeypatch.setattr("service.http.limits.LINGER_SECONDS", PATIENCE_SECONDS)

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"a":"' if format is Format.JSON else b"<xml>"
        for _ in range(100):
            yield b"x" * 100_000

    check_error(await client_of_nowhere.post(STATS, content=chunks()), 413, format)


async def test_a_body_in_many_small_pieces_is_accepted(settings: Settings, token: str) -> None:
    body = body_of(Format.XML, token=token, id=1)
    chunks = [chunk(bytes([byte])) for byte in body]
    async with serving(settings) as url:
        pieces = [head_of("Transfer-Encoding: chunked", "Connection: close"), *chunks, b"0\r\n\r\n"]
        answer = await send_raw(url, *pieces, pause=0.001)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_does_not_arrive_is_400_after_the_limit(nowhere: Settings) -> None:
    async with serving(replace(nowhere, request_time_limit_ms=100)) as url:
        answer = await send_raw(url, head_of("Content-Length: 100", "Content-Type: text/xml") + b'{"id')
    code, text = read_error(answer.partition(b"\r\n\r\n")[2], Format.JSON)
    assert (code, text) == (400, "Incorrect request: the body must arrive within 100 ms")


async def test_a_connection_stays_open_after_errors_if_the_body_was_read(nowhere: Settings) -> None:
    bodies = [b"", b"{", b'{"id":1}', b"<xml/>", b'{"token":"x"}']
    async with serving(nowhere) as url:
        requests = [
            head_of(f"Content-Length: {len(body)}", method=method, path=path) + body
            for body in bodies
            for method, path in [("POST", STATS), ("PUT", STATS), ("POST", "/unknown")]
        ]
        answer = await send_raw(url, b"".join(requests), head_of("Connection: close", method="GET", path="/healthz"))
    assert answer.count(b"HTTP/1.1 ") == len(requests) + 1
    assert answer.endswith(b'{"status":"alive"}')


async def test_expect_continue_gets_its_response_before_the_body_is_sent(settings: Settings, token: str) -> None:
    body = body_of(Format.JSON, token=token, id=1)
    async with serving(settings) as url:
        head = head_of("Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
        answer = await send_raw(url, head, body, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


async def test_unusual_hosts_queries_and_repeated_headers_are_accepted(settings: Settings, token: str) -> None:
    body = body_of(Format.JSON, token=token, id=1)
    odd = [
        "Host: [::",
        "Host: a b",
        "Host: \xff",
        "Host: /?#",
        "Authorization: \xff\xfe",
        "Content-Type: \xff",
        "Cookie: =;",
    ]
    async with serving(settings) as url:
        for header in odd:
            host = "" if header.startswith("Host") else "Host: x\r\n"
            length = f"Content-Length: {len(body)}"
            request = f"POST {STATS} HTTP/1.1\r\n{host}{header}\r\n{length}\r\nConnection: close\r\n\r\n"
            assert (await send_raw(url, request.encode("latin-1") + body)).startswith(b"HTTP/1.1 200 ")
        for query in ("?%", "?%ff=%zz", "?format=%ff", "?token=%ff", "?\xc3\xa4", "?" + "&".join(["a=b"] * 2000)):
            head = head_of("Content-Length: 2", "Connection: close", path=STATS + query)
            assert (await send_raw(url, head + b"{}")).partition(b" ")[2][:3] in (b"400", b"401")


@pytest.mark.parametrize("sent", [head_of("Content-Length: 100") + b'{"id', head_of("Transfer-Encoding: chunked")])
async def test_a_client_that_disconnects_within_its_body_causes_no_internal_error(
    nowhere: Settings, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(nowhere) as url, client_of(url) as client:
        for path in (b"stats", b"unknown"):
            _, writer = await asyncio.open_connection(*address_of(url))
            writer.write(sent.replace(b"queue/stats", b"queue/" + path))
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await asyncio.sleep(0.05)
        assert (await client.get("/healthz")).status_code == 200
    # The log has a warning about the missing database.
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.WARNING] == []


async def test_a_client_that_does_not_wait_for_its_response_causes_no_internal_error(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = body_of(Format.JSON, token=token, id=1)
    async with serving(settings) as url, client_of(url) as client:
        for _ in range(20):
            _, writer = await asyncio.open_connection(*address_of(url))
            writer.write(head_of(f"Content-Length: {len(body)}") + body)
            writer.close()
        assert await status_of(client, STATS, content=body) == 200
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_pipelined_requests_get_their_responses_in_order(settings: Settings, token: str) -> None:
    bodies = [json.dumps({"token": token, "id": number, "format": "json"}).encode() for number in (1, 0, 1, 0)]
    requests = b"".join(head_of(f"Content-Length: {len(body)}") + body for body in bodies)
    async with serving(settings) as url:
        answer = await send_raw(url, requests, head_of("Connection: close", method="GET", path="/healthz"))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"400", b"200", b"400", b"200"]


async def test_an_open_request_gets_its_response_when_the_service_stops(settings: Settings, token: str) -> None:
    body = b'{"id":1}'
    async with serving(settings) as url:
        waiting = asyncio.create_task(send_raw(url, head_of("Content-Length: 8"), b"", body, pause=0.1))
        await asyncio.sleep(0.05)
    assert b'"error":401' in await waiting

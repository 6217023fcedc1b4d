"""The service ignores offers to upgrade: the response is the same as without the offer."""

import asyncio
import random
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.model import Format
from service.settings import Settings
from tests.api.wire import STATS, address_of, body_of, head_of, serving
from tests.conftest import PATIENCE_SECONDS
from tests.oracle import Message, insert
from tests.proxy import NGINX, nginx_before

OFFERS = [
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="),
    ("upgrade: TLS/1.0, IRC/6.9, x", "connection: keep-alive, UPGRADE"),
    ("Upgrade: h2c", "Upgrade: websocket", "Proxy-Connection: upgrade"),
    ("Connection: upgrade", "Upgrade:"),
]
INNER = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\n\r\n"
ANSWER = re.compile(rb"HTTP/1\.1 (?!100)(\d{3})")


async def talk(url: str, *pieces: bytes, pause: float = 0.001) -> bytes:
    """Writes each piece as a separate packet. Returns all bytes until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address_of(url))
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def write() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)

    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, answer = await asyncio.gather(write(), reader.read())
            return answer
    finally:
        writer.close()


def without_moment(answer: bytes) -> bytes:
    return re.sub(rb"(?i)\r\n(date|server-timing): [^\r]*", b"", answer)


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("offer", OFFERS)
async def test_a_post_with_an_offer_gets_the_documented_response(
    settings: Settings, token: str, owner: Any, offer: tuple[str, ...]
) -> None:
    await insert(owner, [Message(), Message()])
    async with serving(settings) as url:
        for format in Format:
            body = body_of(format, token=token, id=119)
            length = f"Content-Length: {len(body)}"
            for framing, content in ((length, body), ("Transfer-Encoding: chunked", chunked(body, 7))):
                plain = await talk(url, head_of("Connection: close", framing, "X-Request-Id: 1") + content)
                assert plain.startswith(b"HTTP/1.1 200 ")
                assert b'"total":2' in plain or b"<total>2</total>" in plain
                head = head_of("Connection: close", *offer, framing, "X-Request-Id: 1")
                for pieces in ((head + content,), (head, content), (head[:-1], head[-1:] + content[:9], content[9:])):
                    assert without_moment(await talk(url, *pieces, pause=0.05)) == without_moment(plain)


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
async def test_an_offer_may_be_split_at_any_byte(nowhere: Settings, framing: str) -> None:
    """The text of the error names the byte at which the body ends, which proves that the whole body was read."""
    body = b'{"id":"' + INNER
    framed = chunked(body, 20) if framing == "chunked" else body
    length = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(body)}"
    plain = head_of(length, "X-Request-Id: 1", "Connection: close") + framed
    offering = head_of(*OFFERS[0], length, "X-Request-Id: 1", "Connection: close") + framed
    async with serving(nowhere) as url:
        expected = without_moment(await talk(url, plain))
        assert expected.startswith(b"HTTP/1.1 400 ")
        for at in range(1, len(offering)):
            answer = await talk(url, offering[:at], offering[at:])
            assert without_moment(answer) == expected, offering[:at]


def draw_request(draw: random.Random, number: int, is_last: bool) -> tuple[bytes, bytes]:
    """A request without and with an offer. Its id is its number."""
    method = draw.choice(["POST", "POST", "POST", "PUT", "GET"])
    path = draw.choice([STATS, STATS, "/healthz", "/nowhere"])
    # The error about this body names the byte of its syntax error, so it shows which bytes were read as the body.
    body = b'{"id":' + b" " * draw.randrange(80) + draw.choice([b"", INNER, INNER * 3, b"0\r\n\r\n" + INNER])
    headers = [f"X-Request-Id: {number}", "Accept: */*"]
    if draw.random() < 0.2:
        headers.append("Expect: 100-continue")
    if method == "GET" or draw.random() < 0.1:
        content = b""
        headers += [] if method == "GET" else ["Content-Length: 0"]
    elif draw.random() < 0.5:
        content = body
        headers.append(f"Content-Length: {len(body)}")
    else:
        content = chunked(body, draw.randrange(1, 50))
        headers.append("Transfer-Encoding: chunked")
    if is_last:
        headers.append("Connection: close")
    draw.shuffle(headers)
    offered = list(headers)
    if draw.random() < 0.7:
        for each in draw.choice(OFFERS):
            offered.insert(draw.randrange(len(offered) + 1), each)
    return (
        head_of(*headers, method=method, path=path) + content,
        head_of(*offered, method=method, path=path) + content,
    )


@pytest.mark.parametrize("seed", range(8))
async def test_pipelined_requests_get_the_same_responses_with_offers_and_without(nowhere: Settings, seed: int) -> None:
    """The packets end at random places. A request inside a body is not run."""
    draw = random.Random(seed)
    async with serving(nowhere) as url:
        for _ in range(15):
            count = draw.randrange(1, 9)
            drawn = [draw_request(draw, number, number == count - 1) for number in range(count)]
            plain, offering = (b"".join(each) for each in zip(*drawn, strict=True))
            cuts = sorted(draw.sample(range(1, len(offering)), draw.randrange(12)))
            pieces = [offering[start:end] for start, end in zip([0, *cuts], [*cuts, len(offering)], strict=True)]
            expected = without_moment(await talk(url, plain))
            assert len(ANSWER.findall(expected)) == count
            assert without_moment(await talk(url, *pieces)) == expected, pieces


async def test_thousands_of_offers_in_a_packet_get_their_responses(nowhere: Settings) -> None:
    offer = head_of("Connection: upgrade", "Upgrade: h2c", method="GET", path="/healthz")
    last = head_of("Connection: close", method="GET", path="/healthz")
    async with serving(nowhere) as url:
        answer = await talk(url, offer * 3000 + last)
    assert ANSWER.findall(answer) == [b"200"] * 3001


async def test_an_offer_over_http_1_0_gets_its_response_and_closes_its_connection(nowhere: Settings) -> None:
    async with serving(nowhere) as url:
        head = f"POST {STATS} HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: {len(INNER)}\r\n\r\n"
        answer = await talk(url, head.encode(), INNER, pause=0.05)
    assert ANSWER.findall(answer) == [b"400"]
    assert b"Incorrect request: " in answer


async def test_an_offer_with_expect_gets_100_continue(settings: Settings, token: str) -> None:
    body = body_of(Format.JSON, token=token, id=119)
    head = head_of(*OFFERS[0], "Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
    async with serving(settings) as url:
        reader, writer = await asyncio.open_connection(*address_of(url))
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(head)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_websocket_handshake_is_an_ordinary_get(settings: Settings, token: str) -> None:
    stream = "/api/v1.1/admin/senders/queue/stream/?id=119"
    async with serving(settings) as url:
        for path, status in ("/", b"200"), ("/openapi.json", b"200"), (stream, b"401"), (STATS, b"405"):
            asked = head_of(*OFFERS[1], method="GET", path=path)
            answer = await talk(url, asked + head_of("Connection: close", method="GET", path="/healthz"))
            assert ANSWER.findall(answer) == [status, b"200"]
        reader, writer = await asyncio.open_connection(*address_of(url))
        writer.write(head_of(*OFFERS[1], f"Authorization: Bearer {token}", method="GET", path=stream))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert b"event: report" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)


@pytest.mark.parametrize(
    "pieces",
    [
        (PREFACE,),
        (PREFACE[:8], PREFACE[8:]),
        (PREFACE[:19], PREFACE[19:]),
        (head_of(method="CONNECT", path="x:443"), INNER),
        (head_of(*OFFERS[0], method="CONNECT", path="x:443") + INNER,),
        (head_of("Content-Length: 9", method="CONNECT", path="x:443/") + INNER,),
        (head_of(*OFFERS[0], "Transfer-Encoding: gzip"), INNER),
        (head_of(*OFFERS[0], "Transfer-Encoding: chunked") + b"z\r\n", INNER),
    ],
)
async def test_invalid_http_gets_one_plain_400_and_closes_the_connection(
    nowhere: Settings, pieces: tuple[bytes, ...]
) -> None:
    async with serving(nowhere) as url:
        answer = await talk(url, *pieces, pause=0.05)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\nInvalid HTTP request received.")
    assert ANSWER.findall(answer) == [b"400"]


async def test_a_trailer_is_not_used_as_a_header(settings: Settings, token: str) -> None:
    """A proxy that checks headers does not check trailers."""
    trailers = f"Authorization: Bearer {token}\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    body = chunked(b'{"id":119}', 4)[:-2] + trailers.encode() + b"\r\n"
    async with serving(settings) as url:
        for offer in (), OFFERS[0]:
            asked = head_of(*offer, "Transfer-Encoding: chunked") + body
            answer = await talk(url, asked, head_of("Connection: close", method="GET", path="/healthz"))
            assert ANSWER.findall(answer) == [b"401", b"200"]


@pytest.mark.skipif(NGINX is None, reason="there is no nginx; Debian's package is enough")
async def test_nginx_may_pass_offers_on(settings: Settings, token: str) -> None:
    """Uses the lines for WebSockets from the documentation of nginx in place of one line of docs/nginx.conf."""
    snippet: dict[str, Any] = {"proxy_set_header Connection": '"upgrade"; proxy_set_header Upgrade $http_upgrade'}
    bodies = [body_of(Format.JSON, token=token, id=119), b"<xml>", INNER]
    async with serving(settings) as url:
        with nginx_before(address_of(url)[1], **snippet) as port:
            for body in bodies:
                framing = ("Connection: close", f"Content-Length: {len(body)}", "X-Request-Id: 1")
                plain = await talk(f"http://127.0.0.1:{port}", head_of(*framing) + body)
                assert ANSWER.findall(plain) == [b"200" if body is bodies[0] else b"400"]
                for offer in OFFERS[:2]:
                    head = head_of(*offer, *framing)
                    for pieces in (head + body,), (head, body):
                        answer = await talk(f"http://127.0.0.1:{port}", *pieces, pause=0.05)
                        assert without_moment(answer) == without_moment(plain)


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return output.decode()


@pytest.fixture
async def url(settings: Settings, owner: Any) -> AsyncIterator[str]:
    await insert(owner, [Message()] * 3)
    async with serving(settings) as url:
        yield url


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java; a JDK from 11 on is enough")
async def test_the_client_of_the_jdk_gets_its_responses_with_its_defaults(url: str, token: str) -> None:
    output = await run("java", str(Path(__file__).with_name("HttpClientDefaults.java")), url + STATS, token)
    assert re.findall(r"^(\w+) (\d+) .*?\"(?:total|error)\":(\d+)", output, re.MULTILINE) == [
        (version, *answer)
        for version in ("HTTP_1_1", "HTTP_2")
        for answer in (*[("200", "3")] * 3, ("401", "401"), ("413", "413"))
    ]


async def test_curl_that_offers_http_2_gets_its_responses(url: str, token: str) -> None:
    if shutil.which("curl") is None or "HTTP2" not in await run("curl", "--version"):
        pytest.skip("there is no curl that can offer HTTP/2")
    body = body_of(Format.JSON, token=token, id=119).decode()
    output = await run("curl", "--silent", "--show-error", "--http2", "--data", body, url + STATS, url + STATS)
    assert re.findall(r'"total":(\d+)', output) == ["3", "3"]

"""The server's own limits: what a client can do to it before, between and beside requests."""

import asyncio
import gc
import socket
import struct
import time
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.protocol import IS_GONE, BoundedProtocol
from service.settings import Settings

LARGEST_READ_BYTES = 256 * 1024
FLOOD_BYTES = 20_000_000
SOON_SECONDS = 5
HOST = b" HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /read" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass
class Served:
    """A small application behind a real server, and what went on in it."""

    settings: Settings
    port: int = 0
    seen: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    read_bytes: int = 0
    connections: "weakref.WeakSet[BoundedProtocol]" = field(default_factory=weakref.WeakSet)
    was_gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        options = parse_qs(scope["query_string"].decode())
        if scope["path"] == "/read":
            body = b""
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body, more = body + message["body"], message["more_body"]
            self.bodies.append(body)
        elif scope["path"] == "/gone":
            is_gone: Callable[[], bool] = scope["extensions"][IS_GONE]
            assert not is_gone()
            while not is_gone():  # noqa: ASYNC110 - it is asked, it does not tell
                await asyncio.sleep(0.01)
            self.was_gone.set()
        await asyncio.sleep(int(options.get("ms", ["0"])[0]) / 1000)
        content = scope["path"].encode() + b"." * int(options.get("bytes", ["0"])[0])
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]}
        )
        await send({"type": "http.response.body", "body": content})

    def has_let_go(self) -> bool:
        return len(self.seen) > 0 and all(each.transport.is_closing() for each in self.connections)

    def protocol(self, **given: Any) -> BoundedProtocol:
        served = self

        class Watched(BoundedProtocol):
            def data_received(self, data: bytes) -> None:
                served.read_bytes += len(data)
                super().data_received(data)

        connection = Watched(self.settings, **given)
        self.connections.add(connection)
        return connection


@asynccontextmanager
async def serving(**limits: int) -> AsyncIterator[Served]:
    served = Served(Settings(data_dir=Path("/nonexistent"), **cast(Any, limits)))
    http = cast(type[asyncio.Protocol], partial(served.protocol))
    config = uvicorn.Config(
        served.app, port=0, http=http, interface="asgi3", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it tells nobody when it has started
        await asyncio.sleep(0.002)
    served.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.should_exit = True
        await serve


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Connection:
    """A client that writes whatever it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes, pause: float = 0) -> None:
        """Writes the pieces one after the other, until the server has had enough."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass

    async def answer(self) -> Answer:
        async with asyncio.timeout(SOON_SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(first.split()[1]), headers, body)

    async def is_closed(self) -> bool:
        """Whether nothing comes any more, and the server closes soon."""
        return await self.rest() == b""

    async def rest(self) -> bytes:
        """All that comes until the server closes; that it closes soon is asserted."""
        async with asyncio.timeout(SOON_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def connection_to(served: Served) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


def get(path: str, *headers: str) -> bytes:
    return b"GET " + path.encode() + HOST + "".join(f"{each}\r\n" for each in headers).encode() + b"\r\n"


async def check_answered(served: Served) -> None:
    """A client without bad intentions gets its answer at once."""
    async with connection_to(served) as connection:
        began = time.monotonic()
        await connection.send(get("/plain"))
        assert (await connection.answer()).body == b"/plain"
        assert time.monotonic() - began < 1


FLOODS = {
    "an address": (b"GET /", b"a"),
    "a method": (b"", b"POST"),
    "a header's name": (b"GET /" + HOST, b"a"),
    "a header's value": (b"GET /" + HOST + b"A: ", b"a"),
    "headers": (b"GET /" + HOST, b"a: b\r\n"),
    "empty headers": (b"GET /" + HOST, b"a:\r\n"),
    "empty lines": (b"", b"\r\n"),
    "a trailer": (CHUNKED + b"0\r\nA: ", b"a"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "chunk extensions": (CHUNKED + b"1", b";a=b"),
    "a chunk extension": (CHUNKED + b"1;a=", b"a"),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_refused_after_the_limit_and_one_read(flood: str) -> None:
    head, drop = FLOODS[flood]
    water = drop * (65536 // len(drop))
    async with serving() as served, connection_to(served) as connection:
        await connection.send(head, *[water] * (FLOOD_BYTES // len(water)))
        await check_answered(served)
        # The refusal itself may be lost to who still writes.
        assert (await connection.rest())[:12] in (b"", b"HTTP/1.1 431", b"HTTP/1.1 400")
        assert served.read_bytes < served.settings.header_limit_bytes + LARGEST_READ_BYTES + 1000
        # Only the request whose head was right has been seen, and it ended when its client was shut out.
        assert [scope["path"] for scope in served.seen] == ["/read", "/plain"][head[:4] != b"POST" :]
        assert served.bodies == []


@pytest.mark.parametrize("is_in_pieces", [False, True])
@pytest.mark.parametrize(("too_many_bytes", "status"), [(-60, 200), (60, 431)])
async def test_the_limit_of_a_head_is_exact_to_a_line(is_in_pieces: bool, too_many_bytes: int, status: int) -> None:
    body = b"." * 5000
    start = b"POST /read" + HOST + b"Content-Length: %d\r\nA: " % len(body)
    async with serving(header_limit_bytes=4096) as served, connection_to(served) as connection:
        head = start + b"a" * (4096 - len(start) + too_many_bytes) + b"\r\n\r\n"
        pieces = [head[:1000], head[1000:2000], head[2000:] + body] if is_in_pieces else [head + body]
        await connection.send(*pieces, pause=0.05)
        assert (await connection.answer()).status == status
        assert served.bodies == [body] * (status == 200)


@pytest.mark.parametrize("is_in_pieces", [False, True])
async def test_the_headers_are_counted(is_in_pieces: bool) -> None:
    async with serving(header_count_limit=20) as served:
        for count, status in ((20, 200), (21, 431)):
            async with connection_to(served) as connection:
                request = get("/", *(f"h{number}: x" for number in range(count - 1)))
                await connection.send(*([request[:80], request[80:]] if is_in_pieces else [request]), pause=0.05)
                assert (await connection.answer()).status == status
    assert len(served.seen) == 1


async def test_large_bodies_are_the_applications_affair() -> None:
    body = b"." * 1_000_000
    chunks = b"".join(b"1;x\r\n%b\r\n" % body[:1] for _ in range(100_000))
    async with serving(header_limit_bytes=1024) as served, connection_to(served) as connection:
        await connection.send(b"POST /read" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert (await connection.answer()).status == 200
        await connection.send(CHUNKED, chunks, b"0\r\n\r\n")
        assert (await connection.answer()).status == 200
        assert [len(each) for each in served.bodies] == [1_000_000, 100_000]


SLOW = {
    "nothing": (b"", []),
    "empty lines": (b"", [408]),
    "a first line": (b"GET /", [408]),
    "a head": (b"GET /" + HOST, [408]),
    "a second head": (get("/") + b"GET /" + HOST, [200, 408]),
    "a body after its answer": (b"GET /" + HOST + b"Content-Length: 1000\r\n\r\n", [200]),
}


@pytest.mark.parametrize("slow", SLOW)
async def test_who_is_slow_is_cut_off_in_time_however_steadily_bytes_trickle(slow: str) -> None:
    beginning, statuses = SLOW[slow]
    trickle = {"nothing": b"", "empty lines": b"\r\n", "a body after its answer": b"."}.get(slow, b"")
    async with serving(header_timeout_ms=300) as served, connection_to(served) as connection:
        began = time.monotonic()
        sending = asyncio.create_task(connection.send(beginning, *[trickle or b"X"] * 100, pause=0.05))
        if slow == "nothing":
            sending.cancel()
        assert [(await connection.answer()).status for _ in statuses] == statuses
        assert await connection.is_closed()
        assert 0.25 < time.monotonic() - began < 3
        sending.cancel()
        await check_answered(served)


async def test_the_time_for_a_head_begins_with_its_first_byte() -> None:
    async with serving(header_timeout_ms=1000) as served, connection_to(served) as connection:
        for _ in range(2):
            await asyncio.sleep(0.7)
            await connection.send(b"GET /", HOST, b"\r\n", pause=0.2)
            assert (await connection.answer()).status == 200


async def test_an_idle_connection_is_closed_in_time_and_not_before() -> None:
    limits = {"keep_alive_timeout_ms": 1000, "header_timeout_ms": 300}
    async with serving(**limits) as served, connection_to(served) as connection:
        for _ in range(3):
            await connection.send(get("/"))
            assert (await connection.answer()).status == 200
            await asyncio.sleep(0.5)
        began = time.monotonic()
        assert await connection.is_closed()
        assert time.monotonic() - began < 3


async def test_a_connection_whose_body_comes_after_its_answer_is_kept_and_then_closed() -> None:
    async with serving(header_timeout_ms=300) as served, connection_to(served) as connection:
        await connection.send(b"POST /" + HOST + b"Content-Length: 2\r\n\r\n.")
        assert (await connection.answer()).status == 200
        await connection.send(b".", get("/next"))
        assert (await connection.answer()).body == b"/next"
        await connection.send(b"POST /" + HOST + b"Content-Length: 2\r\n\r\n.")
        assert (await connection.answer()).status == 200
        await connection.send(b".")
        assert await connection.is_closed()


async def test_two_hundred_slow_connections_harm_nobody_and_hold_little_memory() -> None:
    async with serving() as served, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connection_to(served)) for _ in range(200)]
        await check_answered(served)
        tracemalloc.start()
        for number, connection in enumerate(slow):
            beginning = [b"GET /", b"GET /" + HOST + b"A: ", CHUNKED + b"1;"][number % 3]
            await connection.send(beginning + b"x" * 12_000)
        for _ in range(50):
            for connection in slow[::10]:
                await connection.send(b"x")
            await check_answered(served)
        grown_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(served.connections) >= 200
        assert grown_bytes < 200 * 20_000


async def test_connections_beyond_the_limit_are_told_to_come_again() -> None:
    async with serving(connection_limit=3) as served, AsyncExitStack() as stack:
        admitted = [await stack.enter_async_context(connection_to(served)) for _ in range(3)]
        for connection in admitted:
            await connection.send(get("/"))
            assert (await connection.answer()).status == 200
        for _ in range(20):
            async with connection_to(served) as connection:
                refusal = await connection.answer()
                assert (refusal.status, refusal.headers["retry-after"]) == (503, "1")
                assert await connection.is_closed()
        await admitted[0].send(get("/", "Connection: close"))
        assert (await admitted[0].answer()).status == 200
        assert await admitted[0].is_closed()
        await check_answered(served)


async def test_pipelined_requests_are_answered_in_order_whatever_they_take() -> None:
    waits = [80, 0, 40, 0, 0, 20, 0]
    async with serving() as served, connection_to(served) as connection:
        await connection.send(b"".join(get(f"/{number}?ms={ms}") for number, ms in enumerate(waits)))
        assert [(await connection.answer()).body for _ in waits] == [b"/%d" % number for number in range(len(waits))]
        for _ in range(3):
            await connection.send(b"".join(CHUNKED + b"1\r\n%d\r\n0\r\n\r\n" % number for number in range(10)))
            for _ in range(10):
                assert (await connection.answer()).status == 200
        assert served.bodies == [b"%d" % number for number in range(10)] * 3
        await connection.send(get("/1?ms=50") + get("/2?ms=50") + get("/3", "Connection: close") + get("/never"))
        assert [(await connection.answer()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
        assert await connection.is_closed()


async def test_pipelines_are_bounded_and_what_was_taken_is_answered() -> None:
    async with serving(pipeline_limit=5) as served, connection_to(served) as connection:
        await connection.send(get("/?ms=50") * 5000)
        assert [(await connection.answer()).status for _ in range(7)] == [200] * 6 + [503]
        assert await connection.is_closed()
        assert len(served.seen) == 6


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (CHUNKED + b"nonsense\r\n", 400),
        (b"GET /" + HOST + b"A: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + HOST, 408),
    ],
)
async def test_a_refusal_waits_for_the_answers_before_it(bad: bytes, status: int) -> None:
    async with serving(header_timeout_ms=300) as served, connection_to(served) as connection:
        await connection.send(get("/1?ms=400") + get("/2?ms=50") + bad)
        if status != 408:
            await connection.send(get("/never"))
        assert [(await connection.answer()).body for _ in range(2)] == [b"/1", b"/2"]
        assert (await connection.answer()).status == status
        assert await connection.is_closed()
        assert len(served.seen) == 2


async def test_a_pipelined_head_is_not_late_while_it_is_the_server_that_does_not_read() -> None:
    async with serving(header_timeout_ms=300) as served, connection_to(served) as connection:
        await connection.send(get("/1?ms=900") + get("/2") + b"GET /3", HOST + b"\r\n", pause=0.02)
        assert [(await connection.answer()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]


CONFUSING_HEADS = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: -5",
    "Content-Length: 0x5",
    "Content-Length: 5 5",
    "Content-Length: 99999999999999999999",
    "Content-Length : 5",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\x0bchunked",
    "A: b\0c",
    "A\0: b",
    "A: b\rContent-Length: 5",
    "A: b\nContent-Length: 5",
    "A: b\r\n Content-Length: 5",
    ": b",
    "A",
]


@pytest.mark.parametrize("headers", CONFUSING_HEADS)
async def test_a_head_that_two_servers_could_read_differently_is_400_and_the_end(headers: str) -> None:
    async with serving() as served, connection_to(served) as connection:
        head = b"POST /read" + HOST + headers.encode() + b"\r\n\r\n"
        await connection.send(head + b"5\r\nhello\r\n0\r\n\r\n" + get("/smuggled"))
        assert (await connection.answer()).status == 400
        assert await connection.is_closed()
        assert (served.bodies, "/smuggled" in [scope["path"] for scope in served.seen]) == ([], False)


@pytest.mark.parametrize(
    "bad",
    [b"GET / HTTP/1.1\nHost: x\n\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03"],
)
async def test_what_is_not_http_is_400_and_the_end(bad: bytes) -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(bad)
        assert (await connection.answer()).status == 400
        assert await connection.is_closed()
        assert served.seen == []


@pytest.mark.parametrize(
    "bad", [b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"1\nx\n", b"1\r\nxx\r\n", b"\0", b"0\r\nA\0: b\r\n"]
)
async def test_a_body_with_bad_chunks_ends_its_request(bad: bytes) -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(CHUNKED, bad, pause=0.05)
        assert (await connection.answer()).status == 400
        assert await connection.is_closed()
        assert served.bodies == []


async def test_trailers_are_read_over_and_never_taken_for_headers() -> None:
    async with serving() as served, connection_to(served) as connection:
        for pieces in ([CHUNKED + b"0\r\nAuthorization: x\r\n\r\n"], [CHUNKED, b"0\r\nAuthorization: x", b"\r\n\r\n"]):
            await connection.send(*pieces, pause=0.02)
            assert (await connection.answer()).status == 200
        await connection.send(get("/"))
        assert (await connection.answer()).status == 200
        names = [[name for name, _ in scope["headers"]] for scope in served.seen]
        assert names == [[b"host", b"transfer-encoding"]] * 2 + [[b"host"]]


async def test_offers_to_upgrade_are_declined_and_the_request_is_served() -> None:
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {}\r\nHTTP2-Settings: \r\n"
    hidden = get("/smuggled")
    async with serving() as served, connection_to(served) as connection:
        for offer in ("h2c", "websocket"):
            head = b"POST /read" + HOST + upgrade.format(offer).encode() + b"Content-Length: %d\r\n\r\n" % len(hidden)
            for pieces in ([head, hidden], [head + hidden], [head + hidden[:9], hidden[9:]]):
                await connection.send(*pieces, pause=0.02)
                assert (await connection.answer()).body == b"/read"
        assert served.bodies == [hidden] * 6
        await connection.send(get("/plain", "Connection: upgrade", "Upgrade: h2c") * 20)
        assert [(await connection.answer()).body for _ in range(20)] == [b"/plain"] * 20


async def test_thousands_of_offers_to_upgrade_are_cut_off_like_any_pipeline() -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(get("/", "Connection: upgrade", "Upgrade: h2c") * 3000)
        count = served.settings.pipeline_limit + 1
        assert [(await connection.answer()).status for _ in range(count + 1)] == [200] * count + [503]
        assert await connection.is_closed()


async def test_connect_is_not_implemented() -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(b"CONNECT example.com:443" + HOST + b"\r\n" + get("/smuggled"))
        assert (await connection.answer()).status == 501
        assert await connection.is_closed()
        assert served.seen == []


@pytest.mark.parametrize(
    ("request_head", "path", "is_kept"),
    [
        (b"GET /a HTTP/1.0\r\n\r\n", "/a", False),
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "/a", False),
        (b"GET /a HTTP/1.1\r\n\r\n", "/a", True),
        (get("/a", "Connection: close"), "/a", False),
        (get("/a", "Connection: keep-alive"), "/a", True),
        (get("http://example.com:80/a?b=c"), "/a", True),
        (get("//a//b"), "//a//b", True),
        (b"\r\n\r\n" + get("/a"), "/a", True),
        (b"OPTIONS *" + HOST + b"\r\n", "*", True),
    ],
)
async def test_all_ways_to_ask_reach_the_application(request_head: bytes, path: str, is_kept: bool) -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(request_head)
        answer = await connection.answer()
        assert (answer.status, answer.body) == (200, path.encode())
        assert answer.headers.get("connection") == (None if is_kept else "close")
        if is_kept:
            await connection.send(get("/again"))
            assert (await connection.answer()).body == b"/again"
        else:
            assert await connection.is_closed()


async def test_who_expects_a_go_ahead_gets_it() -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(b"POST /read" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await connection.answer()).status == 100
        await connection.send(b"ok")
        assert (await connection.answer()).status == 200
        assert served.bodies == [b"ok"]


async def test_the_application_can_ask_whether_its_client_has_gone() -> None:
    async with serving() as served:
        async with connection_to(served) as connection:
            await connection.send(get("/gone"))
            await asyncio.sleep(0.05)
            assert not served.was_gone.is_set()
        async with asyncio.timeout(SOON_SECONDS):
            await served.was_gone.wait()


async def test_who_leaves_before_pipelined_answers_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        for count in (1, 2, 3):
            async with connection_to(served) as connection:
                await connection.send(get("/?ms=100") * count, pause=0.03)
        await asyncio.sleep(0.2)
    assert len(served.seen) == 3
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize("headers", [[], ["Connection: close"]])
async def test_who_does_not_read_its_answer_is_let_go(headers: list[str]) -> None:
    async with serving(send_timeout_ms=200) as served, connection_to(served) as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined] # a reading transport too
        await connection.send(get("/?bytes=30000000", *headers))
        async with asyncio.timeout(SOON_SECONDS):
            while not served.has_let_go():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)


async def test_who_reads_slowly_but_steadily_gets_all_of_it() -> None:
    async with serving() as served, connection_to(served) as connection:
        await connection.send(get("/?bytes=10000000", "Connection: close"))
        assert len((await connection.answer()).body) == 10_000_001


async def test_a_connection_that_was_reset_leaves_nothing_behind() -> None:
    async with serving() as served:
        for request in (get("/"), b"GET /", b"", CHUNKED, get("/?ms=10") * 3):
            async with connection_to(served) as connection:
                await connection.send(request, pause=0.02)
                linger_not = struct.pack("ii", 1, 0)
                connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        await asyncio.sleep(0.1)
        gc.collect()
        assert len(served.connections) == 0

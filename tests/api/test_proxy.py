"""The service behind nginx with docs/nginx.conf: the responses have the same bytes, and slow, large, numerous and
smuggled requests are refused."""

import asyncio
import select
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.wire.parsing.parameters import MAX_BODY_BYTES
from tests.api.wire import STATS, serve_process
from tests.conftest import PATIENCE_SECONDS, TestDatabase
from tests.proxy import NGINX, Relay, nginx_before, relay_to

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx; Debian's package is enough")

EXAMPLES = Path(__file__).parents[1] / "examples"
DOCUMENTED_ROWS = """INSERT INTO messages (sender_id, account_id, campaign_id, status, recipient)
SELECT 119, 306, campaign, status::message_status, 'someone@example.com'
FROM (VALUES (4591, 'new', 100), (4591, 'proc', 100), (4914, 'new', 10), (4914, 'proc', 10), (4914, 'retry', 40),
             (4914, 'hold', 80)) AS queue (campaign, status, messages), generate_series(1, messages)"""
# Headers that depend on a connection, a time or a server.
NOT_COMPARED = {"date", "server", "connection", "keep-alive", "server-timing"}
STREAM_HEAD = b"GET %b?id=119 HTTP/1.1\r\nHost: x\r\n" % STATS.replace("stats", "stream").encode()
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A client that writes arbitrary bytes, and reads the responses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def response(self, is_head: bool = False) -> Response:
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            length = 0 if is_head else int(headers["content-length"])
            return Response(int(first.split()[1]), headers, await self.reader.readexactly(length))

    async def rest(self) -> bytes:
        """Everything that arrives until the other side closes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """A function that opens a connection to a port and writes the pieces. The end of the test closes it."""
    writers: list[asyncio.StreamWriter] = []

    async def open_to(port: int, *pieces: bytes, **options: Any) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        writers.append(writer)
        writer.writelines(pieces)
        return Connection(reader, writer)

    yield open_to
    for writer in writers:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
def service(database: TestDatabase) -> Iterator[int]:
    """The port of a service in its own process."""
    with serve_process(
        {"QUEUESTATS_DATABASE_URL": database.service_url, "QUEUESTATS_DEFAULT_GROUP": "account_campaign"}
    ) as served:
        yield port_of(served.url)


@pytest.fixture(scope="module")
def idle_service() -> Iterator[int]:
    """The port of a service whose database does not respond."""
    with serve_process({"QUEUESTATS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}) as served:
        yield port_of(served.url)


@pytest.fixture
async def relay(idle_service: int) -> AsyncIterator[Relay]:
    async with relay_to(idle_service) as relay:
        yield relay


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def request(body: bytes = b"", *headers: str, method: str = "POST", path: str = STATS) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "X-Request-Id: same", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def requests(token: str) -> dict[str, bytes]:
    example = {each: (EXAMPLES / f"stats-request.{each}").read_bytes() for each in ("json", "xml")}
    example = {each: body.replace(b"abcdefghijklmnqrstuvwxyz", token.encode()) for each, body in example.items()}
    valid = example["json"]
    by_header = f"Authorization: Bearer {token}"
    return {
        "the documented JSON": request(valid),
        "the documented XML": request(example["xml"]),
        "XML from JSON": request(valid, path=f"{STATS}?format=xml"),
        "a token in the header": request(b'{"id":119}', by_header),
        "a token in the URL": request(b'{"id":119}', path=f"{STATS}?token={token}"),
        "gzip": request(valid, "Accept-Encoding: gzip"),
        "no last slash": request(valid, path=STATS.rstrip("/")),
        "doubled slashes": request(valid, path=STATS.replace("/", "//")),
        "an escaped slash": request(valid, path=STATS.replace("queue/", "queue%2F")),
        "dots": request(valid, path="/api/../" + STATS),
        "chunks": request(b"", "X: y").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(valid), valid),
        "400 syntax, JSON": request(b'{"id":'),
        "400 syntax, XML": request(b"<xml><id>"),
        "400 a parameter": request(b'{"id":"x"}', by_header),
        "400 no body": request(),
        "401 no token": request(b'{"id":119}'),
        "401 a wrong token": request(b"<xml><id>119</id><token>x</token></xml>"),
        "403 or 404": request(valid, path=STATS.replace("stats", "explain")),
        "404": request(valid, path="/api/v1.1/nothing/"),
        "404 at nginx's own name": request(path="/error.json"),
        "405 GET": request(method="GET"),
        "405 PUT": request(b"<xml/>", method="PUT"),
        "405 OPTIONS": request(method="OPTIONS"),
        "405 HEAD": request(method="HEAD"),
        "405 TRACE": request(method="TRACE").replace(b"Content-Length: 0\r\n", b""),
        "413 JSON": request(b"{" + b" " * MAX_BODY_BYTES),
        "413 XML": request(b"<" + b" " * MAX_BODY_BYTES),
        "413 far too large": request(b"{" + b" " * 5 * MAX_BODY_BYTES),
        "413 far too large, XML": request(b"<" + b" " * 5 * MAX_BODY_BYTES, "Content-Type: text/xml; charset=utf-8"),
        "an unknown parameter": request(valid.replace(b"{", b'{"grup":"isp",', 1)),
    }


async def test_every_response_has_the_same_bytes(service: int, owner: Any, token: str, connect: Any) -> None:
    await owner.execute(DOCUMENTED_ROWS)
    with nginx_before(service) as nginx:
        for name, sent in requests(token).items():
            is_head = sent.startswith(b"HEAD")
            here, there = [await (await connect(port, sent)).response(is_head) for port in (nginx, service)]
            assert compared(here, name) == compared(there, name), name


def compared(response: Response, name: str) -> tuple[int, dict[str, str], bytes]:
    ignored = NOT_COMPARED | ({"x-request-id"} if "nginx" in name or "far" in name or "TRACE" in name else set())
    return response.status, {k: v for k, v in response.headers.items() if k not in ignored}, response.body


async def test_nginx_passes_on_the_documented_responses(service: int, owner: Any, token: str, connect: Any) -> None:
    await owner.execute(DOCUMENTED_ROWS)
    with nginx_before(service) as nginx:
        answer = await (await connect(nginx, requests(token)["the documented XML"])).response()
    documented = (EXAMPLES / "stats-response.xml").read_text()
    assert answer.body.decode() == "".join(line.strip() for line in documented.splitlines())


@pytest.mark.parametrize("format", ["json", "xml"])
async def test_a_stopped_service_is_503_with_the_usual_members(connect: Any, format: str) -> None:
    with nginx_before(1) as nginx:
        answer = await (await connect(nginx, request(path=f"{STATS}?format={format}"))).response()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == f"application/{format}; charset=utf-8"
    text = "Service unavailable: try again in a second"
    assert (
        answer.body.decode()
        == {
            "json": f'{{"error":503,"error_text":"{text}"}}',
            "xml": f"<xml><error>503</error><error_text>{text}</error_text></xml>",
        }[format]
    )


@pytest.mark.parametrize("sent", [b"", b"POST ", HEALTH, HEALTH + b"A: b"])
async def test_a_slow_head_is_cut_off(relay: Relay, connect: Any, sent: bytes) -> None:
    with nginx_before(relay.port, client_header_timeout="1s") as nginx:
        await (await connect(nginx, sent)).rest()
    assert relay.count() == 0


async def test_a_slow_body_is_cut_off_before_the_service_gets_the_request(relay: Relay, connect: Any) -> None:
    with nginx_before(relay.port, client_body_timeout="1s") as nginx:
        connection = await connect(nginx, request(b"." * 10)[:-1])
        assert (await connection.rest())[:12] in (b"HTTP/1.1 400", b"")
    assert relay.count() == 0


async def test_a_client_that_does_not_read_is_cut_off(service: int, owner: Any, token: str) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, account_id, campaign_id, recipient)"
        " SELECT 119, 1, n, 'someone@example.com' FROM generate_series(1, 20000) AS n"
    )
    asked = request(b'{"id":119}', f"Authorization: Bearer {token}")
    with nginx_before(service, send_timeout="1s") as nginx, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", nginx))
        client.sendall(asked * 10)
        # Registered without events, so that poll() reports only a reset.
        poll = select.poll()
        poll.register(client, 0)
        assert await asyncio.to_thread(poll.poll, PATIENCE_SECONDS * 1000)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEALTH + b"A: " + b"a" * 9000 + b"\r\n\r\n",
        HEALTH + b"".join(b"A%d: %b\r\n" % (number, b"a" * 1000) for number in range(20)) + b"\r\n",
    ],
)
async def test_too_large_a_head_is_refused(relay: Relay, connect: Any, head: bytes) -> None:
    with nginx_before(relay.port) as nginx:
        answer = await (await connect(nginx, head)).response()
    assert answer.status in (400, 414)
    assert answer.body.startswith(b'{"error":4')
    assert relay.count() == 0


async def test_requests_of_one_address_are_limited(relay: Relay, connect: Any) -> None:
    with nginx_before(relay.port, certificate=None, **{"limit_conn addresses": "3"}) as nginx:
        waiting = [await connect(nginx, request(b"." * 10)[:-1]) for _ in range(3)]
        refused = await until(503, nginx, connect)
        assert refused.headers["retry-after"] == "1"
        waiting[0].writer.transport.abort()
        await until(200, nginx, connect)


async def test_streams_have_their_own_limit_and_do_not_count_towards_that_of_other_requests(
    service: int, token: str, connect: Any
) -> None:
    stream = STREAM_HEAD + f"Authorization: Bearer {token}\r\n\r\n".encode()
    limits = {"limit_conn addresses": "1", "limit_conn streams": "2"}
    with nginx_before(service, certificate=None, **limits) as nginx:
        open_streams = [await connect(nginx, stream) for _ in range(2)]
        for each in open_streams:
            assert (await each.reader.readline()).split()[1] == b"200"
        assert (await (await connect(nginx, stream)).response()).status == 503
        assert (await (await connect(nginx, HEALTH + b"\r\n")).response()).status == 200


async def test_a_stream_whose_client_has_closed_is_closed_at_once(connect: Any) -> None:
    """nginx cannot detect this by a failed write, because this server sends nothing more."""
    closed = asyncio.Event()

    async def begin_a_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n\r\n2\r\n:\n\r\n")
        await reader.read()
        closed.set()
        writer.close()

    async with await asyncio.start_server(begin_a_stream, "127.0.0.1", 0) as server:
        with nginx_before(server.sockets[0].getsockname()[1], proxy_read_timeout="600s") as nginx:
            client = await connect(nginx, STREAM_HEAD + b"\r\n")
            await client.reader.readuntil(b":\n")
            client.writer.close()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await closed.wait()


async def until(status: int, nginx: int, connect: Any) -> Response:
    """Repeats the request until the response has the status: nginx may not have read the earlier bytes yet."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer: Response = await (await connect(nginx, HEALTH + b"\r\n")).response()
            if answer.status == status:
                return answer


async def test_pipelined_requests_get_their_responses_in_order(relay: Relay, connect: Any) -> None:
    ids = [f"number-{number}" for number in range(50)]
    with nginx_before(relay.port) as nginx:
        connection = await connect(nginx, *(HEALTH + f"X-Request-Id: {each}\r\n\r\n".encode() for each in ids))
        assert [(await connection.response()).headers["x-request-id"] for _ in ids] == ids
    assert relay.count() == len(ids)


INNER = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: smuggled\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + INNER
POST = b"POST /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
SMUGGLING = {
    "CL.TE": POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(CHUNKED) + CHUNKED,
    "TE.CL": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%x\r\n" % len(INNER)
    + INNER
    + b"\r\n0\r\n\r\n",
    "TE.TE": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKED,
    "TE in disguise": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED) + CHUNKED,
    "TE after a blank": POST + b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED) + CHUNKED,
    "TE with a tab": POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED) + CHUNKED,
    "TE with a vertical tab": POST
    + b"Transfer-Encoding: \x0bchunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED)
    + CHUNKED,
    "TE folded": POST + b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED) + CHUNKED,
    "a bare LF in the head": POST
    + b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED)
    + CHUNKED,
    "a bare CR in the head": POST
    + b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(CHUNKED)
    + CHUNKED,
    "a bare LF in a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n1;\nX\r\n0\r\n\r\n" + INNER,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
    "two lengths in a line": POST + b"Content-Length: 0, %d\r\n\r\n" % len(INNER) + INNER,
    "a length with a sign": POST + b"Content-Length: +%d\r\n\r\n" % len(INNER) + INNER,
    "a body of GET": HEALTH + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
    "a huge chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + INNER,
}


@pytest.mark.parametrize("attempt", SMUGGLING)
async def test_a_smuggled_request_never_reaches_the_service(relay: Relay, connect: Any, attempt: str) -> None:
    with nginx_before(relay.port) as nginx:
        await (await connect(nginx, SMUGGLING[attempt])).rest()
        assert relay.count() <= 1
        answer = await (await connect(nginx, HEALTH + b"X-Request-Id: next\r\n\r\n")).response()
    assert (answer.status, answer.headers["x-request-id"]) == (200, "next")
    assert b"smuggled" not in b"".join(relay.answers)


async def test_no_request_is_lost_if_a_process_of_the_service_is_killed(
    service: int, database: TestDatabase, token: str, connect: Any
) -> None:
    asked = request(b'{"id":119}', f"Authorization: Bearer {token}")
    statuses: list[int] = []
    running, killed = asyncio.Event(), asyncio.Event()

    async def ask_on(nginx: int) -> None:
        connection = await connect(nginx)
        beyond = 0
        while beyond < 100:
            connection.writer.write(asked)
            statuses.append((await connection.response()).status)
            if len(statuses) == 200:
                running.set()
            beyond += killed.is_set()

    with (
        serve_process({"QUEUESTATS_DATABASE_URL": database.service_url}) as other,
        nginx_before(service, port_of(other.url)) as nginx,
    ):
        async with asyncio.TaskGroup() as clients:
            for _ in range(8):
                clients.create_task(ask_on(nginx))
            await running.wait()
            other.process.kill()
            killed.set()
    assert set(statuses) == {200}


@pytest.mark.parametrize(("action", "arrived"), [("stats", 2), ("hold", 1), ("purge", 1)])
async def test_nginx_sends_a_request_that_changes_the_queue_only_once(
    relay: Relay, connect: Any, action: str, arrived: int
) -> None:
    """One of two requests is first sent to a server that reads it and closes the connection without a response."""

    async def take_and_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    asked = request(b'{"token":"x"}', path=STATS.replace("stats", action))
    async with await asyncio.start_server(take_and_end, "127.0.0.1", 0) as broken:
        with nginx_before(broken.sockets[0].getsockname()[1], relay.port, worker_processes="1") as nginx:
            for _ in range(2):
                await (await connect(nginx, asked)).response()
    assert relay.count() == arrived


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The folder of a certificate for localhost and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to create a certificate")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext"]
    files = ["subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*made, *files], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


async def test_nginx_accepts_only_tls(relay: Relay, connect: Any, certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=certificate / "certificate.pem")
    with nginx_before(relay.port, certificate=certificate) as nginx:
        answer = await (await connect(nginx, HEALTH + b"\r\n", ssl=trust, server_hostname="localhost")).response()
        assert answer.status == 200
        assert (await (await connect(nginx, HEALTH + b"\r\n")).rest()).startswith(b"HTTP/1.1 400")
    assert relay.count() == 1


@pytest.mark.parametrize(
    ("first_line", "status"),
    [
        ("FOO /healthz HTTP/1.1", 405),
        (f"post {STATS} HTTP/1.1", 400),
        ("CONNECT example.com:443 HTTP/1.1", 400),
        ("POST http://queue.example.com HTTP/1.1", 405),
    ],
)
async def test_the_plain_text_errors_of_the_service_become_the_usual_error_body(
    connect: Any, idle_service: int, first_line: str, status: int
) -> None:
    with nginx_before(idle_service) as port:
        client = await connect(port, f"{first_line}\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        response = await client.response()
    assert response.status == status
    assert response.body.startswith(b'{"error":%d,"error_text":"' % status)


async def test_a_client_that_closes_its_half_gets_its_response(connect: Any, idle_service: int) -> None:
    with nginx_before(idle_service) as port:
        client = await connect(port, HEALTH + b"\r\n")
        client.writer.write_eof()
        assert (await client.response()).status == 200

"""Functions with which tests use the service over a socket, as clients do."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import httpx
from lxml import etree
from msgspec.structs import replace

from service.app import create_app
from service.http.server.processes import Server, server_config
from service.http.server.sockets import address, duplicates, listen
from service.model import Format
from service.settings import Settings
from tests.cli.programs import PATIENCE_SECONDS, Program, running

ROOT = Path(__file__).resolve().parents[2]
STATS = "/api/v1.1/admin/senders/queue/stats/"
MEDIA_TYPES = {Format.JSON: "application/json; charset=utf-8", Format.XML: "application/xml; charset=utf-8"}
BEGINS = {
    400: "Incorrect request: ",
    401: "API token required",
    403: "No access: ",
    404: "Unknown method",
    405: "Method not allowed",
    409: "Conflict: ",
    413: "Request too large",
    429: "Too many requests: ",
    500: "Internal error",
    503: "Service unavailable",
    504: "Timed out",
}


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """The address of the application, served as in production, in the event loop of the test."""
    with listen(replace(settings, port=0)) as listener:
        server = Server(server_config(settings, create_app(settings)))
        serve = asyncio.create_task(server.serve(sockets=duplicates(listener)))
        while not server.started:  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.002)
        try:
            yield address(listener, settings)
        finally:
            server.should_exit = True
            await serve


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx.AsyncClient]:
    # No certificates are needed, and loading them takes longer than a request.
    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
        yield client


async def not_ready(client: httpx.AsyncClient) -> httpx.Response:
    """Waits until /readyz is not 200, and returns its response. The result is cached for a second."""
    while (response := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return response


@contextmanager
def serve_process(environment: Mapping[str, str], *arguments: str) -> Iterator[Program]:
    """`queuestats serve` on a free port, in a new folder."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), "serve", "--port", "0", *arguments, **environment) as served,
    ):
        yield served


def body_of(format: Format, /, **members: Any) -> bytes:
    """A request body. A member that is None is left out."""
    given = {name: value for name, value in members.items() if value is not None}
    if format is Format.JSON:
        return json.dumps(given).encode()
    return f"<xml>{''.join(f'<{name}>{escape(str(value))}</{name}>' for name, value in given.items())}</xml>".encode()


def check_error(response: httpx.Response, code: int, format: Format, *, status: int | None = None) -> str:
    """Asserts the properties of every error. Returns its text."""
    assert response.status_code == (status or code), response.text
    assert response.headers["content-type"] == MEDIA_TYPES[format]
    assert response.headers["cache-control"] == "no-store"
    for name, codes in {"allow": [405], "www-authenticate": [401], "retry-after": [429, 503]}.items():
        assert (name in response.headers) == (code in codes)
    assert read_error(response.content, format)[0] == code
    text = read_error(response.content, format)[1]
    assert text.startswith(BEGINS[code])
    assert text.isprintable()
    return text


def read_error(content: bytes, format: Format) -> tuple[int, str]:
    if format is Format.JSON:
        read = json.loads(content)
        assert list(read) == ["error", "error_text"]
        assert type(read["error"]) is int
        return read["error"], read["error_text"]
    root = etree.fromstring(content)
    assert [root.tag, *(child.tag for child in root)] == ["xml", "error", "error_text"]
    return int(root[0].text or ""), root[1].text or ""


async def send_raw(url: str, *pieces: bytes, pause: float = 0) -> bytes:
    """Writes the pieces to a new connection. Returns all bytes until the server closes it or sends no more."""
    reader, writer = await asyncio.open_connection(*address_of(url))
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        while received := await asyncio.wait_for(reader.read(65536), 2):
            answer += received
    except TimeoutError:
        pass
    finally:
        writer.close()
    return answer


def address_of(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def head_of(*headers: str, method: str = "POST", path: str = STATS) -> bytes:
    """The first line and the headers of a request, as bytes."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode("latin-1")

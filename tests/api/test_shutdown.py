"""The shutdown of a process: how long it waits for open requests, and how it ends them."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from sse_starlette.sse import AppStatus

from service.app import create_app
from service.http.server.processes import DRAIN_CHECK_SECONDS, DRAIN_CHECKS, Server, server_config
from service.http.server.sockets import address, duplicates, listen
from service.settings import Settings
from tests.api.wire import address_of, head_of
from tests.conftest import PATIENCE_SECONDS

TIMEOUT_SECONDS = 2.0


@dataclass
class Ending:
    """A server that has one open request, and has received SIGTERM."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    serving: "asyncio.Task[None]"


@pytest.fixture(autouse=True)
def _signals_end_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """uvicorn raises the signal again at its end, and sse-starlette stores it until the process ends."""
    monkeypatch.setattr(AppStatus, "should_exit", False)
    former = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@asynccontextmanager
async def ending(settings: Settings) -> AsyncIterator[Ending]:
    settings = replace(settings, port=0, shutdown_timeout_ms=int(1000 * TIMEOUT_SECONDS))
    with listen(settings) as listener:
        url = address(listener, settings)
        server = Server(server_config(settings, create_app(settings)))
        serving = asyncio.create_task(server.serve(sockets=duplicates(listener)))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        reader, writer = await asyncio.open_connection(*address_of(url))
        writer.write(head_of("Content-Length: 12", "Expect: 100-continue"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        server.handle_exit(signal.SIGTERM, None)
        while not server.lifespan.state["open_requests"].is_draining:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield Ending(server, reader, writer, serving)
            await serving
        writer.close()


async def test_the_drain_and_the_wait_for_open_requests_share_one_time_limit(nowhere: Settings) -> None:
    """The drain uses a part of the time first. uvicorn gets the rest, not the whole time again."""
    async with ending(nowhere) as end:
        assert (await end.reader.read()).startswith(b"HTTP/1.1 503 ")
    left_seconds = end.server.config.timeout_graceful_shutdown
    assert left_seconds is not None
    assert left_seconds <= TIMEOUT_SECONDS - DRAIN_CHECKS * DRAIN_CHECK_SECONDS


async def test_a_request_that_ends_in_time_gets_its_response_and_closes_its_connection(nowhere: Settings) -> None:
    async with ending(nowhere) as end:
        end.writer.write(b'{"id": "119"')
        response = await end.reader.read()
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close\r\n" in response


async def test_further_signals_neither_prolong_the_time_nor_skip_the_end_of_the_application(nowhere: Settings) -> None:
    async with ending(nowhere) as end:
        for _ in range(3):
            await asyncio.sleep(0.1)
            end.server.handle_exit(signal.SIGINT, None)
        assert not end.server.force_exit
        assert (await end.reader.read()).startswith(b"HTTP/1.1 503 ")

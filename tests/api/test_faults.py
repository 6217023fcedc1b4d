"""After an internal error, the client gets the usual error body. Its place decides whether the connection closes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.http.middleware import RequestMiddleware
from service.model import Format
from service.settings import Settings
from tests.api.wire import check_error

START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"whole"}


@pytest.fixture
async def app(nowhere: Settings) -> Starlette:
    return create_app(replace(nowhere, request_time_limit_ms=50))


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://queue") as client:
        yield client


def behind_the_middleware(app: Starlette, inner: ASGIApp) -> None:
    app.middleware_stack = RequestMiddleware(inner, app.state.service)


async def test_an_internal_error_outside_the_endpoints_closes_the_connection(
    app: Starlette, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    behind_the_middleware(app, fail)
    response = await client.post("/", content=b"<xml/>", headers={"x-request-id": "7f3a"})
    assert check_error(response, 500, Format.XML) == "Internal error, request 7f3a"
    assert response.headers["connection"] == "close"
    assert "fault request=7f3a to=unknown error=builtins.RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_an_internal_error_in_an_endpoint_leaves_the_connection_open(
    app: Starlette, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("service.counters.readiness.Readiness.obstacles", fail)
    response = await client.get("/readyz")
    check_error(response, 500, Format.JSON)
    assert "connection" not in response.headers
    assert "to=ready error=builtins.RuntimeError" in caplog.text


async def test_an_internal_error_after_the_response_began_is_raised_to_the_server(
    app: Starlette, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def begin_and_fail(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": []})
        raise RuntimeError

    behind_the_middleware(app, begin_and_fail)
    with pytest.raises(RuntimeError):
        await client.get("/")
    assert "to=unknown error=builtins.RuntimeError" in caplog.text


async def test_the_deadline_ends_at_the_beginning_of_the_response(app: Starlette, client: httpx.AsyncClient) -> None:
    expired = asyncio.Event()

    async def begin_and_wait(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": []})
        asyncio.get_running_loop().call_later(0.2, expired.set)
        await expired.wait()
        await send(END)

    behind_the_middleware(app, begin_and_wait)
    assert (await client.get("/")).content == b"whole"


async def test_the_deadline_is_valid_outside_the_endpoints(app: Starlette, client: httpx.AsyncClient) -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    behind_the_middleware(app, wait)
    check_error(await client.get("/"), 504, Format.JSON)


async def test_the_first_of_repeated_request_ids_is_used(client: httpx.AsyncClient) -> None:
    response = await client.get("/healthz", headers=[("x-request-id", "one"), ("x-request-id", "two")])
    assert response.headers["x-request-id"] == "one"

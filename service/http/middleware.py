"""What stands before the routes. Plain ASGI: each adds a few microseconds to a request.

`ReadBody` is the outermost, then `RequestId`, `PathSpelling`, and the routes.
"""

import asyncio
import logging
import re
import time
from contextlib import suppress
from functools import cache
from random import getrandbits

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import LateBody, ServiceError, TooLarge, Unavailable
from service.http.open_requests import OpenRequests
from service.http.requests import Body, endpoint_name
from service.telemetry.metrics import REQUEST_SECONDS, REQUESTS
from service.telemetry.origin import Origin, origins
from service.telemetry.traces import begin_request, end_request
from service.wire.parsing import MAX_BODY_BYTES, sniff

logger = logging.getLogger(__name__)

# How long the first byte of a body that is refused for its size may take: it may tell the format of the refusal.
FIRST_BYTE_SECONDS = 0.25
# After a response that came before the end of the body, so much of the rest is still taken off the wire.
LINGER_BYTES = 16 << 20
LINGER_SECONDS = 1.0
# A path and query, or a body, that hold such a long request id may hold it as a token.
SHORTEST_TOKEN = 16

_SLASHES = re.compile("/{2,}")
_REQUEST_ID = re.compile("[A-Za-z0-9._-]{1,64}")
_OUR_TOKEN = re.compile("qs_", re.IGNORECASE)
# To look a series up by its labels takes longer than to count.
_requests, _request_seconds = cache(REQUESTS.labels), cache(REQUEST_SECONDS.labels)


class ReadBody:
    """Reads the body before anything else is done, up to its limits, into `state`, with the request's deadline.

    A body that is too large or too late is not an error yet: an unknown path comes first, say. Where it was not read to
    its end, the connection ends with the response.
    """

    def __init__(self, app: ASGIApp, open_requests: OpenRequests) -> None:
        self.app = app
        self._open_requests = open_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reader = _Reader(receive)
        self._open_requests.begin()
        try:
            refusal = await self._read(reader, dict(scope["headers"]).get(b"content-length", b"0"))
            scope.setdefault("state", {})["body"] = Body(bytes(reader.content), refusal)
            await self.app(scope, receive, send if reader.is_whole else _lingering(send, reader))
        except ClientDisconnect:
            pass
        finally:
            self._open_requests.end()

    async def _read(self, reader: "_Reader", declared: bytes) -> ServiceError | None:
        # The HTTP parser has refused what is not a number.
        if int(declared) > MAX_BODY_BYTES:
            # Reading sends 100 Continue to a client that waits for it. JDK 17's hangs where another status comes first.
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_BYTE_SECONDS):
                    await reader.read_format()
            return too_large()
        try:
            await reader.read(MAX_BODY_BYTES)
        except asyncio.CancelledError:
            if not self._open_requests.has_expired():
                return Unavailable()
            return LateBody(f"the body must arrive within {self._open_requests.time_limit_ms} ms")
        return too_large() if len(reader.content) > MAX_BODY_BYTES else None


def too_large() -> TooLarge:
    return TooLarge(f": a body holds at most {MAX_BODY_BYTES} bytes")


class _Reader:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.content = bytearray()
        self.is_whole = False

    async def read(self, most_bytes: int) -> None:
        """Until the body is whole, or holds more than `most_bytes`. Raises ClientDisconnect."""
        while not self.is_whole and len(self.content) <= most_bytes:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect()
            self.content += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)

    async def read_format(self) -> None:
        while not self.is_whole and sniff(bytes(self.content[:MAX_BODY_BYTES])) is None:
            await self.read(len(self.content))


def _lingering(send: Send, reader: _Reader) -> Send:
    """Ends the connection after the response, and reads on for a while before that.

    Closed at once, with some of the body unread, the client would find its connection reset before it reads the
    response. Left open, the rest of the body would have to be read, however long it is.
    """

    async def send_and_linger(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send({**message, "headers": [*message["headers"], (b"connection", b"close")]})
            return
        await send({**message, "more_body": True})
        if not message.get("more_body", False):
            with suppress(TimeoutError, ClientDisconnect):
                async with asyncio.timeout(LINGER_SECONDS):
                    await reader.read(len(reader.content) + LINGER_BYTES)
            await send({"type": "http.response.body"})

    return send_and_linger


class RequestId:
    """The client's own id where it is a plain word, so that both sides' logs can be laid side by side; else a new one.

    It goes into the response's headers, into log lines, and for `debug` into one line a request. A response closes its
    connection while the service drains.
    """

    def __init__(self, app: ASGIApp, open_requests: OpenRequests) -> None:
        self.app = app
        self._open_requests = open_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        state = scope["state"]
        request_id = state["request_id"] = _accepted(scope) or f"{getrandbits(128):032x}"
        span = begin_request(request_id)
        # For the log lines and spans of whatever is done for it; the server gives each request a task of its own.
        origins.set((Origin(request_id, span),))
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
                if self._open_requests.is_draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        await self.app(scope, receive, send_with_id)
        endpoint, status = endpoint_name(scope), state.get("error", status)
        end_request(span, endpoint, status)
        _requests(endpoint, state.get("group", ""), state.get("format", ""), status).inc()
        _request_seconds(endpoint).observe(time.perf_counter() - began)
        if logger.isEnabledFor(logging.DEBUG):
            query, token = state.get("query"), state.get("token_name", "")
            spent_ms = (time.perf_counter() - began) * 1000
            logger.debug(
                "request id=%s to=%s token=%r status=%s duration_ms=%.1f",
                *(request_id, endpoint, token, status, spent_ms),
                extra={
                    "request_id": request_id,
                    "endpoint": endpoint,
                    "token_name": token,
                    "status": status,
                    "duration_ms": round(spent_ms, 1),
                    "query": query and query.in_numbers(),
                },
            )


def _accepted(scope: Scope) -> str | None:
    """The client's request id, unless it is no plain word, or a token that was put there."""
    given: str = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    if not _REQUEST_ID.fullmatch(given) or _OUR_TOKEN.search(given):
        return None
    if len(given) >= SHORTEST_TOKEN:
        tokens = [value for name, value in scope["headers"] if name == b"authorization"]
        if any(given.encode() in each for each in (*tokens, scope["query_string"], scope["state"]["body"].content)):
            return None
    return given


class PathSpelling:
    """Clients write a path with and without its last slash, and some double a slash: all reach the route, which has
    none at its end. Never a redirect. An encoded slash is part of a name, and no route has one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or b""
            path = raw.decode("latin-1") if b"%2f" in raw.lower() else scope["path"]
            scope["path"] = (_SLASHES.sub("/", path) if "//" in path else path).rstrip("/") or "/"
        await self.app(scope, receive, send)

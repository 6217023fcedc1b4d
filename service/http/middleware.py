"""The layers around the endpoints: plain ASGI and few, because each layer takes microseconds of every request."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from random import getrandbits
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InternalError, MethodNotAllowed, ServiceError, TimedOut, Unavailable, UnknownMethod
from service.http.limits import BodyReader
from service.http.requests import QueueRequest, Service
from service.http.responses import respond_error
from service.telemetry.logs import format_frames
from service.telemetry.metrics import REQUEST_SECONDS, REQUESTS
from service.telemetry.origin import Origin, begin_request, end_request, origins

logger = logging.getLogger(__name__)

# A larger body may cost one or two milliseconds (tests/load/worst_bodies.py), and has its own turn of the event loop.
SMALL_BODY_BYTES = 1024
# A request id of at least this length that also occurs in the URL or the body may be a token.
SHORTEST_TOKEN = 16

_SLASHES = re.compile("/{2,}")
_REQUEST_ID = re.compile("[A-Za-z0-9._-]{1,64}")
_OUR_TOKEN = re.compile("qs_", re.IGNORECASE)
# Cached, because looking up a series by its labels takes longer than counting.
_requests, _request_seconds = cache(REQUESTS.labels), cache(REQUEST_SECONDS.labels)


class RequestMiddleware:
    """Creates the QueueRequest of each request, `scope["request"]`, and answers errors outside the endpoints.

    The deadline is for the body and the endpoint; it ends when the response begins. The response closes its connection
    if the body was not read to its end, after a fault outside the endpoints, and while the service drains.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._service = service
        self._open_requests = service.open_requests
        self._parsing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = BodyReader(receive)
        task = self._open_requests.begin()
        try:
            request = QueueRequest(scope, receive, self._service)
            # The HTTP parser has refused values that are not numbers.
            declared_bytes = int(request.header(b"content-length") or 0)
            request.refusal = await body.read_within_limits(declared_bytes, self._open_requests)
            request.content = bytes(body.content)
            send = send if body.is_whole else body.lingering(send)
            await self._answer(request, self._noting(request, task, send))
        except ClientDisconnect:
            pass
        finally:
            self._open_requests.end(task)

    async def _answer(self, request: QueueRequest, send: Send) -> None:
        began_at = time.perf_counter()
        scope = request.scope
        scope["request"], scope["path"] = request, _normalize(scope)
        request.id = _client_id(request) or f"{getrandbits(128):032x}"
        span = begin_request(request.id)
        # For the log lines and spans of the request; the server runs each request in its own task.
        origins.set((Origin(request.id, span),))
        try:
            if len(request.content) > SMALL_BODY_BYTES:
                await self._parse_in_turn(request)
            await self.app(scope, request.receive, send)
        except (Exception, asyncio.CancelledError) as error:
            failure = _failure(request, error)
            if request.status:
                raise
            response = respond_error(request, failure)
            if isinstance(failure, InternalError):
                response.headers["Connection"] = "close"
            await response(scope, request.receive, send)
        status = request.error_code or request.status
        end_request(span, request.endpoint, status)
        _account(request, status, time.perf_counter() - began_at)

    async def _parse_in_turn(self, request: QueueRequest) -> None:
        """Parses one large body in a turn of the event loop, for at most half of the time.

        A valid request takes about ten turns. With the bodies of 32 connections in every turn it took 4.4 s.
        """
        async with self._parsing:
            began_at = time.perf_counter()
            with suppress(ServiceError):
                request.parse()
            await asyncio.sleep(time.perf_counter() - began_at)

    def _noting(self, request: QueueRequest, task: asyncio.Task[Any], send: Send) -> Send:
        """When the response begins, ends the deadline, and adds the id of the request to the headers."""

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                self._open_requests.end(task)
                message["headers"].append((b"x-request-id", request.id.encode()))
                if self._open_requests.is_draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        return send_noted


class Endpoint:
    """For a route: calls the endpoint with the QueueRequest, and answers all its failures, including the deadline.

    For a plain function, Starlette adds a second Request and a second exception handler: 12 us of a request.
    """

    def __init__(self, handle: Callable[[QueueRequest], Awaitable[Response]], name: str = "") -> None:
        self.handle = handle
        self.name = name or handle.__name__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request: QueueRequest = scope["request"]
        try:
            response = await self.handle(request)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 it is answered and logged
            response = respond_error(request, _failure(request, error))
        await response(scope, receive, send)


def _failure(request: QueueRequest, error: BaseException) -> ServiceError:
    """The error of the response. The log has the origin of a fault of the service, the client only the request's id."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, asyncio.CancelledError):
        # Otherwise the service stops, and the time for open requests is over.
        return TimedOut() if request.service.open_requests.has_expired() else Unavailable()
    if isinstance(error, HTTPException):
        # Files have no such header: their routes only read.
        allowed = (error.headers or {}).get("Allow", "GET, HEAD").split(", ")
        return MethodNotAllowed(", ".join(sorted(allowed))) if error.status_code == 405 else UnknownMethod()
    logger.error("fault request=%s to=%s error=%s", request.id, request.endpoint, format_frames(error))
    return InternalError(f", request {request.id}")


def _account(request: QueueRequest, status: int, seconds: float) -> None:
    """Counts the request, and logs it at `debug`."""
    endpoint = request.endpoint
    group = request.query.grouping.value if request.query else ""
    _requests(endpoint, group, request.format_label, status).inc()
    _request_seconds(endpoint).observe(seconds)
    if logger.isEnabledFor(logging.DEBUG):
        fields = {
            "request_id": request.id,
            "endpoint": endpoint,
            "token_name": request.token_name,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            "query": request.query and request.query.in_numbers(),
        }
        line = "request id=%(request_id)s to=%(endpoint)s token=%(token_name)r status=%(status)s"
        logger.debug(f"{line} duration_ms=%(duration_ms).1f", fields, extra=fields)


def _client_id(request: QueueRequest) -> str | None:
    """The client's request id; None if it is not a plain word, or may be a token."""
    # If it is repeated, the first one counts.
    first: bytes = next((value for name, value in request.scope["headers"] if name == b"x-request-id"), b"")
    given = first.decode("latin-1")
    if not _REQUEST_ID.fullmatch(given) or _OUR_TOKEN.search(given):
        return None
    if len(given) >= SHORTEST_TOKEN:
        tokens = [value for name, value in request.scope["headers"] if name == b"authorization"]
        if any(given.encode() in text for text in (*tokens, request.scope["query_string"], request.content)):
            return None
    return given


def _normalize(scope: Scope) -> str:
    """The path with single slashes and no trailing slash, as in the routes. No route has an encoded slash."""
    raw = scope.get("raw_path") or b""
    path: str = raw.decode("latin-1") if b"%" in raw and b"%2f" in raw.lower() else scope["path"]
    return (_SLASHES.sub("/", path) if "//" in path else path).rstrip("/") or "/"

"""Responses: a report (304 if the client has it already, compressed if that saves a packet), rows, events, an error."""

import gzip
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette import types
from starlette.responses import Response

from service.errors import ServiceError, TooManyRequests
from service.http.large_responses import GZIP_LEVEL, TAG_BYTES, LargeResponse, entity_tag, render_large
from service.http.requests import QueueRequest
from service.model import AnyFormat, ReportFormat
from service.queue.coalescer import Outcome
from service.reports import ReportPage, StatsReport, TopReport
from service.settings import Settings
from service.telemetry.metrics import BUDGET_REFUSED, REFUSED
from service.wire.rendering import MEDIA_TYPES, Report, render_error, render_report, render_report_in_slices
from service.wire.rendering.rows import Shape

logger = logging.getLogger(__name__)

NO_STORE = {"Cache-Control": "no-store"}
# Up to this number of rows, a report is rendered without a pause: one or two milliseconds.
SMALL_REPORT_ROWS = 1000
SMALL_SHAPED_REPORT_ROWS = 200
# A smaller body fits into one packet anyway.
WORTH_GZIP_BYTES = 1400
# A proxy that compresses a stream delays its events until a block is full.
NO_TRANSFORM = {"Cache-Control": "no-store, no-transform"}
# Proxies close a connection that is idle for a minute or for half a minute.
HEARTBEAT_SECONDS = 15
END_OF_EVENT = b"\r\n\r\n"
_GZIP = {"Content-Encoding": "gzip"}


def respond(content: bytes, request: QueueRequest) -> Response:
    """A body in the format of the request."""
    return Response(content, headers=NO_STORE, media_type=MEDIA_TYPES[request.format])


async def respond_report(
    request: QueueRequest, outcome: Outcome[StatsReport] | Outcome[TopReport] | Outcome[ReportPage], shape: Shape | None
) -> Response:
    """A report. Raises Unavailable if too many large reports are unread already."""
    report = outcome.result
    # Milliseconds in the database, and waiting for it.
    timing = f"db;dur={outcome.batch_seconds * 1000:.2f}, wait;dur={outcome.wait_seconds * 1000:.2f}"
    # Of a 304 and of a report without compression, too: RFC 9110, 12.5.5 and 15.4.5.
    headers = {**NO_STORE, "Vary": "Accept-Encoding", "Server-Timing": timing, **_in_headers(report, request.format)}
    most_rows = SMALL_SHAPED_REPORT_ROWS if shape else SMALL_REPORT_ROWS
    if len(report.rows) > most_rows:
        return await _respond_large(request, report, shape, headers)
    content = render_report(report, request.format, shape)
    headers["ETag"] = tag = entity_tag(hashlib.blake2b(content, digest_size=TAG_BYTES))
    if request.has(tag):
        return Response(status_code=304, headers=headers)
    if len(content) >= WORTH_GZIP_BYTES and request.accepts_gzip():
        content, headers = gzip.compress(content, GZIP_LEVEL, mtime=0), headers | _GZIP
    return Response(content, headers=headers, media_type=MEDIA_TYPES[request.format])


def _in_headers(report: Report, format: AnyFormat) -> dict[str, str]:
    """The members that CSV can't contain."""
    members = report.more if isinstance(report, ReportPage) and format == ReportFormat.CSV else {}
    return {f"X-Queuestats-{name.title()}": str(value) for name, value in members.items() if value is not None}


async def _respond_large(
    request: QueueRequest, report: Report, shape: Shape | None, headers: dict[str, str]
) -> Response:
    unread, is_gzip = request.service.unsent.of(request.token_name), request.accepts_gzip()
    pieces = render_report_in_slices(report, request.format, shape)
    slices, tag = await render_large(pieces, is_gzip, unread)
    headers["ETag"] = tag
    if request.has(tag):
        unread.release()
        return Response(status_code=304, headers=headers)
    return LargeResponse(slices, unread, headers | (_GZIP if is_gzip else {}), MEDIA_TYPES[request.format])


def encode_event(name: str, data: bytes, id_: str | None = None) -> bytes:
    """The bytes of a Server-Sent Event. `data` is UTF-8 in one line.

    The library splits a text into lines, which blocks all requests for 50 ms per 2 MB.
    """
    frame = ServerSentEvent("", event=name, id=id_).encode()
    return frame.removesuffix(END_OF_EVENT) + data + END_OF_EVENT


class EventResponse(EventSourceResponse):
    """A stream that ends after its events, or if its client does not read them in time. It then closes `place`.

    While it is open, it sends comments with `sign_of_life` between the events.

    When the server stops, the events may continue until its time limit.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        sign_of_life: Callable[[], str],
        place: AbstractContextManager[object],
        settings: Settings,
    ) -> None:
        super().__init__(
            events,
            headers=NO_TRANSFORM,
            ping=HEARTBEAT_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment=sign_of_life()),
            send_timeout=settings.send_timeout_ms / 1000,
            shutdown_grace_period=settings.shutdown_timeout_ms / 1000,
        )
        self._place = place

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        with self._place:
            try:
                await super().__call__(scope, receive, send)
            except SendTimeoutError:
                # The server closes the connection of an incomplete response.
                logger.warning("a client does not read its stream")


def respond_error(request: QueueRequest, error: ServiceError) -> Response:
    """The body of an error, in the format that the client can most likely read."""
    format = request.error_format()
    # The counted and logged status, independent of QUEUESTATS_ERROR_HTTP_STATUS.
    request.error_code = error.code
    if isinstance(error, TooManyRequests):
        BUDGET_REFUSED.labels(error.resource, request.token_name).inc()
        logger.warning("budget used up token=%r resource=%s", request.token_name, error.resource)
    if error.is_refusal:
        REFUSED.labels(error.code).inc()
        logger.warning("refused error=%d text=%s", error.code, error.text)
    is_api = f"{request.scope['path']}/".startswith("/api/")
    status = 200 if is_api and request.service.settings.error_http_status == "200" else error.code
    return Response(render_error(error, format), status, {**NO_STORE, **error.headers}, MEDIA_TYPES[format])

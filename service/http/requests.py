"""What comes with a request: its body, its token, and the format that its response is wanted in."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import BadRequest, InternalError, ServiceError, TimedOut, Unavailable
from service.http.open_requests import OpenRequests
from service.model import Format
from service.telemetry.logs import format_frames
from service.wire.parsing import (
    ACCEPTED,
    URL_PARAMETERS,
    Envelope,
    compressed,
    parse_envelope,
    parse_format,
    parse_token,
    refuse_empty,
    refuse_in_url,
    refuse_unknown,
    sniff,
    unknown_names,
    url_envelope,
    valid_format,
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Body:
    """As much of a request's body as was read; `refusal` says why it was no more."""

    content: bytes
    refusal: ServiceError | None
    envelope: Envelope | None = None


class QueueRequest(Request):
    """A request of the queue API. Its body was read by the middleware `ReadBody`."""

    @property
    def body_read(self) -> Body:
        body: Body = self.scope["state"]["body"]
        return body

    def envelope(self) -> Envelope:
        """Raises TooLarge or BadRequest."""
        hosts = [name for name, _ in self.scope["headers"] if name == b"host"]
        if len(hosts) != 1 and self.scope["http_version"] != "1.0":
            raise BadRequest("the request must have one Host header")
        return self.opened()

    def opened(self) -> Envelope:
        """The parameters of the body, or of the URL of a GET. Raises the body's refusal, or BadRequest."""
        body = self.body_read
        if body.refusal is not None:
            raise body.refusal
        if body.envelope is None:
            url = self.scope["query_string"].decode("latin-1") if self.method in ("GET", "HEAD") else None
            body.envelope = self._parse(body.content) if url is None else url_envelope(url)
        return body.envelope

    def _parse(self, content: bytes) -> Envelope:
        try:
            return parse_envelope(content)
        except BadRequest:
            coding = self._header(b"content-encoding").strip().lower()
            if coding in ("", "identity"):
                raise
            raise compressed(coding) from None

    def token(self) -> str | None:
        """The header's token, else the body's, else the URL's. Raises BadRequest where the body's is not a string."""
        scheme, _, credentials = self._header(b"authorization").strip().partition(" ")
        in_header = credentials.strip() if scheme.lower() == "bearer" else ""
        in_url = self._in_url("token") if self.method == "POST" else ""
        return in_header or self.opened().token() or parse_token(in_url)

    def format(self) -> Format:
        """The body's `format`, else the URL's, else the body's own. Raises BadRequest where it is neither."""
        envelope = self.opened()
        wanted = envelope.format() or parse_format(self._in_url("format")) or envelope.written_in
        self.scope["state"]["format"] = wanted
        return wanted

    def error_format(self) -> Format:
        """The first that is valid of the body's `format`, the URL's, the body's first byte, the content type, JSON."""
        body = self.body_read
        try:
            in_body = self.opened().valid_format()
        except ServiceError:
            in_body = None
        declared = self._header(b"content-type").partition(";")[0].strip().lower()
        by_type = Format.XML if declared.endswith(("/xml", "+xml")) else Format.JSON
        return in_body or valid_format(self._in_url("format")) or sniff(body.content) or by_type

    def ignored_names(self) -> list[str]:
        """The names in the body and in the URL of a POST that the endpoint does not take, fit for a header."""
        in_url = unknown_names(self._url_parameters(), URL_PARAMETERS) if self.scope["query_string"] else []
        return unknown_names(self.opened().members, ACCEPTED[endpoint_name(self.scope)]) + in_url

    def refuse_unknown(self) -> None:
        """Raises BadRequest for a parameter that the endpoint does not take."""
        name = endpoint_name(self.scope)
        if self.method == "POST":
            refuse_in_url(name, self._url_parameters())
        refuse_unknown(name, self.opened().members)

    def refuse_empty_in_url(self) -> None:
        """Raises BadRequest for a parameter of the URL without a value."""
        refuse_empty((name, value) for name, values in self._url_parameters().items() for value in values)

    def accepts_gzip(self) -> bool:
        for coding in self._header(b"accept-encoding").lower().split(","):
            name, _, weight = coding.partition(";")
            if name.strip() == "gzip":
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def has(self, entity_tag: str) -> bool:
        """Whether `If-None-Match` says that the client has this report already."""
        given = self._header(b"if-none-match")
        tags = {each.strip().removeprefix("W/") for each in given.split(",")} if given else set()
        return "*" in tags or entity_tag.removeprefix("W/") in tags

    def _header(self, name: bytes) -> str:
        """The last one counts. Not `headers`: that decodes them all for each look-up, 4 us of a request."""
        return next((value for given, value in reversed(self.scope["headers"]) if given == name), b"").decode("latin-1")

    def _in_url(self, name: str) -> str:
        """The last one counts."""
        return self._url_parameters().get(name, [""])[-1]

    def _url_parameters(self) -> dict[str, list[str]]:
        """Not `query_params`: that takes a `;` and a byte beyond ASCII for something else."""
        return parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)


class Endpoint:
    """For a route: hands over a QueueRequest, and makes every failure a ServiceError, the deadline too.

    An ASGI application, which a route takes as well as a function. For a function Starlette makes a second Request, and
    a second net for exceptions: 12 us of a request.
    """

    def __init__(self, handle: Callable[[QueueRequest], Awaitable[Response]], name: str = "") -> None:
        self.handle = handle
        self.name = name or handle.__name__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = QueueRequest(scope, receive)
        open_requests: OpenRequests = request.app.state.open_requests
        try:
            response = await self.handle(request)
        except ServiceError:
            raise
        except asyncio.CancelledError:
            # Otherwise the service ends, and its time for open requests is up.
            raise (TimedOut() if open_requests.has_expired() else Unavailable()) from None
        except Exception as error:  # noqa: BLE001 whatever it is, the client gets an answer and the log has it
            raise fault(request, error) from None
        finally:
            open_requests.end()
        await response(scope, receive, send)


def endpoint_name(scope: Scope) -> str:
    """For the log. A path may hold anything, a token too, so an unknown one is not told."""
    found: str = getattr(scope.get("endpoint"), "name", "unknown")
    return found


def fault(request: Request, error: Exception) -> InternalError:
    """A fault of ours: the log has where it arose, the client the request's id."""
    request_id = request.scope["state"].get("request_id", "")
    logger.error("fault request=%s to=%s error=%s", request_id, endpoint_name(request.scope), format_frames(error))
    return InternalError(f", request {request_id}")

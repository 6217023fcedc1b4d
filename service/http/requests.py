"""A request of the API: its parts, its meaning, and its record in the log."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from starlette import types
from starlette.requests import Request

from service.access.budgets import Budget, Unsent
from service.access.cache import Tokens
from service.access.rules import Token
from service.control.jobs import Control
from service.counters.readiness import Readiness
from service.db import Database
from service.errors import BadRequest, ServiceError
from service.http.limits import OpenRequests
from service.model import AnyFormat, Format, Scope, StatsQuery
from service.queue.history import History
from service.queue.live import Streams
from service.queue.names import Names
from service.queue.report import Report
from service.queue.stats import Statistics
from service.queue.top import Top
from service.settings import Settings
from service.wire.parsing import Envelope, parse_envelope, parse_url, sniff
from service.wire.parsing.parameters import ACCEPTED, FORMAT, URL_PARAMETERS, Choice
from service.wire.parsing.refusals import compressed, refuse_empty, refuse_in_url, refuse_unknown, unknown_names

_NOTHING: Final = Envelope(Format.JSON, {})


@dataclass(frozen=True, slots=True)
class Service:
    """The resources of the endpoints; one object for each process."""

    settings: Settings
    statistics: Statistics
    top: Top
    history: History
    report: Report
    names: Names
    streams: Streams
    control: Control
    tokens: Tokens
    for_explain: Database
    readiness: Readiness
    unsent: Unsent
    open_streams: Budget
    open_reports: Budget
    open_requests: OpenRequests


class QueueRequest(Request):
    """One object for a whole request, from the middleware to the log line. The middleware reads the body."""

    id = ""
    # The part of the body that was read, and the error if it is incomplete.
    content = b""
    refusal: ServiceError | None = None
    # Of the response: `open` determines the format, and the status is 0 until it begins.
    format: AnyFormat = Format.JSON
    status = 0
    # Only for the log and the metrics.
    token_name = ""
    query: StatsQuery | None = None
    format_label = ""
    error_code = 0
    _envelope: Envelope | None = None

    def __init__(self, scope: types.Scope, receive: types.Receive, service: Service) -> None:
        super().__init__(scope, receive)
        self.service = service
        self._headers_by_name: dict[bytes, bytes] = dict(scope["headers"])

    @property
    def endpoint(self) -> str:
        """The name for the log. A path may contain anything, also a token, so an unknown path is not logged."""
        name: str = getattr(self.scope.get("endpoint"), "name", "unknown")
        return name

    @property
    def envelope(self) -> Envelope:
        """The parameters of the body, or of the URL of a GET. Raises the error of the body, or BadRequest."""
        # Not `cached_property`: before Python 3.12 it takes a lock.
        if self._envelope is None:
            if self.refusal is not None:
                raise self.refusal
            try:
                self._envelope = self.in_url if self.method in ("GET", "HEAD") else self._parse_body()
            except BadRequest as error:
                # The format of the error also depends on the body, which is not parsed again.
                self.refusal = error
                raise
        return self._envelope

    def parse(self) -> None:
        """Reads `envelope` before it is needed. Raises as `envelope`."""
        _ = self.envelope

    def _parse_body(self) -> Envelope:
        try:
            return parse_envelope(self.content)
        except BadRequest:
            coding = self.header(b"content-encoding").strip().lower()
            if coding in ("", "identity"):
                raise
            raise compressed(coding) from None

    @property
    def in_url(self) -> Envelope:
        """Not `query_params`, which decodes a `;` and bytes beyond ASCII in another way."""
        return parse_url(self._query_string) if self.scope["query_string"] else _NOTHING

    @property
    def _query_string(self) -> str:
        query_string: bytes = self.scope["query_string"]
        return query_string.decode("latin-1")

    async def open(self, scope: Scope, format: Choice[Any] = FORMAT) -> Token:
        """The first step of most endpoints: checks host, body, token, names of parameters and format, in this order.

        Raises TooLarge, BadRequest, or as `authorize`.
        """
        token = await self.authorize(scope)
        if self.endpoint != "stats":
            self.refuse_unknown()
        envelope = self.envelope
        self.format = envelope.format(format) or self.in_url.format(format) or envelope.written_in
        self.format_label = self.format.value
        return token

    async def authorize(self, scope: Scope, outage_after_seconds: float | None = None) -> Token:
        """Raises Unauthorized, with a delay if its address has sent many wrong tokens, or Forbidden.

        With `outage_after_seconds` as `Tokens.check_in_outage`.
        """
        hosts = [name for name, _ in self.scope["headers"] if name == b"host"]
        if len(hosts) != 1 and self.scope["http_version"] != "1.0":
            raise BadRequest("the request must have one Host header")
        client = self.scope.get("client")
        address = client[0] if client else None
        if outage_after_seconds is None:
            token = await self.service.tokens.check(self.secret(), scope, address)
        else:
            token = await self.service.tokens.check_in_outage(self.secret(), scope, address, outage_after_seconds)
        self.token_name = token.name
        return token

    def secret(self) -> str | None:
        """The token of the header, else that of the body or URL of a POST. Raises BadRequest if it is not a string."""
        envelope = self.envelope
        scheme, _, credentials = self.header(b"authorization").strip().partition(" ")
        in_header = credentials.strip() if scheme.lower() == "bearer" else ""
        if in_header or self.method != "POST":
            return in_header or None
        return envelope.token() or self.in_url.token()

    def error_format(self) -> Format:
        """The first valid format of: the body's `format`, the URL's, the body's first byte, the content type, JSON."""
        try:
            in_body = self.envelope.valid_format()
        except ServiceError:
            in_body = None
        declared = self.header(b"content-type").partition(";")[0].strip().lower()
        by_type = Format.XML if declared.endswith(("/xml", "+xml")) else Format.JSON
        return in_body or self.in_url.valid_format() or sniff(self.content) or by_type

    def ignored_names(self) -> list[str]:
        """The names in the body and in the URL of a POST that the endpoint does not accept, safe for a header."""
        in_body = unknown_names(self.envelope.members, ACCEPTED[self.endpoint])
        return in_body + unknown_names(self.in_url.members, URL_PARAMETERS)

    def refuse_unknown(self) -> None:
        """Raises BadRequest for a parameter that the endpoint does not accept."""
        if self.method == "POST":
            refuse_in_url(self.endpoint, self.in_url.members)
        refuse_unknown(self.endpoint, self.envelope.members)

    def refuse_empty_in_url(self) -> None:
        """Raises BadRequest for a parameter of the URL without a value."""
        by_name = parse_qs(self._query_string, keep_blank_values=True)
        refuse_empty((name, value) for name, values in by_name.items() for value in values)

    def accepts_gzip(self) -> bool:
        for coding in self.header(b"accept-encoding").lower().split(","):
            name, _, weight = coding.partition(";")
            if name.strip() == "gzip":
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def has(self, entity_tag: str) -> bool:
        """Whether the client has this report already, by `If-None-Match`."""
        given = self.header(b"if-none-match")
        tags = {tag.strip().removeprefix("W/") for tag in given.split(",")} if given else set()
        return "*" in tags or entity_tag.removeprefix("W/") in tags

    def header(self, name: bytes) -> str:
        """The last value of a header. Not `headers`, which decodes all headers for each look-up: 4 us of a request."""
        return self._headers_by_name.get(name, b"").decode("latin-1")

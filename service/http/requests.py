"""A request of the API: what came with it, what it means, and what the log records of it."""

from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette import types
from starlette.requests import Request

from service.access.cache import Tokens
from service.access.rules import Token
from service.access.throttle import FailedTokens
from service.control.jobs import Control
from service.counters.readiness import Readiness
from service.db import Database
from service.errors import BadRequest, ServiceError, Unauthorized
from service.http.large_responses import Unsent
from service.http.open_requests import OpenRequests
from service.model import Format, Scope, StatsQuery
from service.queue.live import Streams
from service.queue.names import Names
from service.queue.stats import Statistics
from service.queue.top import Top
from service.settings import Settings
from service.wire.parsing import Envelope, parse_envelope, parse_token, sniff, url_envelope, valid_format
from service.wire.parsing.parameters import ACCEPTED, FORMAT, URL_PARAMETERS
from service.wire.parsing.refusals import compressed, refuse_empty, refuse_in_url, refuse_unknown, unknown_names


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints work with; one for each process."""

    settings: Settings
    statistics: Statistics
    top: Top
    names: Names
    streams: Streams
    control: Control
    tokens: Tokens
    failed_tokens: FailedTokens
    for_explain: Database
    readiness: Readiness
    unsent: Unsent
    open_requests: OpenRequests


class QueueRequest(Request):
    """One object for a whole request, from the middleware, which reads the body, to the log line.

    `content` is as much of the body as was read; `refusal` says why it was no more. Of a repeated header the last one
    counts.
    """

    def __init__(
        self,
        scope: types.Scope,
        receive: types.Receive,
        service: Service,
        headers: dict[bytes, bytes],
        content: bytes,
        refusal: ServiceError | None,
    ) -> None:
        super().__init__(scope, receive)
        self.service = service
        self.content = content
        self.id = ""
        self.format = Format.JSON
        """Of the response; `open` finds it."""
        self.status = 0
        """Of the response; 0 until it begins."""
        # For the log and the metrics alone.
        self.token_name = ""
        self.query: StatsQuery | None = None
        self.format_label = ""
        self.error_code = 0
        self._headers_by_name = headers
        self._refusal = refusal
        self._envelope: Envelope | None = None

    @property
    def endpoint(self) -> str:
        """The name for the log. A path may hold anything, a token too, so an unknown one is not logged."""
        name: str = getattr(self.scope.get("endpoint"), "name", "unknown")
        return name

    @property
    def envelope(self) -> Envelope:
        """The parameters of the body, or of the URL of a GET. Raises the body's refusal, or BadRequest."""
        if self._refusal is not None:
            raise self._refusal
        if self._envelope is None:
            is_in_url = self.method in ("GET", "HEAD")
            self._envelope = url_envelope(self._query_string) if is_in_url else self._parse_body()
        return self._envelope

    async def open(self, scope: Scope) -> Token:
        """What most endpoints begin with: host, body, token, names of parameters and format, in this order.

        Raises TooLarge, BadRequest, or as `authorize`.
        """
        token = await self.authorize(scope)
        if self.endpoint != "stats":
            self.refuse_unknown()
        envelope = self.envelope
        self.format = envelope.format() or FORMAT.read(self._last_in_url()) or envelope.written_in
        self.format_label = self.format.value
        return token

    async def authorize(self, scope: Scope) -> Token:
        """Raises Unauthorized, after a while where its address has sent many wrong tokens, or Forbidden."""
        self._require_host()
        secret = self.secret()
        try:
            token = await self.service.tokens.check(secret, scope)
        except Unauthorized:
            if secret is not None and self.client is not None:
                await self.service.failed_tokens.slow_down(self.client.host)
            raise
        self.token_name = token.name
        return token

    def secret(self) -> str | None:
        """The header's token, else the body's, else the URL's. Raises BadRequest where the body's is not a string."""
        envelope = self.envelope
        scheme, _, credentials = self.header(b"authorization").strip().partition(" ")
        in_header = credentials.strip() if scheme.lower() == "bearer" else ""
        return in_header or envelope.token() or (parse_token(self._last_in_url()) if self.method == "POST" else None)

    def error_format(self) -> Format:
        """The first valid one of the body's `format`, the URL's, the body's first byte, the content type, JSON."""
        try:
            in_body = self.envelope.valid_format()
        except ServiceError:
            in_body = None
        declared = self.header(b"content-type").partition(";")[0].strip().lower()
        by_type = Format.XML if declared.endswith(("/xml", "+xml")) else Format.JSON
        return in_body or valid_format(self._last_in_url()) or sniff(self.content) or by_type

    def ignored_names(self) -> list[str]:
        """The names in the body and in the URL of a POST that the endpoint does not take, fit for a header."""
        in_url = unknown_names(self._url_parameters(), URL_PARAMETERS)
        return unknown_names(self.envelope.members, ACCEPTED[self.endpoint]) + in_url

    def refuse_unknown(self) -> None:
        """Raises BadRequest for a parameter that the endpoint does not take."""
        if self.method == "POST":
            refuse_in_url(self.endpoint, self._url_parameters())
        refuse_unknown(self.endpoint, self.envelope.members)

    def refuse_empty_in_url(self) -> None:
        """Raises BadRequest for a parameter of the URL without a value."""
        refuse_empty((name, value) for name, values in self._url_parameters().items() for value in values)

    def accepts_gzip(self) -> bool:
        for coding in self.header(b"accept-encoding").lower().split(","):
            name, _, weight = coding.partition(";")
            if name.strip() == "gzip":
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def has(self, entity_tag: str) -> bool:
        """Whether `If-None-Match` says that the client has this report already."""
        given = self.header(b"if-none-match")
        tags = {tag.strip().removeprefix("W/") for tag in given.split(",")} if given else set()
        return "*" in tags or entity_tag.removeprefix("W/") in tags

    def header(self, name: bytes) -> str:
        """Not `headers`: that decodes them all for each look-up, 4 us of a request."""
        return self._headers_by_name.get(name, b"").decode("latin-1")

    def _require_host(self) -> None:
        hosts = [name for name, _ in self.scope["headers"] if name == b"host"]
        if len(hosts) != 1 and self.scope["http_version"] != "1.0":
            raise BadRequest("the request must have one Host header")

    def _parse_body(self) -> Envelope:
        try:
            return parse_envelope(self.content)
        except BadRequest:
            coding = self.header(b"content-encoding").strip().lower()
            if coding in ("", "identity"):
                raise
            raise compressed(coding) from None

    @property
    def _query_string(self) -> str:
        query_string: bytes = self.scope["query_string"]
        return query_string.decode("latin-1")

    def _url_parameters(self) -> dict[str, list[str]]:
        """Not `query_params`: that takes a `;` and a byte beyond ASCII for something else."""
        return parse_qs(self._query_string, keep_blank_values=True) if self.scope["query_string"] else {}

    def _last_in_url(self) -> dict[str, str]:
        return {name: values[-1] for name, values in self._url_parameters().items()}

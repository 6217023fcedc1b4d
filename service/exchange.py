"""What comes with a request (its body, its token, the format that it wants its answer in), and its answer."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.errors import BadRequest, ServiceError, TooLarge
from service.model import Format
from service.parsing import MAX_BODY_BYTES, Envelope, parse_envelope, parse_format, parse_token, sniff, valid_format
from service.protocol import ANSWER, IS_GONE, IS_RECEIVED

# How long the first byte of a body that is refused for its size may take: it may tell the format of the refusal.
FIRST_BYTE_SECONDS = 0.25
# After an answer that came before the end of the body, so much of the rest is still taken off the wire.
LINGER_BYTES = 16 << 20
LINGER_SECONDS = 1.0

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_NO_STORE = (b"cache-control", b"no-store")


class Answer:
    """A response, ready to be sent. Plain ASGI messages: on the way of every request, a framework's class would cost as
    much as parsing."""

    def __init__(
        self, content: bytes, media_type: str, headers: Iterable[tuple[str, str]] = (), status: int = 200
    ) -> None:
        self.content = content
        self.status = status
        self.headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(content)),
            _NO_STORE,
            *((name.lower().encode(), value.encode()) for name, value in headers),
        ]
        # What is done between the answer and the end of its connection, where it ends.
        self.linger: Callable[[], Awaitable[None]] | None = None

    async def send(self, scope: Scope, send: Send, request_id: str) -> None:
        headers = [*self.headers, (b"x-request-id", request_id.encode())]
        at_once = scope.get("extensions", {}).get(ANSWER)
        if self.linger is None and at_once is not None and at_once(self.status, headers, self.content):
            return
        if self.linger is not None:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.linger is not None:
            await send({"type": "http.response.body", "body": self.content, "more_body": True})
            await self.linger()
            await send({"type": "http.response.body"})
        else:
            await send({"type": "http.response.body", "body": self.content})


class Exchange:
    """One request, as far as it has been read: the format of an error depends on what has arrived of it."""

    def __init__(self, scope: Scope, receive: Receive, body_timeout_ms: int) -> None:
        self._scope = scope
        self._receive_message = receive
        self._timeout_ms = body_timeout_ms
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._body = bytearray()
        self._is_begun = False
        self._is_whole = False
        self._envelope: Envelope | None = None

    def id(self) -> str:
        """The client's own, where it is a plain word, so that both sides' logs can be laid side by side; else new."""
        given = self._headers.get(b"x-request-id", b"")
        return given.decode() if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()

    def _header(self, name: bytes) -> str:
        return self._headers.get(name, b"").decode("latin-1")

    async def open(self) -> Envelope:
        """Reads the body. Raises TooLarge without reading on, BadRequest where it is late or can't be parsed."""
        self._is_begun = True
        # The HTTP parser has refused what is not a number.
        if int(self._headers.get(b"content-length", b"0")) > MAX_BODY_BYTES:
            with suppress(TimeoutError):
                await self._read(0, FIRST_BYTE_SECONDS, until_format=True)
            raise _too_large()
        try:
            await self._read(MAX_BODY_BYTES, self._timeout_ms / 1000)
        except TimeoutError:
            raise BadRequest(f"the body must arrive within {self._timeout_ms} ms") from None
        if len(self._body) > MAX_BODY_BYTES:
            raise _too_large()
        self._envelope = parse_envelope(bytes(self._body))
        return self._envelope

    async def _read(self, most_bytes: int, seconds: float, *, until_format: bool = False) -> None:
        """Until the body is whole, or holds more than `most_bytes`, and its format is known where that matters."""
        if self._tells(IS_RECEIVED):
            # Nearly always. A time limit would cost more than the reading.
            self._body += await self._receive()
            if self._is_whole:
                return
        async with asyncio.timeout(seconds):
            while not self._is_whole and (len(self._body) <= most_bytes or (until_format and not self._sniffed())):
                self._body += await self._receive()

    def _tells(self, name: str) -> bool:
        tell: Callable[[], bool] | None = self._scope.get("extensions", {}).get(name)
        return tell is not None and tell()

    async def _receive(self) -> bytes:
        message = await self._receive_message()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        self._is_whole = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    def _sniffed(self) -> Format | None:
        return sniff(bytes(self._body[:MAX_BODY_BYTES]))

    def token(self) -> str | None:
        """The header's token, else the body's, else the URL's. Raises BadRequest where the body's is not a string."""
        in_body = self._envelope.token() if self._envelope else None
        scheme, _, credentials = self._header(b"authorization").strip().partition(" ")
        in_header = credentials.strip() if scheme.lower() == "bearer" else ""
        return in_header or in_body or parse_token(self._in_url("token"))

    def format(self) -> Format:
        """The body's `format`, else the URL's, else the body's own. Raises BadRequest where it is neither."""
        assert self._envelope is not None, "the body has been opened"
        return self._envelope.format() or parse_format(self._in_url("format")) or self._envelope.written_in

    def accepts_gzip(self) -> bool:
        """Whether the client has named gzip among the codings that it takes."""
        for coding in self._header(b"accept-encoding").lower().split(","):
            name, _, weight = coding.partition(";")
            if name.strip() == "gzip":
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def is_under(self, path: str) -> bool:
        return f"{self._scope['path']}/".startswith(path)

    def is_gone(self) -> Callable[[], bool]:
        """Tells at any later moment whether the client has gone; a server that can't tell says it has not."""
        tell: Callable[[], bool] = self._scope.get("extensions", {}).get(IS_GONE, _is_here)
        return tell

    async def error_format(self) -> Format:
        """The first that is valid of the body's `format`, the URL's, the body's first byte, the content type, JSON."""
        if not self._is_begun:
            with suppress(ServiceError):
                await self.open()
        in_body = self._envelope.valid_format() if self._envelope else None
        declared = self._header(b"content-type").partition(";")[0].strip().lower()
        by_type = Format.XML if declared.endswith(("/xml", "+xml")) else Format.JSON
        return in_body or valid_format(self._in_url("format")) or self._sniffed() or by_type

    def last_answer(self, answer: Answer) -> Answer:
        """The answer itself where the request has been read to its end, else one that ends the connection.

        Closed at once, with some of the body unread, the client would find its connection reset before it reads the
        answer. Left open, the rest of the body would have to be read, however long it is.
        """
        if not self._is_whole:
            answer.linger = self._linger
        return answer

    async def _linger(self) -> None:
        with suppress(TimeoutError, ClientDisconnect):
            await self._read(len(self._body) + LINGER_BYTES, LINGER_SECONDS)

    def _in_url(self, name: str) -> str:
        if not self._scope["query_string"]:
            return ""
        query = self._scope["query_string"].decode("latin-1")
        values: list[str] = parse_qs(query, keep_blank_values=True).get(name, [""])
        return values[-1]


def _is_here() -> bool:
    return False


def _too_large() -> TooLarge:
    return TooLarge(f": a body holds at most {MAX_BODY_BYTES} bytes")

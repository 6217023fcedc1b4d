"""The limits that uvicorn and httptools don't have: on heads, connections, pipelines, and on clients that hang.

What is refused here never became an HTTP request, so it gets a bare status line instead of the API's error body. It
gets it in its turn: answers to what was asked before on the same connection go first. A slow request body is no
affair of this module, the application has a limit for that.

Of uvicorn's protocol (0.54) this relies on `cycle` (the newest request) and a cycle's own state, `pipeline` (those that
wait for the one being answered), `timeout_keep_alive_task`, `_should_upgrade` and the parser's callbacks.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.settings import Settings

# In `scope["extensions"]`, functions without arguments: true once the client has gone, and true once the whole request
# is here, so that reading it won't wait.
IS_GONE = "queuestats.is_gone"
IS_RECEIVED = "queuestats.is_received"
# And one of a status, headers and a body: sends this whole answer by one system call, in place of the two messages of
# ASGI, which take two and three times the work. False where it can't be sent like that, and nothing has been sent.
ANSWER = "queuestats.answer"


def http_protocol(settings: Settings) -> type[asyncio.Protocol]:
    """For uvicorn's `http=`, which only calls it; not a local class, so that worker processes can be handed it."""
    return cast(type[asyncio.Protocol], partial(BoundedProtocol, settings))


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class _Timer:
    """Calls `delay_ms` after it was started, unless it is stopped before; to start it again changes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_ms: int, call: Callable[[], None]) -> None:
        self._arm = partial(loop.call_later, delay_ms / 1000, self._ring)
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._handle = self._handle or self._arm()

    def _ring(self) -> None:
        self._handle = None
        self._call()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Timers run only while a client is awaited: a request that arrives whole starts none."""

    def __init__(self, settings: Settings, **given: Any) -> None:
        super().__init__(**given)
        self._settings = settings
        self.timeout_keep_alive = settings.keep_alive_timeout_ms / 1000  # type: ignore[assignment] # takes fractions
        self.headers = []
        self._extensions: Any = None
        # Read since the parser last made something of it: a head or trailers on their way, or what frames chunks.
        self._unparsed_bytes = 0
        # The same with the whole of this read: no head that ends in it is larger.
        self._window_bytes = 0
        # The newest request is with the application, and its body is not whole yet.
        self._is_in_body = False
        self._answering: RequestResponseCycle | None = None
        self._refusal: HTTPStatus | None = None
        self._head_timer = _Timer(self.loop, settings.header_timeout_ms, self._end_wait)
        self._send_timer = _Timer(self.loop, settings.send_timeout_ms, self.timeout_keep_alive_handler)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._extensions = {IS_GONE: transport.is_closing, IS_RECEIVED: self._is_received, ANSWER: self._answer}
        if len(self.connections) > self._settings.connection_limit:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            # In uvicorn's place for an idle connection's timer, which the first byte stops.
            self.timeout_keep_alive_task = self.loop.call_later(
                self._settings.header_timeout_ms / 1000, self.timeout_keep_alive_handler
            )

    def _is_received(self) -> bool:
        # Of the newest request: those before it in a pipeline are whole if it is.
        return not self._is_in_body

    def _answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        # What the cycle does with two messages, for headers that need no check.
        cycle = self._answering
        if cycle is None or cycle.disconnected or cycle.response_started or cycle.access_log or self.flow.write_paused:
            return False
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(body)
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disconnect()
        # Whoever still holds the scope of a request must not hold the connection by it.
        del self._extensions[IS_RECEIVED], self._extensions[ANSWER]
        # uvicorn's own stays where the client reset the connection, and all of this with it.
        self._unset_keepalive_if_required()
        self._head_timer.stop()
        self._send_timer.stop()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        self._window_bytes = self._unparsed_bytes = self._unparsed_bytes + len(data)
        body_bytes = len(self.cycle.body) if self._is_in_body else 0
        try:
            self._feed(data)
            # "method" comes into a scope with the end of its head.
            if self._unparsed_bytes or "method" not in self.scope:
                self._await_more(body_bytes)
            elif self._answering is None:
                self._head_timer.start()
        except (HttpParserError, _Refused) as error:
            # httptools wraps what a callback raises.
            cause = error.__context__ if isinstance(error, HttpParserError) else error
            self._refuse(cause.status if isinstance(cause, _Refused) else HTTPStatus.BAD_REQUEST)

    def _await_more(self, body_bytes: int) -> None:
        """After a read that ended amidst something. `body_bytes`: how much of a body was there before it."""
        if not self._is_in_body:
            # A head may begin in the read in which the request before it ended.
            self._unparsed_bytes = self._unparsed_bytes or 1
        elif self.cycle.response_complete or len(self.cycle.body) > body_bytes:
            self._unparsed_bytes = 0
        self._check_size(self._unparsed_bytes)
        if self._answering is None or not self._is_in_body:
            self._head_timer.start()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserUpgrade as upgrade:
                # The offer is declined by answering as if it were not there (RFC 9110, 7.8). httptools would take the
                # request's body for another protocol's bytes, and what comes later of it for the next request.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)

    def _head_without_upgrade(self) -> bytes:
        method, version = self.scope["method"].encode(), self.scope["http_version"].encode()
        headers = (b"%b: %b" % header for header in self.scope["headers"] if header[0] != b"upgrade")
        return b"\r\n".join([b"%b %b HTTP/%b" % (method, self.url, version), *headers, b"", b""])

    def _should_upgrade(self) -> bool:
        # So uvicorn leaves the request alone, until it comes again without its offer.
        return True

    def on_headers_complete(self) -> None:
        self._head_timer.stop()
        self._unparsed_bytes = 0
        settings = self._settings
        if self._window_bytes > settings.header_limit_bytes or len(self.headers) > settings.header_count_limit:
            self._check_size(len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers))
        if len(self.pipeline) >= settings.pipeline_limit:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE)
        self.scope["extensions"] = self._extensions
        HttpToolsProtocol.on_headers_complete(self)
        # Trailers are counted apart, and can't pass for headers.
        self.headers = []
        if self.parser.should_upgrade():
            if self.scope["method"] == "CONNECT":
                raise _Refused(HTTPStatus.NOT_IMPLEMENTED)
            return
        self._is_in_body = True
        if self._answering is None:
            self._answering = self.cycle

    def _check_size(self, head_bytes: int) -> None:
        if head_bytes > self._settings.header_limit_bytes or len(self.headers) > self._settings.header_count_limit:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._is_in_body = False
        HttpToolsProtocol.on_message_complete(self)

    def on_response_complete(self) -> None:
        self._answering = self.pipeline[-1][0] if self.pipeline else None
        HttpToolsProtocol.on_response_complete(self)
        if self.transport.is_closing():
            self._close()
        elif self._refusal is not None and self._answering is None:
            self._answer_refusal()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_timer.stop()

    def timeout_keep_alive_handler(self) -> None:
        # Not `close`: that waits for ever for a client that does not read its last answer.
        self.transport.abort()

    def _end_wait(self) -> None:
        """A head is late, or else what follows an answer that went out before its request's body was whole."""
        if self.flow.read_paused:
            # It is we who let it wait, for the answers to what stands before it.
            self._head_timer.start()
        elif self._unparsed_bytes and not self._is_in_body:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.abort()

    def _refuse(self, status: HTTPStatus) -> None:
        """Reads no further; answers with `status` when it is its turn, and closes."""
        self._refusal = status
        self._head_timer.stop()
        self._unset_keepalive_if_required()
        if self._is_in_body and self.pipeline:
            # The newest request is the broken one, and has not begun.
            self.pipeline.popleft()
        elif self._is_in_body and self.cycle.response_started:
            self._close()
        elif self._is_in_body or self._answering is None:
            self._answer_refusal()

    def _answer_refusal(self) -> None:
        assert self._refusal is not None
        headers = [*self.server_state.default_headers, (b"connection", b"close"), (b"content-length", b"0")]
        if self._refusal is HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"1"))
        lines = (b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"".join([STATUS_LINE[self._refusal], *lines, b"\r\n"]))
        self._close()

    def _close(self) -> None:
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._send_timer.start()
        self._disconnect()

    def _disconnect(self) -> None:
        # uvicorn tells only the newest request that its client has gone, which need not be the one being answered.
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

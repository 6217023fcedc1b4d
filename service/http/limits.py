"""The limits of a request: its deadline, the size of its body, and the treatment of the rest of a body."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from service.errors import LateBody, ServiceError, TooLarge, Unavailable
from service.wire.parsing import sniff
from service.wire.parsing.parameters import MAX_BODY_BYTES

# The time limit for the first byte of a refused large body, which may determine the format of the refusal.
FIRST_BYTE_SECONDS = 0.25
# After a response before the end of the body, this much of the rest is read and dropped.
LINGER_BYTES = 16 << 20
LINGER_SECONDS = 1.0
_LIMIT = f": a body holds at most {MAX_BODY_BYTES} bytes"


class OpenRequests:
    """The open requests. All have the same time limit, so they end in the order of their start, and one timer suffices.

    (`asyncio.timeout` has a timer for each request: 10 of the 110 us that a request took outside the database.)
    """

    def __init__(self, time_limit_ms: int) -> None:
        # Set by the server when the process ends: responses close their connections, streams end.
        self.is_draining = False
        self.time_limit_ms = time_limit_ms
        self._limit_seconds = time_limit_ms / 1000
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[Any]:
        """Sets the deadline at which the current task is cancelled. Returns the task for `end`."""
        task = asyncio.current_task()
        assert task is not None
        self._deadlines[task] = time.monotonic() + self._limit_seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limit_seconds, self._expire)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Removes the deadline of the task, because sending the response has none. A second call changes nothing."""
        self._deadlines.pop(task, None)

    def has_expired(self) -> bool:
        """After a CancelledError: whether the deadline was the cause. True only once."""
        task = asyncio.current_task()
        if task is None or task not in self._expired:
            return False
        self._expired.discard(task)
        task.uncancel()
        return True

    def _expire(self) -> None:
        self._timer = None
        for task, deadline in list(self._deadlines.items()):
            left = deadline - time.monotonic()
            if left > 0:
                self._timer = asyncio.get_running_loop().call_later(left, self._expire)
                return
            del self._deadlines[task]
            self._expired.add(task)
            task.add_done_callback(self._expired.discard)
            task.cancel()


class BodyReader:
    """`content` is as much of the body as was read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.content = bytearray()
        self.is_whole = False

    async def read_within_limits(self, declared_bytes: int, open_requests: OpenRequests) -> ServiceError | None:
        """Returns the error if the body is incomplete: an unknown path has priority. Raises ClientDisconnect."""
        if declared_bytes > MAX_BODY_BYTES:
            # Reading sends 100 Continue to a client that waits for it. JDK 17's client hangs if another one is first.
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_BYTE_SECONDS):
                    while not self.is_whole and sniff(bytes(self.content[:MAX_BODY_BYTES])) is None:
                        await self._read(len(self.content))
            return TooLarge(_LIMIT)
        try:
            await self._read(MAX_BODY_BYTES)
        except asyncio.CancelledError:
            if not open_requests.has_expired():
                return Unavailable()
            return LateBody(f"the body must arrive within {open_requests.time_limit_ms} ms")
        return TooLarge(_LIMIT) if len(self.content) > MAX_BODY_BYTES else None

    async def _read(self, most_bytes: int) -> None:
        """Reads until the body is complete, or exceeds `most_bytes`. Raises ClientDisconnect."""
        while not self.is_whole and len(self.content) <= most_bytes:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect()
            self.content += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)

    def lingering(self, send: Send) -> Send:
        """Closes the connection after the response, but first reads for a while.

        If it were closed at once, with an unread rest of the body, the client would get a reset before it reads the
        response. If it stayed open, the whole rest of the body, of any length, would have to be read.
        """

        async def send_and_linger(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send({**message, "headers": [*message["headers"], (b"connection", b"close")]})
                return
            await send({**message, "more_body": True})
            if not message.get("more_body", False):
                with suppress(TimeoutError, ClientDisconnect):
                    async with asyncio.timeout(LINGER_SECONDS):
                        await self._read(len(self.content) + LINGER_BYTES)
                await send({"type": "http.response.body"})

        return send_and_linger

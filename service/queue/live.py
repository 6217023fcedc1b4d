"""The use case: a report whenever it has changed, as Server-Sent Events.

All who follow the same query share a channel, and so one statement a tick. A channel keeps its newest event alone, and
a subscriber takes it when its connection is ready for one: who reads slowly misses events and never holds any up.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from sse_starlette import ServerSentEvent

from service.access.cache import Tokens
from service.errors import Forbidden, InternalError, ServiceError, Unauthorized
from service.model import Format, Presentation, Scope, StatsQuery
from service.queue.names import Names
from service.queue.stats import Statistics
from service.telemetry.logs import format_frames
from service.telemetry.metrics import STREAMS
from service.wire.rendering import render_error, render_report_in_slices

logger = logging.getLogger(__name__)

# A revoked token ends its streams within a second: its check may rest on a look-up that is half a second old.
WATCH_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Event:
    """`content` as it goes over the wire, to all subscribers; equal reports have the same `id`, on every process."""

    id: str
    content: bytes
    began_at: float = 0.0


class Followed(NamedTuple):
    """What a stream shows: the reports of a query, written in one way."""

    query: StatsQuery
    presentation: Presentation = Presentation()


@dataclass(eq=False, slots=True)
class _Subscriber:
    secret: str
    interval_seconds: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    last_event: Event | None = None
    is_over: bool = False


class Streams:
    """The open streams of a process."""

    def __init__(self, statistics: Statistics, names: Names, tokens: Tokens, is_draining: Callable[[], bool]) -> None:
        self._statistics = statistics
        self._names = names
        self._tokens = tokens
        self._is_draining = is_draining
        self._channels: dict[Followed, _Channel] = {}
        self._subscribers: set[_Subscriber] = set()

    async def read(self, followed: Followed) -> Event:
        """From a snapshot taken after the call. Raises as `Statistics.ask`."""
        outcome = await self._statistics.ask(followed.query)
        # Before anything else: the look-up of names takes its time, and is no part of the report's age.
        began_at, taken_at = time.monotonic() - outcome.batch_seconds, time.time() - outcome.batch_seconds
        shape = await self._names.shape(followed.presentation, outcome.result.rows, followed.query.sender_id)
        slices = []
        for piece in render_report_in_slices(outcome.result, Format.JSON, shape):
            slices.append(piece)
            await asyncio.sleep(0)
        return _event(b"".join(slices), began_at, datetime.fromtimestamp(taken_at, UTC))

    async def follow(
        self, followed: Followed, secret: str, interval_ms: int, first: Event, last_event_id: str
    ) -> AsyncIterator[bytes]:
        """Events, `first` too unless the client has it, until the token is revoked or the service ends.

        While the database is away one event tells the error; the next report follows when it is back.
        """
        subscriber = _Subscriber(secret, interval_ms / 1000)
        channel = self._channels.get(followed)
        if channel is None:
            channel = self._channels[followed] = _Channel(lambda: self.read(followed))
        self._subscribers.add(subscriber)
        channel.join(subscriber, first)
        STREAMS.inc()
        seen, due = last_event_id, 0.0
        try:
            while not subscriber.is_over:
                event = channel.newest
                wait_seconds = due - time.monotonic() if event.id != seen else None
                if wait_seconds is None or wait_seconds > 0:
                    subscriber.wake.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(subscriber.wake.wait(), wait_seconds)
                    continue
                yield event.content
                seen, due = event.id, time.monotonic() + subscriber.interval_seconds
            if subscriber.last_event is not None:
                yield subscriber.last_event.content
        finally:
            STREAMS.dec()
            self._subscribers.discard(subscriber)
            if channel.leave(subscriber):
                del self._channels[followed]

    async def watch(self) -> None:
        """Ends streams whose token is revoked; all of them when the service drains."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for secret in {each.secret for each in self._subscribers}:
                refusal = None
                # Whether it is revoked can't be told while the database is away.
                with suppress(ServiceError):
                    try:
                        await self._tokens.check(secret, Scope.STATS)
                    except (Unauthorized, Forbidden) as error:
                        refusal = _error_event(error)
                if refusal is not None or self._is_draining():
                    for each in (each for each in self._subscribers if each.secret == secret):
                        each.last_event, each.is_over = refusal, True
                        each.wake.set()


class _Channel:
    """A query that somebody follows: asked anew at the shortest interval of its subscribers."""

    def __init__(self, read: Callable[[], Awaitable[Event]]) -> None:
        self.newest: Event
        self._read = read
        self._subscribers: set[_Subscriber] = set()
        self._ticking: asyncio.Task[None] | None = None

    def join(self, subscriber: _Subscriber, first: Event) -> None:
        self._subscribers.add(subscriber)
        if self._ticking is None:
            self.newest = first
            self._ticking = asyncio.create_task(self._tick())
        else:
            self._publish(first)

    def leave(self, subscriber: _Subscriber) -> bool:
        """Whether it was the last one."""
        self._subscribers.discard(subscriber)
        if self._subscribers or self._ticking is None:
            return False
        self._ticking.cancel()
        return True

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(each.interval_seconds for each in self._subscribers))
            try:
                event = await self._read()
            except ServiceError as error:
                event = _error_event(error)
            except Exception as error:  # noqa: BLE001 whatever it is, the stream goes on and the log has it
                logger.error("fault to=stream error=%s", format_frames(error))
                event = _error_event(InternalError())
            self._publish(event)

    def _publish(self, event: Event) -> None:
        """A report that comes from an older snapshot than the newest one is left out."""
        if event.began_at < self.newest.began_at:
            return
        is_new = event.id != self.newest.id
        self.newest = event
        for each in self._subscribers if is_new else ():
            each.wake.set()


def _event(report: bytes, began_at: float, taken_at: datetime) -> Event:
    id_ = hashlib.blake2b(report, digest_size=16).hexdigest()
    data = report.removesuffix(b"}") + b',"taken_at":' + msgspec.json.encode(taken_at) + b"}"
    return Event(id_, ServerSentEvent(data.decode(), event="report", id=id_).encode(), began_at)


def _error_event(error: ServiceError) -> Event:
    data = render_error(error, Format.JSON).decode()
    return Event(f"error {error.code}", ServerSentEvent(data, event="error").encode(), time.monotonic())

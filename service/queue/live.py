"""The use case: a report whenever it has changed.

All subscribers of a query share a channel, and so one statement a tick. A channel keeps its newest event alone: slow
readers skip events, and hold up no other.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec

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
REVOCATION_CHECK_SECONDS = 0.2

# The name of an event, its data in UTF-8 and its id, as they go over the wire.
Encode: TypeAlias = Callable[[str, bytes, str | None], bytes]


@dataclass(frozen=True, slots=True)
class Event:
    """`content` as it goes over the wire, to all subscribers; equal reports have the same `id`, on every process."""

    id: str
    content: bytes
    began_at: float


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

    def __init__(
        self, statistics: Statistics, names: Names, tokens: Tokens, is_draining: Callable[[], bool], encode: Encode
    ) -> None:
        self._statistics, self._names, self._tokens = statistics, names, tokens
        self._is_draining, self._encode = is_draining, encode
        self._channels: dict[Followed, _Channel] = {}
        self._subscribers: set[_Subscriber] = set()

    async def read(self, followed: Followed) -> Event:
        """From a snapshot taken after the call. Raises as `Statistics.run`."""
        outcome = await self._statistics.run(followed.query)
        # Before anything else: the look-up of names takes its time, and is no part of the report's age.
        began_at, taken_at = time.monotonic() - outcome.batch_seconds, time.time() - outcome.batch_seconds
        shape = await self._names.shape(followed.presentation, outcome.result.rows, followed.query.sender_id)
        slices = []
        for piece in render_report_in_slices(outcome.result, Format.JSON, shape):
            slices.append(piece)
            await asyncio.sleep(0)
        report = b"".join(slices)
        id_ = hashlib.blake2b(report, digest_size=16).hexdigest()
        taken = msgspec.json.encode(datetime.fromtimestamp(taken_at, UTC))
        data = report.removesuffix(b"}") + b',"taken_at":' + taken + b"}"
        return Event(id_, self._encode("report", data, id_), began_at)

    async def _read_or_error(self, followed: Followed) -> Event:
        try:
            return await self.read(followed)
        except ServiceError as error:
            return self._error_event(error)
        except Exception as error:  # noqa: BLE001 the stream goes on, and the log has the error
            logger.error("fault to=stream error=%s", format_frames(error))
            return self._error_event(InternalError())

    def _error_event(self, error: ServiceError) -> Event:
        content = self._encode("error", render_error(error, Format.JSON), None)
        return Event(f"error {error.code}", content, time.monotonic())

    async def follow(
        self, followed: Followed, secret: str, interval_ms: int, first: Event, last_event_id: str
    ) -> AsyncIterator[bytes]:
        """Events, `first` too unless the client has it, until the token is revoked or the service ends.

        While the database is away one event has the error; the next report follows when it is back.
        """
        subscriber = _Subscriber(secret, interval_ms / 1000)
        channel = self._channels.get(followed)
        if channel is None:
            channel = self._channels[followed] = _Channel(partial(self._read_or_error, followed), first)
        self._subscribers.add(subscriber)
        channel.join(subscriber, first)
        STREAMS.inc()
        sent_id, due_at = last_event_id, 0.0
        try:
            while not subscriber.is_over:
                event = channel.newest
                wait_seconds = due_at - time.monotonic() if event.id != sent_id else None
                if wait_seconds is None or wait_seconds > 0:
                    subscriber.wake.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(subscriber.wake.wait(), wait_seconds)
                    continue
                yield event.content
                sent_id, due_at = event.id, time.monotonic() + subscriber.interval_seconds
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
            await asyncio.sleep(REVOCATION_CHECK_SECONDS)
            for secret in {subscriber.secret for subscriber in self._subscribers}:
                refusal = await self._refusal_of(secret)
                if refusal is None and not self._is_draining():
                    continue
                for subscriber in self._subscribers:
                    if subscriber.secret == secret:
                        subscriber.last_event, subscriber.is_over = refusal, True
                        subscriber.wake.set()

    async def _refusal_of(self, secret: str) -> Event | None:
        try:
            await self._tokens.check(secret, Scope.STATS)
        except ServiceError as error:
            # While the database is away, a token may be valid or not.
            return self._error_event(error) if isinstance(error, Unauthorized | Forbidden) else None
        return None


class _Channel:
    """A query that has subscribers: it runs again at their shortest interval."""

    def __init__(self, read: Callable[[], Awaitable[Event]], first: Event) -> None:
        self.newest = first
        self._read = read
        self._subscribers: set[_Subscriber] = set()
        self._ticking = asyncio.create_task(self._tick())

    def join(self, subscriber: _Subscriber, first: Event) -> None:
        self._subscribers.add(subscriber)
        self._publish(first)

    def leave(self, subscriber: _Subscriber) -> bool:
        """Whether the channel is over, since it was the last subscriber."""
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            self._ticking.cancel()
        return not self._subscribers

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(subscriber.interval_seconds for subscriber in self._subscribers))
            self._publish(await self._read())

    def _publish(self, event: Event) -> None:
        """A report that comes from an older snapshot than the newest one is left out."""
        if event.began_at >= self.newest.began_at:
            former, self.newest = self.newest, event
            if event.id != former.id:
                for subscriber in self._subscribers:
                    subscriber.wake.set()

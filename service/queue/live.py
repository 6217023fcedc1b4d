"""The use case: a report after each change.

All subscribers of a query share a channel, and so one statement per interval. A channel stores only its newest event:
slow readers skip events, and do not delay others.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec

from service.access.budgets import UnreadResponse
from service.access.cache import Tokens
from service.db import Database
from service.errors import Forbidden, InternalError, ServiceError, TooManyRequests, Unauthorized, Unavailable
from service.model import Format, Presentation, Scope, StatsQuery
from service.queue.names import Names
from service.queue.stats import Statistics
from service.reports import StatsReport
from service.settings import Settings
from service.telemetry.logs import format_frames
from service.telemetry.metrics import STREAMS
from service.wire.rendering import render_error, render_report_in_slices

logger = logging.getLogger(__name__)

# The streams of a revoked token end within a second; its check may use a look-up that is half a second old.
REVOCATION_CHECK_SECONDS = 0.2
# The pause before another attempt to send an event that exceeded the unread bytes of its token.
ROOM_CHECK_SECONDS = 0.1
# The subscribers of a channel share its event. In addition, each subscriber has two slices in memory.
SLICE_BYTES = 1 << 16
# This many rows take half a millisecond.
PACKED_ROWS = 2500
# For totals, listings and names.
STREAM_CONNECTIONS = 3
# Statements of streams run for at most a quarter of the time, with any number of streams.
STREAM_BATCH_QUERIES = 25
STREAM_REST = 3.0
MOST_STREAMS = 10**6
_pack = msgspec.msgpack.Encoder().encode

# The bytes of an event: its name, its data in UTF-8 and its id.
Encode: TypeAlias = Callable[[str, bytes, str | None], bytes]


@dataclass(frozen=True, slots=True)
class Event:
    """`content`: the bytes for all subscribers. Equal reports have the same `id` in all processes."""

    id: str
    content: bytes
    began_at: float
    is_error: bool = False


class Followed(NamedTuple):
    """The content of a stream: the reports of a query in one format."""

    query: StatsQuery
    presentation: Presentation = Presentation()


@dataclass(eq=False, slots=True)
class Subscriber:
    """A client that follows a query. `sent_id`: the last event that it has, initially its `Last-Event-ID`."""

    secret: str
    interval_seconds: float
    unread: UnreadResponse
    sent_id: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    last_event: Event | None = None
    is_over: bool = False

    def has_room(self, event: Event) -> bool:
        """Reserves all bytes of the event, or none."""
        try:
            self.unread.hold(len(event.content))
        except (TooManyRequests, Unavailable):
            return False
        return True


def open_statistics(database: Database, settings: Settings) -> Statistics:
    """The reports of streams, separate in queues and connections from those of requests.

    Any number of streams may wait, because the budgets of tokens limit it.
    """
    own = msgspec.structs.replace(
        settings, pool_size=STREAM_CONNECTIONS - 1, batch_queries=STREAM_BATCH_QUERIES, waiting_requests=MOST_STREAMS
    )
    return Statistics(database, own, STREAM_REST)


class Streams:
    """The open streams of a process."""

    def __init__(
        self, statistics: Statistics, names: Names, tokens: Tokens, is_draining: Callable[[], bool], encode: Encode
    ) -> None:
        self._statistics, self._names, self._tokens = statistics, names, tokens
        self._is_draining, self._encode = is_draining, encode
        self._channels: dict[Followed, _Channel] = {}
        self._subscribers: set[Subscriber] = set()

    async def read(self, followed: Followed) -> Event:
        """An event from a snapshot taken after the call. A report that other subscribers have is not rendered again.

        Raises as `Statistics.run`.
        """
        outcome = await self._statistics.run(followed.query)
        # Taken first, because the duration of the next steps is not part of the report's age.
        began_at, taken_at = time.monotonic() - outcome.batch_seconds, time.time() - outcome.batch_seconds
        id_ = await _id_of(outcome.result, followed.presentation)
        channel = self._channels.get(followed)
        if channel is not None and channel.newest.id == id_:
            return replace(channel.newest, began_at=began_at)
        shape = await self._names.shape(followed.presentation, outcome.result.rows, followed.query.sender_id)
        slices = []
        for piece in render_report_in_slices(outcome.result, Format.JSON, shape):
            slices.append(piece)
            await asyncio.sleep(0)
        taken = msgspec.json.encode(datetime.fromtimestamp(taken_at, UTC))
        data = b"".join(slices).removesuffix(b"}") + b',"taken_at":' + taken + b"}"
        return Event(id_, self._encode("report", data, id_), began_at)

    def sign_of_life(self, followed: Followed) -> str:
        """`as of`, and the time up to which the current report of the subscribers is known to be the newest."""
        channel = self._channels.get(followed)
        if channel is None or channel.newest.is_error:
            return "no report"
        age = timedelta(seconds=time.monotonic() - channel.newest.began_at)
        return f"as of {(datetime.now(UTC) - age).isoformat()}"

    async def _read_or_error(self, followed: Followed) -> Event:
        try:
            return await self.read(followed)
        except ServiceError as error:
            return self._error_event(error)
        except Exception as error:  # noqa: BLE001 the stream continues, and the error is logged
            logger.error("fault to=stream error=%s", format_frames(error))
            return self._error_event(InternalError())

    def _error_event(self, error: ServiceError) -> Event:
        content = self._encode("error", render_error(error, Format.JSON), None)
        return Event(f"error {error.code}", content, time.monotonic(), is_error=True)

    async def follow(self, followed: Followed, subscriber: Subscriber, first: Event) -> AsyncIterator[bytes]:
        """Events in slices, with `first` unless the client has it, until the token is revoked or the service stops.

        While the database is unreachable, one event has the error; the next report follows after the outage. While an
        event exceeds the unread bytes of the token, it waits, and the newest event replaces it.
        """
        channel = self._channels.get(followed)
        if channel is None:
            channel = self._channels[followed] = _Channel(partial(self._read_or_error, followed), first)
        self._subscribers.add(subscriber)
        channel.join(subscriber, first)
        STREAMS.inc()
        due_at = 0.0
        try:
            while not subscriber.is_over:
                event = channel.newest
                wait_seconds = due_at - time.monotonic() if event.id != subscriber.sent_id else None
                if wait_seconds is None or wait_seconds > 0:
                    subscriber.wake.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(subscriber.wake.wait(), wait_seconds)
                    continue
                if not subscriber.has_room(event):
                    due_at = time.monotonic() + ROOM_CHECK_SECONDS
                    continue
                for start in range(0, len(event.content), SLICE_BYTES):
                    yield event.content[start : start + SLICE_BYTES]
                subscriber.unread.release()
                subscriber.sent_id, due_at = event.id, time.monotonic() + subscriber.interval_seconds
            if subscriber.last_event is not None:
                yield subscriber.last_event.content
        finally:
            subscriber.unread.release()
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
            # While the database is unreachable, the state of a token is unknown.
            return self._error_event(error) if isinstance(error, Unauthorized | Forbidden) else None
        return None


async def _id_of(report: StatsReport, presentation: Presentation) -> str:
    """The id from the rows without names, before rendering, which takes much longer. A recorded name never changes."""
    digest = hashlib.blake2b(_pack(presentation), digest_size=16)
    for start in range(0, len(report.rows), PACKED_ROWS):
        digest.update(_pack(report.rows[start : start + PACKED_ROWS]))
        await asyncio.sleep(0)
    return digest.hexdigest()


class _Channel:
    """A query with subscribers, which runs again at their shortest interval."""

    def __init__(self, read: Callable[[], Awaitable[Event]], first: Event) -> None:
        self.newest = first
        self._read = read
        self._subscribers: set[Subscriber] = set()
        self._ticking = asyncio.create_task(self._tick())

    def join(self, subscriber: Subscriber, first: Event) -> None:
        self._subscribers.add(subscriber)
        self._publish(first)

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber. Returns whether it was the last one, and so the channel has ended."""
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            self._ticking.cancel()
        return not self._subscribers

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(subscriber.interval_seconds for subscriber in self._subscribers))
            self._publish(await self._read())

    def _publish(self, event: Event) -> None:
        """Publishes an event, unless its snapshot is older than that of the newest one."""
        if event.began_at >= self.newest.began_at:
            former, self.newest = self.newest, event
            if event.id != former.id:
                for subscriber in self._subscribers:
                    subscriber.wake.set()

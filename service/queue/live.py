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

# A revoked token ends its streams within a second: its check may rest on a look-up that is half a second old.
REVOCATION_CHECK_SECONDS = 0.2
# After that, an event that had no room among the unread bytes of its token is tried again.
ROOM_CHECK_SECONDS = 0.1
# The subscribers of a channel share its event. Beside it, each one has two slices in memory.
SLICE_BYTES = 1 << 16
# So many rows take half a millisecond.
PACKED_ROWS = 2500
# For totals, listings and names.
STREAM_CONNECTIONS = 3
# Statements of streams run a fourth of the time at most, however many streams there are.
STREAM_BATCH_QUERIES = 25
STREAM_REST = 3.0
MOST_STREAMS = 10**6
_pack = msgspec.msgpack.Encoder().encode

# The name of an event, its data in UTF-8 and its id, as they go over the wire.
Encode: TypeAlias = Callable[[str, bytes, str | None], bytes]


@dataclass(frozen=True, slots=True)
class Event:
    """`content` as it goes over the wire, to all subscribers; equal reports have the same `id`, on every process."""

    id: str
    content: bytes
    began_at: float
    is_error: bool = False


class Followed(NamedTuple):
    """What a stream shows: the reports of a query, written in one way."""

    query: StatsQuery
    presentation: Presentation = Presentation()


@dataclass(eq=False, slots=True)
class Subscriber:
    """A client that follows a query. `sent_id`: the event that it has, by its `Last-Event-ID` at first."""

    secret: str
    interval_seconds: float
    unread: UnreadResponse
    sent_id: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    last_event: Event | None = None
    is_over: bool = False

    def has_room(self, event: Event) -> bool:
        """Holds the bytes of the event, or none of them."""
        try:
            self.unread.hold(len(event.content))
        except (TooManyRequests, Unavailable):
            return False
        return True


def open_statistics(database: Database, settings: Settings) -> Statistics:
    """The reports of streams, which share no queue and no connection with those of requests.

    Any number of streams may wait: the budgets of tokens limit them.
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
        """From a snapshot taken after the call. A report that other subscribers have already is not rendered again.

        Raises as `Statistics.run`.
        """
        outcome = await self._statistics.run(followed.query)
        # Before anything else: the rest takes its time, and is no part of the report's age.
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
        """`as of`, and the time up to which the report that the subscribers have is known to be the newest one."""
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
        except Exception as error:  # noqa: BLE001 the stream goes on, and the log has the error
            logger.error("fault to=stream error=%s", format_frames(error))
            return self._error_event(InternalError())

    def _error_event(self, error: ServiceError) -> Event:
        content = self._encode("error", render_error(error, Format.JSON), None)
        return Event(f"error {error.code}", content, time.monotonic(), is_error=True)

    async def follow(self, followed: Followed, subscriber: Subscriber, first: Event) -> AsyncIterator[bytes]:
        """Events in slices, `first` too unless the client has it, until the token is revoked or the service ends.

        While the database is away one event has the error; the next report follows when it is back. While the token
        has no room for the bytes of an event, the event waits, and becomes the newest one.
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
            # While the database is away, a token may be valid or not.
            return self._error_event(error) if isinstance(error, Unauthorized | Forbidden) else None
        return None


async def _id_of(report: StatsReport, presentation: Presentation) -> str:
    """Of the rows before they are named and rendered, which takes many times as long. A recorded name never changes."""
    digest = hashlib.blake2b(_pack(presentation), digest_size=16)
    for start in range(0, len(report.rows), PACKED_ROWS):
        digest.update(_pack(report.rows[start : start + PACKED_ROWS]))
        await asyncio.sleep(0)
    return digest.hexdigest()


class _Channel:
    """A query that has subscribers: it runs again at their shortest interval."""

    def __init__(self, read: Callable[[], Awaitable[Event]], first: Event) -> None:
        self.newest = first
        self._read = read
        self._subscribers: set[Subscriber] = set()
        self._ticking = asyncio.create_task(self._tick())

    def join(self, subscriber: Subscriber, first: Event) -> None:
        self._subscribers.add(subscriber)
        self._publish(first)

    def leave(self, subscriber: Subscriber) -> bool:
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

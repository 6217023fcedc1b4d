"""Combines requests that wait at the same time into one statement.

A query waits only while the largest number of batches is in flight, and never for a timer. It never joins a batch in
flight, whose snapshot may be older than the request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import msgspec

from service.errors import ServiceError, TimedOut, Unavailable
from service.telemetry.metrics import WAITING
from service.telemetry.origin import Origin, origins

Query = TypeVar("Query", bound=Hashable)
Result = TypeVar("Result")

# The number of remembered queries whose last result was large.
LARGE_QUERIES_KEPT = 10_000
# The longest rest, because a new stream waits for it before its own batch.
MOST_REST_SECONDS = 0.25


class Outcome(msgspec.Struct, Generic[Result], frozen=True):
    """A result, and its time: the wait for a batch, and the batch."""

    result: Result
    wait_seconds: float
    batch_seconds: float


@dataclass(slots=True, eq=False)
class _Entry(Generic[Result]):
    """A query that waits or is in flight, and its waiters."""

    queued_at: float
    kind: Hashable
    # The requests of the waiters. Each waiter has its own future, so that its cancellation does not affect others.
    waiters: dict[asyncio.Future[Result], tuple[Origin, ...]] = field(default_factory=dict)
    left_at: float = 0.0

    def resolve(self, result: Result | Exception) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                if isinstance(result, Exception):
                    waiter.set_exception(result)
                else:
                    waiter.set_result(result)


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest numbers of `batches` in flight, `queries` in a batch, and `waiters`; and the longest wait.

    After a batch, the next one waits for `rest` times the duration of the batch. This is for streams, on which no
    request waits. With `has_turns`, kinds take turns: the next batch is of the kind that has waited the longest since
    its last batch.
    """

    batches: int
    queries: int
    waiters: int
    wait_seconds: float
    rest: float = 0
    has_turns: bool = False


class Coalescer(Generic[Query, Result]):
    """`fetch` returns the results of a batch in order, with an error in place of a result, or raises for all of them.

    If queries have a `kind`, a batch has one kind, and one batch of each kind is in flight. A query whose last result
    `is_large` runs alone, in parallel to its kind and only once at a time, so it does not delay other queries.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[Query]], Awaitable[Sequence[Result | ServiceError]]],
        limits: Limits,
        is_large: Callable[[Result], bool] = lambda result: False,
        kind: Callable[[Query], Hashable] = lambda query: None,
    ) -> None:
        self._fetch, self._limits, self._is_large, self._kind = fetch, limits, is_large, kind
        self._kinds_in_flight: set[Hashable] = set()
        self._waiting: dict[Query, _Entry[Result]] = {}
        self._in_flight: set[Query] = set()
        self._large: dict[Query, None] = {}
        self._waiters = 0
        self._batches: set[asyncio.Task[None]] = set()
        self._is_starting = False
        self._expiry: asyncio.TimerHandle | None = None

    async def run(self, query: Query) -> Outcome[Result]:
        """The result, from a batch that begins after this call. Raises as `fetch` does.

        Raises Unavailable at once if too many wait, or after the longest wait. A cancelled call removes its query,
        unless others wait for it or it is in flight.
        """
        if self._waiters >= self._limits.waiters:
            raise Unavailable(": too many requests are waiting")
        loop, arrived_at = asyncio.get_running_loop(), time.perf_counter()
        entry = self._waiting.get(query)
        if entry is None:
            entry = self._waiting[query] = _Entry(arrived_at, self._kind(query))
            self._start_soon(loop)
        waiter: asyncio.Future[Result] = loop.create_future()
        entry.waiters[waiter] = origins.get()
        self._waiters += 1
        self._count_waiting(1)
        try:
            result = await waiter
        except asyncio.CancelledError:
            if self._waiting.get(query) is entry:
                del entry.waiters[waiter]
                self._waiters -= 1
                if not entry.waiters:
                    self._leave(query)
            raise
        finally:
            self._count_waiting(-1)
        return Outcome(result, max(0.0, entry.left_at - arrived_at), time.perf_counter() - entry.left_at)

    def _count_waiting(self, number: int) -> None:
        if not self._limits.rest:
            WAITING.inc(number)

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the next turn of the event loop, so that all requests of this turn join the batch.
        if not self._is_starting and len(self._batches) < self._limits.batches:
            self._is_starting = True
            loop.call_soon(self._start)
        if self._expiry is None:
            self._expiry = loop.call_later(self._limits.wait_seconds, self._expire)

    def _start(self) -> None:
        self._is_starting = False
        while len(self._batches) < self._limits.batches:
            queries, kind = self._choose()
            if not queries:
                return
            batch = {query: self._leave(query) for query in queries}
            self._in_flight.update(batch)
            self._kinds_in_flight.add(kind)
            if self._limits.has_turns:
                self._put_last(kind)
            task = asyncio.create_task(self._run_and_rest(batch))
            self._batches.add(task)
            task.add_done_callback(partial(self._end, batch, kind))

    def _end(self, batch: dict[Query, _Entry[Result]], kind: Hashable, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._in_flight.difference_update(batch)
        self._kinds_in_flight.discard(kind)
        self._start()

    def _choose(self) -> tuple[list[Query], Hashable]:
        """The next batch, starting with the query that has waited longest, and the kind that it blocks."""
        chosen: list[Query] = []
        chosen_kind: Hashable = None
        for query, entry in self._waiting.items():
            if query in self._in_flight or (chosen and (query in self._large or entry.kind != chosen_kind)):
                continue
            if query in self._large:
                return [query], None
            if entry.kind is None or entry.kind not in self._kinds_in_flight:
                chosen.append(query)
                chosen_kind = entry.kind
            if len(chosen) == self._limits.queries:
                break
        return chosen, chosen_kind

    def _put_last(self, kind: Hashable) -> None:
        """The queries of other kinds that wait go first."""
        for query in [query for query, entry in self._waiting.items() if entry.kind == kind]:
            self._waiting[query] = self._waiting.pop(query)

    def _leave(self, query: Query) -> _Entry[Result]:
        entry = self._waiting.pop(query)
        entry.left_at = time.perf_counter()
        self._waiters -= len(entry.waiters)
        return entry

    async def _run_and_rest(self, batch: dict[Query, _Entry[Result]]) -> None:
        began_at = time.perf_counter()
        await self._run(batch)
        if self._limits.rest:
            await asyncio.sleep(min(MOST_REST_SECONDS, self._limits.rest * (time.perf_counter() - began_at)))

    async def _run(self, batch: dict[Query, _Entry[Result]]) -> None:
        # The requests of all waiters, and not only the one that started the batch.
        origins.set(tuple(origin for entry in batch.values() for of_one in entry.waiters.values() for origin in of_one))
        try:
            results = await self._fetch(list(batch))
            # A list, so that a missing result is detected before the first one is returned.
            for (query, entry), result in list(zip(batch.items(), results, strict=True)):
                entry.resolve(result)
                self._remember(query, not isinstance(result, ServiceError) and self._is_large(result))
        except Exception as error:  # noqa: BLE001 a fault of one query must not affect all queries
            # After an outage, repeating the queries one by one would multiply the time.
            if isinstance(error, Unavailable | TimedOut) or len(batch) == 1:
                for entry in batch.values():
                    entry.resolve(error)
            else:
                # Any query may be the cause, so each query runs again, alone.
                await asyncio.gather(*(self._run({query: entry}) for query, entry in batch.items()))

    def _remember(self, query: Query, is_large: bool) -> None:
        self._large.pop(query, None)
        if is_large:
            self._large[query] = None
            if len(self._large) > LARGE_QUERIES_KEPT:
                del self._large[next(iter(self._large))]

    def _expire(self) -> None:
        """Refuses waiters that have waited too long; runs again at the time limit of the next one."""
        self._expiry = None
        for query, entry in sorted(self._waiting.items(), key=lambda each: each[1].queued_at):
            left = entry.queued_at + self._limits.wait_seconds - time.perf_counter()
            if left > 0:
                self._expiry = asyncio.get_running_loop().call_later(left, self._expire)
                return
            self._leave(query).resolve(Unavailable(": the request waited too long"))

"""Requests that wait together become one statement: the more ask, the less each one costs.

A query waits only while as many batches are in flight as may be, never for a clock: a lone one goes out in the same
turn of the event loop. A batch in flight is never joined, since its snapshot may be older than the request; so every
report comes from a snapshot that was taken after its request arrived.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Generic, TypeVar

import msgspec

from service.errors import ServiceError, TimedOut, Unavailable
from service.telemetry.metrics import WAITING
from service.telemetry.origin import Origin, origins

Query = TypeVar("Query", bound=Hashable)
Result = TypeVar("Result")

# Queries whose last result was large, the latest ones.
LARGE_QUERIES_KEPT = 10_000


class Outcome(msgspec.Struct, Generic[Result], frozen=True):
    """A result, and where its time went: waiting for a batch, and in the batch."""

    result: Result
    wait_seconds: float
    batch_seconds: float


@dataclass(slots=True)
class _Entry(Generic[Result]):
    """One query that waits or is in flight, and all who wait for it."""

    queued_at: float
    # The requests of each. It has a future of its own: one that leaves takes nothing along.
    waiters: dict[asyncio.Future[Result], tuple[Origin, ...]] = field(default_factory=dict)
    began_at: float = 0.0

    def succeed(self, result: Result) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(result)

    def fail(self, error: Exception) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)


@dataclass(frozen=True, slots=True)
class Limits:
    """`batches` in flight at once, `queries` in a batch, `waiters` that are not in flight yet, and for how long."""

    batches: int
    queries: int
    waiters: int
    wait_seconds: float


class Coalescer(Generic[Query, Result]):
    """Puts queries together for `run_batch`, which gives their results in order, or an error in place of one, or raises
    for all of them.

    Where queries have a `kind`, a batch holds one kind, and one batch of a kind is in flight: what arrives meanwhile
    waits for the next one, so the busier a kind is, the larger are its batches. A query whose last result `is_large`
    goes out alone, beside the others of its kind, and never twice at once: it holds up nobody else.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Query]], Awaitable[Sequence[Result | ServiceError]]],
        limits: Limits,
        is_large: Callable[[Result], bool] = lambda result: False,
        kind: Callable[[Query], Hashable] | None = None,
    ) -> None:
        self._run_batch = run_batch
        self._limits = limits
        self._is_large = is_large
        self._kind = kind
        self._kinds_in_flight: set[Hashable] = set()
        self._waiting: dict[Query, _Entry[Result]] = {}
        self._in_flight: set[Query] = set()
        self._large: dict[Query, None] = {}
        self._waiters = 0
        self._batches: set[asyncio.Task[None]] = set()
        self._is_starting = False
        self._expiry: asyncio.TimerHandle | None = None

    async def ask(self, query: Query) -> Outcome[Result]:
        """The result, from a batch that begins after this call.

        Raises Unavailable at once where too many wait, or after the longest wait; else whatever the query itself
        raises. A call that is cancelled takes its query back, unless others wait for it or it is in flight.
        """
        if self._waiters >= self._limits.waiters:
            raise Unavailable(": too many requests are waiting")
        asked_at = time.perf_counter()
        entry = self._waiting.get(query)
        if entry is None:
            entry = self._waiting[query] = _Entry(asked_at)
            self._start_soon()
        WAITING.inc()
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        entry.waiters[waiter] = origins.get()
        self._waiters += 1
        try:
            result = await waiter
        except asyncio.CancelledError:
            self._withdraw(query, entry, waiter)
            raise
        finally:
            WAITING.dec()
        return Outcome(result, max(0.0, entry.began_at - asked_at), time.perf_counter() - entry.began_at)

    def _withdraw(self, query: Query, entry: _Entry[Result], waiter: asyncio.Future[Result]) -> None:
        if self._waiting.get(query) is not entry:
            return
        del entry.waiters[waiter]
        self._waiters -= 1
        if not entry.waiters:
            del self._waiting[query]

    def _start_soon(self) -> None:
        # In the next turn of the loop, so that all requests of this turn come along.
        loop = asyncio.get_running_loop()
        if not self._is_starting and len(self._batches) < self._limits.batches:
            self._is_starting = True
            loop.call_soon(self._start)
        if self._expiry is None:
            self._expiry = loop.call_later(self._limits.wait_seconds, self._expire)

    def _start(self) -> None:
        self._is_starting = False
        while len(self._batches) < self._limits.batches:
            batch = {query: self._leave(query) for query in self._choose()}
            if not batch:
                return
            now = time.perf_counter()
            for entry in batch.values():
                entry.began_at = now
            self._in_flight.update(batch)
            # Before it runs: by then one of them may have become large.
            kinds = {self._kind(query) for query in batch if query not in self._large} if self._kind else set()
            self._kinds_in_flight |= kinds
            task = asyncio.create_task(self._run(batch))
            self._batches.add(task)
            task.add_done_callback(partial(self._end, batch, kinds))

    def _end(self, batch: dict[Query, _Entry[Result]], kinds: set[Hashable], task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        self._in_flight.difference_update(batch)
        self._kinds_in_flight -= kinds
        self._start()

    def _choose(self) -> list[Query]:
        """The next batch, the longest waiting first."""
        chosen: list[Query] = []
        chosen_kind: Hashable = None
        for query in self._waiting:
            if query in self._in_flight:
                continue
            if query in self._large:
                if not chosen:
                    return [query]
                continue
            kind = self._kind(query) if self._kind else None
            if kind in self._kinds_in_flight or (chosen and kind != chosen_kind):
                continue
            chosen.append(query)
            chosen_kind = kind
            if len(chosen) == self._limits.queries:
                break
        return chosen

    def _leave(self, query: Query) -> _Entry[Result]:
        entry = self._waiting.pop(query)
        self._waiters -= len(entry.waiters)
        return entry

    async def _run(self, batch: dict[Query, _Entry[Result]]) -> None:
        # A batch is a task of its own: it works for all who wait for it, not for the one who happened to start it.
        requests = (waiting for entry in batch.values() for waiting in entry.waiters.values())
        origins.set(tuple(chain.from_iterable(requests)))
        try:
            results = await self._run_batch(list(batch))
            for entry, result in zip(batch.values(), results, strict=True):
                if isinstance(result, ServiceError):
                    entry.fail(result)
                else:
                    entry.succeed(result)
            self._remember_large(batch, results)
        except Exception as error:  # noqa: BLE001 a fault of one query must not become everybody's
            # After an outage, asked again one by one, they would take as many times the time.
            if isinstance(error, Unavailable | TimedOut) or len(batch) == 1:
                for entry in batch.values():
                    entry.fail(error)
            else:
                # One of them is to blame, and nobody knows which: each is asked again, alone.
                await asyncio.gather(*(self._run({query: batch[query]}) for query in batch))

    def _remember_large(self, queries: Iterable[Query], results: Sequence[Result | ServiceError]) -> None:
        for query, result in zip(queries, results, strict=True):
            self._large.pop(query, None)
            if not isinstance(result, ServiceError) and self._is_large(result):
                self._large[query] = None
        while len(self._large) > LARGE_QUERIES_KEPT:
            del self._large[next(iter(self._large))]

    def _expire(self) -> None:
        """Refuses those who have waited too long; looks again when the next one's time is up."""
        self._expiry = None
        for query, entry in list(self._waiting.items()):
            left = entry.queued_at + self._limits.wait_seconds - time.perf_counter()
            if left > 0:
                self._expiry = asyncio.get_running_loop().call_later(left, self._expire)
                return
            self._leave(query).fail(Unavailable(": the request waited too long"))

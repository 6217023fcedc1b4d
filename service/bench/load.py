"""The load generator that is always there: keep-alive connections that ask again as soon as they are answered.

It runs in this process, on one core, and takes some 12 us a request from what the servers could use: so compare its
figures with each other, not with those of another generator.
"""

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import uvloop

from service.bench.sample import Sample, sample_of

# Load goes to this machine only.
HOST = "127.0.0.1"
# Of the answers, every so many is kept and looked at.
KEPT_EVERY = 101
# How long those may take that are still on their way at the end.
DRAIN_SECONDS = 60.0
RECONNECT_SECONDS = 0.05

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A port of this machine, and the complete HTTP/1.1 requests that are sent there in turn."""

    port: int
    requests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The body that the request of this number got."""

    number: int
    body: bytes


@dataclass(slots=True)
class Run:
    """The state that all connections of a round share. `answers` holds every `KEPT_EVERY`th, the first among them."""

    target: Target
    until: float
    most: int | None = None
    sent: int = 0
    open: int = 0
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    errors: int = 0
    latencies: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def is_over(self) -> bool:
        return time.perf_counter() >= self.until or (self.most is not None and self.sent >= self.most)


def drive(target: Target, connections: int, seconds: float, most: int | None = None) -> tuple[Sample, list[Answer]]:
    """One round, which ends after `seconds` or `most` requests. What comes later than that is awaited, not counted.

    Raises CommandError where nothing was answered.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(target, connections, seconds, most))


async def _drive(target: Target, connections: int, seconds: float, most: int | None) -> tuple[Sample, list[Answer]]:
    began = time.perf_counter()
    run = Run(target, began + seconds, most)
    await asyncio.gather(*(_connect(run) for _ in range(connections)))
    if most is None:
        await asyncio.sleep(run.until - time.perf_counter())
        took, in_time = time.perf_counter() - began, run.latencies.copy()
        await _drain(run, DRAIN_SECONDS)
    else:
        await _drain(run, seconds)
        took, in_time = time.perf_counter() - began, run.latencies
    return sample_of(in_time, run.errors, took), run.answers


async def _drain(run: Run, seconds: float) -> None:
    """Waits until nobody has anything on its way, so that the next round is not disturbed by it."""
    if not run.open:
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(run.drained.wait(), seconds)


async def _connect(run: Run) -> None:
    while not run.is_over():
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Connection(run), HOST, run.target.port)
            return
        except OSError:
            run.errors += 1
            await asyncio.sleep(RECONNECT_SECONDS)


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, sends the next."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._received = b""
        self._number = 0
        self._sent_at = 0.0
        # uvloop's transports are no subclass of asyncio's.
        self._transport: Any = None
        self._is_done = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.open += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head_end = received.find(b"\r\n\r\n") + 4
        if head_end < 4:
            self._received = received
            return
        length = _LENGTH.search(received, 0, head_end - 2)
        if length is None:
            # Without a length its end can't be told.
            self._fail()
        elif len(received) < head_end + int(length[1]):
            self._received = received
        else:
            self._received = b""
            self._answered(received, head_end)

    def connection_lost(self, error: Exception | None) -> None:
        run = self._run
        run.open -= 1
        if self._is_done:
            if not run.open:
                run.drained.set()
        else:
            run.errors += 1
            # Its reference is kept by the loop until it is done: it never waits for anything else.
            asyncio.ensure_future(_connect(run))  # noqa: RUF006

    def _answered(self, received: bytes, head_end: int) -> None:
        run = self._run
        if received[9:12] == b"200":
            run.latencies.append(time.perf_counter() - self._sent_at)
            if len(run.latencies) % KEPT_EVERY == 1 or run.most is not None:
                run.answers.append(Answer(self._number, received[head_end:]))
        else:
            run.errors += 1
        self._send()

    def _send(self) -> None:
        run = self._run
        if run.is_over():
            self._is_done = True
            self._transport.close()
            return
        self._number = run.sent % len(run.target.requests)
        run.sent += 1
        self._sent_at = time.perf_counter()
        self._transport.write(run.target.requests[self._number])

    def _fail(self) -> None:
        self._transport.abort()

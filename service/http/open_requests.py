"""The requests that are being worked on in this process: their deadlines, and what is left of them when it ends."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

# A process that ends waits until nothing was asked for so long, and until it has looked that often: on a busy machine
# the time may be over while requests wait to be read.
QUIET_SECONDS = 0.5
QUIET_LOOKS = 3
LOOK_SECONDS = 0.05


class OpenRequests:
    """All have the same time limit, so they end in the order in which they began, and one timer is enough for all.

    (`asyncio.timeout` has one for each: 10 of the 110 us that a request took outside the database.)
    """

    def __init__(self, time_limit_ms: int) -> None:
        self.is_draining = False
        """From now on each response closes its connection."""
        self.time_limit_ms = time_limit_ms
        self._limit_seconds = time_limit_ms / 1000
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ended_at = 0.0

    def begin(self) -> asyncio.Task[Any]:
        """Counts the current task as a request, and returns it for `end`. It is cancelled at its deadline."""
        task = _current()
        self._deadlines[task] = time.monotonic() + self._limit_seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limit_seconds, self._expire)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Only the response is left to be sent; to end twice changes nothing."""
        self._deadlines.pop(task, None)
        self._ended_at = time.monotonic()

    def has_expired(self) -> bool:
        """After a CancelledError: whether it was the deadline, which is then done with."""
        task = _current()
        if task not in self._expired:
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

    async def drain(self, longest_seconds: float, then: Callable[[], None]) -> None:
        """Lets each response close its connection until nobody asks any more, or the longest time is over.

        A server that is told to end closes idle connections at once, and loses what was just on its way on them.
        """
        self.is_draining = True
        until = time.monotonic() + longest_seconds
        quiet_looks = 0
        while time.monotonic() < until and quiet_looks < QUIET_LOOKS:
            await asyncio.sleep(LOOK_SECONDS)
            is_quiet = not self._deadlines and time.monotonic() - self._ended_at > QUIET_SECONDS
            quiet_looks = quiet_looks + 1 if is_quiet else 0
        then()


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task

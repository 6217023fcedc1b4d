"""The open requests of this process and their deadlines."""

import asyncio
import time
from typing import Any


class OpenRequests:
    """All have the same time limit, so they end in the order in which they began, and one timer is enough for all.

    (`asyncio.timeout` has one for each: 10 of the 110 us that a request took outside the database.)
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
        """Sets the deadline of the current task, which is cancelled then. Returns the task for `end`."""
        task = asyncio.current_task()
        assert task is not None
        self._deadlines[task] = time.monotonic() + self._limit_seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limit_seconds, self._expire)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Takes the deadline off the task; sending the response has none. Changes nothing the second time."""
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

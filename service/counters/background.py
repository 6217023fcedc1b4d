"""Work that the service repeats in the background, and what it keeps of that in `queuestats.background_tasks`."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.db import WRITING, Database, in_words, load_statement
from service.errors import ServiceError
from service.telemetry.logs import format_frames

logger = logging.getLogger(__name__)

ERROR_PAUSE_SECONDS = 2.0
# Until a process looks again whether another one is still at it.
BUSY_PAUSE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.05
NOTE_SECONDS = 10.0


class Notes:
    """Keeps in the database whether a task succeeds: at once when that changes, else every ten seconds."""

    def __init__(self, database: Database, task: str) -> None:
        self._database, self._task = database, task
        self._error: str | None = None
        self._next_at = -float("inf")

    async def keep(self, error: str | None) -> None:
        """`error`: why it failed; None where it succeeded. What can't be written is not kept."""
        if error == self._error and time.monotonic() < self._next_at:
            return
        self._error, self._next_at = error, time.monotonic() + NOTE_SECONDS
        with suppress(ServiceError):
            await self._database.fetch(load_statement("queries/note_task"), WRITING, task=self._task, error=error)


async def repeat(
    name: str,
    work: Callable[[], Awaitable[float | None]],
    error_pause_seconds: float = ERROR_PAUSE_SECONDS,
    notes: Notes | None = None,
) -> None:
    """Does the work again and again; a failure does not end it.

    `work` returns the pause in seconds until the next time, or None where another process was at it.
    """
    while True:
        done, pause, error = None, error_pause_seconds, None
        try:
            done = await work()
        except ServiceError as failure:
            error = in_words(failure)
        except Exception as failure:  # noqa: BLE001 the next time it may succeed
            error = type(failure).__name__
            logger.error("%s failed error=%s", name, format_frames(failure))
        else:
            pause = BUSY_PAUSE_SECONDS if done is None else done
        if notes and (error or done is not None):
            await notes.keep(error)
        await asyncio.sleep(pause)


def next_pause(pause_seconds: float, done: int, aim: int, longest_seconds: float) -> float:
    """Halves the pause after much work and doubles it after little, between the shortest and the longest pause."""
    factor = 0.5 if done > aim else 2 if done < aim / 4 else 1
    return min(longest_seconds, max(SHORTEST_PAUSE_SECONDS, pause_seconds * factor))

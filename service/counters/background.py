"""Work that the service repeats in the background, and its records in `queuestats.background_tasks`."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from service.cluster import Node, find_topology
from service.db import WRITING, Database, in_words, load_statement
from service.errors import ServiceError
from service.telemetry.logs import format_frames

logger = logging.getLogger(__name__)

ERROR_PAUSE_SECONDS = 2.0
# The pause before a process checks again whether another one is still running the task.
BUSY_PAUSE_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS = 0.05
NOTE_SECONDS = 10.0
# A new node of a cluster waits for up to this time.
NODES_CHECK_SECONDS = 10.0


class Notes:
    """Records in the database whether a task succeeds: at once after a change, otherwise every ten seconds."""

    def __init__(self, database: Database, task: str) -> None:
        self._database, self._task = database, task
        self._error: str | None = None
        self._next_at = -float("inf")

    async def keep(self, error: str | None) -> None:
        """`error`: the cause of a failure; None for a success. A record that can't be written is dropped."""
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
    """Repeats the work; a failure does not end the repetition.

    `work` returns the pause in seconds before the next run, or None if another process was running it.
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


async def work_on_nodes(database: Database, *works: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    """Runs the tasks on each node as long as the node belongs to the cluster."""
    tasks: dict[Node, list[asyncio.Task[None]]] = {}

    async def follow_nodes() -> float:
        nodes = await (await find_topology(database)).nodes()
        for node in set(nodes) - tasks.keys():
            tasks[node] = [group.create_task(work(node)) for work in works]
        for node in tasks.keys() - set(nodes):
            for task in tasks.pop(node):
                task.cancel()
        return NODES_CHECK_SECONDS

    async with asyncio.TaskGroup() as group:
        await repeat("looking for nodes", follow_nodes)


def notes_of(node: Node, task: str) -> Notes | None:
    return Notes(node.database, task) if node.keeps_notes else None


def next_pause(pause_seconds: float, done: int, aim: int, longest_seconds: float) -> float:
    """Halves the pause after much work and doubles it after little work, within the two limits."""
    factor = 0.5 if done > aim else 2 if done < aim / 4 else 1
    return min(longest_seconds, max(SHORTEST_PAUSE_SECONDS, pause_seconds * factor))

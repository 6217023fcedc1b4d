"""Folding while the service runs: pending deltas go into the counters, by one process at a time, without end.

The database decides who folds (its lock lasts as long as the folding transaction), so any number of instances may run
this, and any of them may die at any moment. Nothing here is needed for exactness, only for speed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from service.cluster.shards import nodes_of
from service.db import Database, load_statement
from service.errors import CommandError, ServiceError, TimedOut
from service.telemetry.metrics import FOLDED_AT

logger = logging.getLogger(__name__)

MAX_DELTAS = 20_000
# To move a counter takes about half as long as to fold a delta.
COUNTERS_PER_DELTA = 2
LEAST_MAX_DELTAS = 100
# About so many deltas of a sender are folded before its watermark lets readers skip them.
MARK_EVERY_DELTAS = 4000.0
COMPACT_AFTER = timedelta(seconds=10)
# Between folds: the shorter, the more there was to fold. A busy sender's readers should find less than 1,000 pending.
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
AIM_DELTAS = 500
# After an error, and between looks at what slows readers down.
ERROR_PAUSE_SECONDS = 2.0
# Between looks which nodes a cluster has, and what has to be counted.
NODES_SECONDS = 10.0
COUNT_SECONDS = 1.0
WATCH_SECONDS = 30.0
OLD_SNAPSHOT_TRANSACTIONS = 200_000
PILED_UP_DELTAS = 20_000


async def fold_forever(database: Database) -> None:
    """Folds, and compacts in between, until it is cancelled. A database out of reach is waited for.

    Of a distributed queue each node is folded on its own, over a connection to it: one that is away stops no other.
    """
    await _work_on_nodes(database, _fold_forever)


async def count_forever(database: Database) -> None:
    """Counts anew what the counters do not hold, until it is cancelled: all messages, where partitions came or went or
    a trigger was switched off; of a distributed queue the shards that have come to a node by a move.

    A count takes as long as it takes, so `database` has a long limit of time, and no fold waits for its connection.
    """
    await _work_on_nodes(database, _count_forever)


async def _work_on_nodes(database: Database, work: Callable[[Database, bool], Coroutine[Any, Any, None]]) -> None:
    """Does the work on each node of a cluster, as long as it is one; else on the database, with False."""
    at_work: dict[Database, asyncio.Task[None]] = {}
    try:
        while True:
            pause = ERROR_PAUSE_SECONDS
            try:
                nodes = await nodes_of(database)
                for each in nodes or [database]:
                    if each not in at_work:
                        at_work[each] = asyncio.create_task(work(each, bool(nodes)))
                for gone in at_work.keys() - set(nodes or [database]):
                    at_work.pop(gone).cancel()
                pause = NODES_SECONDS
            except ServiceError:
                pass
            except Exception as error:  # noqa: BLE001 the next look may succeed, and it must not end
                logger.error("looking for nodes failed error=%s", type(error).__name__)
            await asyncio.sleep(pause)
    finally:
        for task in at_work.values():
            task.cancel()
        await asyncio.gather(*at_work.values(), return_exceptions=True)


async def _fold_forever(database: Database, is_node: bool) -> None:
    statements = "queries/citus" if is_node else "queries"
    watcher = asyncio.create_task(_watch_forever(database, statements))
    folder = Folder(database, statements)
    pause = LONGEST_PAUSE_SECONDS
    next_compact_at = 0.0
    try:
        while True:
            try:
                done = await folder.fold()
                folded, is_more = done or (0, False)
                if done is not None and not is_more:
                    FOLDED_AT.set_to_current_time()
                # After a fold, never twice in a row: to move a large epoch may take many turns.
                if time.monotonic() >= next_compact_at and not await folder.compact():
                    next_compact_at = time.monotonic() + COMPACT_AFTER.total_seconds()
                pause = 0 if is_more else next_pause(pause, folded)
            except ServiceError:
                pause = ERROR_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 the counters stay exact without it, and it must not end
                logger.error("fold failed error=%s", type(error).__name__)
                pause = ERROR_PAUSE_SECONDS
            await asyncio.sleep(pause)
    finally:
        watcher.cancel()


class Folder:
    """Folds and compacts as much at once as the database does within its time limit."""

    def __init__(self, database: Database, statements: str = "queries") -> None:
        self._database = database
        self._statements = statements
        self.max_deltas = MAX_DELTAS

    async def fold(self) -> tuple[int, bool] | None:
        """One fold: how many deltas went into the counters, and whether there is more to do.

        None while another is at work. One that took too long is undone, and the next one does half as much.
        Raises Unavailable, or TimedOut where that is as little as can be.
        """
        return await self._do_within_limit("fold", max_deltas=self.max_deltas, mark_every=MARK_EVERY_DELTAS)

    async def compact(self) -> bool:
        """Compacts epochs that are older than `COMPACT_AFTER`: whether there is more to do. Raises as `fold`."""
        max_counters = COUNTERS_PER_DELTA * self.max_deltas
        done = await self._do_within_limit("compact", max_counters=max_counters, compact_after=COMPACT_AFTER)
        return done is not None and done[1]

    async def fold_all(self) -> int:
        """Until nothing is pending: how many deltas that were. Raises as `fold` does, and CommandError where another
        fold is at work."""
        total, is_more = 0, True
        while is_more:
            done = await self.fold()
            if done is None:
                raise CommandError("Another fold is at work.")
            total, is_more = total + done[0], done[1]
        return total

    async def _do_within_limit(self, name: str, **parameters: Any) -> tuple[int, bool] | None:
        try:
            rows = await self._database.fetch_writing(load_statement(f"{self._statements}/{name}"), **parameters)
        except TimedOut:
            if self.max_deltas == LEAST_MAX_DELTAS:
                raise
            self.max_deltas = max(LEAST_MAX_DELTAS, self.max_deltas // 2)
            return 0, True
        self.max_deltas = min(MAX_DELTAS, self.max_deltas * 5 // 4)
        return tuple(rows[0]) if rows else None


def next_pause(pause_seconds: float, folded: int) -> float:
    """Half the pause after a large fold, twice after a small one, within the bounds."""
    wanted = (
        pause_seconds / 2 if folded > AIM_DELTAS else pause_seconds * 2 if folded < AIM_DELTAS / 4 else pause_seconds
    )
    return min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, wanted))


async def _count_forever(database: Database, is_node: bool) -> None:
    statement = load_statement("queries/citus/settle" if is_node else "queries/recount")
    while True:
        try:
            ((done,),) = await database.fetch_long(statement)
            if done:
                logger.info("cluster: %s", done) if is_node else logger.warning("every message was counted anew")
                continue
        except ServiceError:
            pass
        except Exception as error:  # noqa: BLE001 the next look may succeed, and it must not end
            logger.error("counting failed error=%s", type(error).__name__)
        await asyncio.sleep(COUNT_SECONDS)


async def _watch_forever(database: Database, statements: str) -> None:
    """Warns of what makes readers slower, in words for the one who can mend it."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            (seen,) = await database.fetch(load_statement(f"{statements}/watch"), most_deltas=PILED_UP_DELTAS)
        except Exception:  # noqa: BLE001, S112 the folding itself reports what is wrong with the database
            continue
        if seen["oldest_snapshot_transactions"] > OLD_SNAPSHOT_TRANSACTIONS:
            logger.warning(
                "an old snapshot keeps dead rows from being vacuumed and slows reads holder=%r age_transactions=%s",
                seen["oldest_snapshot_holder"],
                seen["oldest_snapshot_transactions"],
            )
        if seen["pending_deltas"] >= PILED_UP_DELTAS:
            logger.warning("deltas pile up faster than they are folded pending_at_least=%s", PILED_UP_DELTAS)

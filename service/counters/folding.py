"""Folds while the service runs: one process at a time moves pending deltas into the counters.

A lock in the database, which lasts as long as the transaction, determines which process folds. So any number of
instances may run this, and any of them may die at any time. The counts are exact without folds, but reads are slower.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from service.cluster import Node
from service.counters.background import next_pause, notes_of, repeat, work_on_nodes
from service.counters.raising import Raiser
from service.db import WRITING, Database
from service.errors import CommandError, TimedOut
from service.telemetry.metrics import FOLDED_AT

logger = logging.getLogger(__name__)

MAX_DELTAS = 20_000
LEAST_MAX_DELTAS = 100
# Moving a counter takes about half as long as folding a delta.
COUNTERS_PER_DELTA = 2
# The number of folded deltas of a sender after which it gets a watermark, with which readers skip them.
MARK_EVERY_DELTAS = 4000.0
COMPACT_AFTER = timedelta(seconds=10)
# The history is rolled up at the end of each minute. Until then, its readers add up the recorded changes.
ROLL_UP_SECONDS = 5.0
# The time for which each step of the history is kept: the defaults of the settings.
KEPT = {
    "kept_by_minute": timedelta(days=1),
    "kept_by_ten_minutes": timedelta(days=7),
    "kept_by_hour": timedelta(days=90),
}
# Raising the bounds of a sender takes about a hundred times as long as folding a delta.
DELTAS_PER_BOUND = 100
# The pause between folds; shorter after larger folds. Readers should find fewer than 1,000 pending deltas of a sender.
LONGEST_PAUSE_SECONDS = 1.0
AIM_DELTAS = 500
COUNT_PAUSE_SECONDS = 1.0
SLOWDOWN_CHECK_SECONDS = 30.0
OLD_SNAPSHOT_TRANSACTIONS = 200_000
PILED_UP_DELTAS = 20_000


async def fold_forever(database: Database, kept: Mapping[str, timedelta] = KEPT) -> None:
    """Folds, compacts and rolls up the history until cancelled. An unreachable node does not stop the other nodes.

    `kept`: the time for which the history is kept, by the names of KEPT.
    """
    await work_on_nodes(
        database,
        lambda node: repeat("fold", Folder(node, kept).take_turn, notes=notes_of(node, "fold")),
        _warn_of_slowdown,
    )


async def count_forever(database: Database, proof_percent: float = 0) -> None:
    """Recounts until it is cancelled: all messages after a change of partitions or a disabled trigger; senders with
    drift; shards that were moved to a node. Between recounts it audits a few senders, for the given share of the time.
    `database` has a long time limit, which a recount needs.
    """
    await work_on_nodes(
        database,
        lambda node: repeat("count", partial(_maintain, node, proof_percent / 100), notes=notes_of(node, "count")),
    )


async def _maintain(node: Node, share: float) -> float:
    if await node.count():
        return 0
    if share:
        await node.prove(share)
    return COUNT_PAUSE_SECONDS


class Folder:
    """Folds, compacts and rolls up. It adapts the amount of work per statement to the time limit."""

    def __init__(self, node: Node, kept: Mapping[str, timedelta] = KEPT) -> None:
        self._node, self._kept = node, kept
        self._pause_seconds = LONGEST_PAUSE_SECONDS
        self._next_compact_at = self._next_roll_up_at = self._next_raise_at = 0.0
        self._raiser = Raiser(partial(self._run_within_limit, "raise_bounds"))
        self.max_deltas = MAX_DELTAS

    async def take_turn(self) -> float | None:
        """Folds. Compacts, rolls up and raises bounds when these are due.

        Returns the pause in seconds before the next turn, or None if another fold is running.
        """
        if not (done := await self.fold()):
            return None
        folded, is_more = done
        if not is_more:
            FOLDED_AT.set_to_current_time()
        # After a fold, never twice in a row, because a large epoch may take many turns.
        if time.monotonic() >= self._next_compact_at and not await self.compact():
            self._next_compact_at = time.monotonic() + COMPACT_AFTER.total_seconds()
        if time.monotonic() >= self._next_roll_up_at and not await self.roll_up():
            self._next_roll_up_at = time.monotonic() + ROLL_UP_SECONDS
        if time.monotonic() >= self._next_raise_at:
            self._next_raise_at = await self.raise_bounds() + time.monotonic()
        pause_seconds = next_pause(self._pause_seconds, folded, AIM_DELTAS, LONGEST_PAUSE_SECONDS)
        self._pause_seconds = 0 if is_more else pause_seconds
        return min(self._pause_seconds, max(0.0, self._next_raise_at - time.monotonic()))

    async def fold(self) -> tuple[int, bool] | None:
        """The number of folded deltas, and whether there is more to do; None while another fold is running.

        A fold that took too long is rolled back, and the next fold is half as large. Raises Unavailable, or TimedOut if
        the smallest fold takes too long.
        """
        return await self._run_within_limit("fold", max_deltas=self.max_deltas, mark_every=MARK_EVERY_DELTAS)

    async def compact(self) -> bool:
        """Compacts epochs older than `COMPACT_AFTER`. Returns whether there is more to do. Raises as `fold`."""
        max_counters = COUNTERS_PER_DELTA * self.max_deltas
        done = await self._run_within_limit("compact", max_counters=max_counters, compact_after=COMPACT_AFTER)
        return done is not None and done[1]

    async def roll_up(self) -> bool:
        """Rolls up a part of the history. Returns whether there is more to do. Raises as `fold`."""
        done = await self._run_within_limit("roll_up_history", max_changes=self.max_deltas, **self._kept)
        return done is not None and done[1]

    async def raise_bounds(self) -> float:
        """Raises some of the earliest bounds that are too early. Returns the pause before the next turn.

        Raises as `fold`.
        """
        return await self._raiser.take_turn(self.max_deltas // DELTAS_PER_BOUND)

    async def fold_all(self) -> int:
        """Folds all pending deltas; returns their number. Raises as `fold`, and CommandError if another fold runs."""
        total = 0
        while done := await self.fold():
            folded, is_more = done
            total += folded
            if not is_more:
                return total
        raise CommandError("Another fold is running.")

    async def _run_within_limit(self, name: str, **parameters: Any) -> tuple[Any, ...] | None:
        try:
            rows = await self._node.fetch(self._node.statement(name), WRITING, **parameters)
        except TimedOut:
            if self.max_deltas == LEAST_MAX_DELTAS:
                raise
            self.max_deltas = max(LEAST_MAX_DELTAS, self.max_deltas // 2)
            return 0, True
        self.max_deltas = min(MAX_DELTAS, self.max_deltas * 5 // 4)
        return tuple(rows[0]) if rows else None


async def _warn_of_slowdown(node: Node) -> None:
    """Warns of conditions that slow down readers."""
    while True:
        await asyncio.sleep(SLOWDOWN_CHECK_SECONDS)
        try:
            (seen,) = await node.fetch(node.statement("watch"), most_deltas=PILED_UP_DELTAS)
        except Exception:  # noqa: BLE001, S112 the fold reports errors of the database
            continue
        if seen["oldest_snapshot_transactions"] > OLD_SNAPSHOT_TRANSACTIONS:
            line = "an old snapshot keeps dead rows from being vacuumed and slows reads holder=%r age_transactions=%s"
            logger.warning(line, seen["oldest_snapshot_holder"], seen["oldest_snapshot_transactions"])
        if seen["pending_deltas"] >= PILED_UP_DELTAS:
            logger.warning("deltas pile up faster than they are folded pending_at_least=%s", PILED_UP_DELTAS)

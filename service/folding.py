"""Folding while the service runs: pending deltas go into the counters, by one process at a time, without end.

The database decides who folds (its lock lasts as long as the folding transaction), so any number of instances may run
this, and any of them may die at any moment. Nothing here is needed for exactness, only for speed.
"""

import asyncio
import logging
import time
from datetime import timedelta

from service.db import Database, statement
from service.errors import ServiceError

logger = logging.getLogger(__name__)

MAX_DELTAS = 20_000
# About so many deltas of a sender are folded before its readers are told to skip them.
MARK_EVERY_DELTAS = 4000.0
ROLL_AFTER = timedelta(seconds=10)
# Between folds: the shorter, the more there was to fold. A busy sender's readers should find less than 1,000 pending.
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
AIM_DELTAS = 500
# After an error, and between looks at what slows readers down.
ERROR_PAUSE_SECONDS = 2.0
WATCH_SECONDS = 30.0
OLD_SNAPSHOT_TRANSACTIONS = 200_000
PILED_UP_DELTAS = 20_000


async def fold_forever(database: Database) -> None:
    """Folds until it is cancelled. A database out of reach is waited for."""
    watcher = asyncio.create_task(_watch_forever(database))
    pause = LONGEST_PAUSE_SECONDS
    next_roll_at = 0.0
    try:
        while True:
            is_rolling = time.monotonic() >= next_roll_at
            try:
                folded, is_more = await fold(database, is_rolling=is_rolling)
                if is_rolling:
                    next_roll_at = time.monotonic() + ROLL_AFTER.total_seconds()
                pause = 0 if is_more else next_pause(pause, folded)
            except ServiceError:
                pause = ERROR_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 the counters stay exact without it, and it must not end
                logger.error("fold failed error=%s", type(error).__name__)
                pause = ERROR_PAUSE_SECONDS
            await asyncio.sleep(pause)
    finally:
        watcher.cancel()


async def fold(database: Database, *, is_rolling: bool = True) -> tuple[int, bool]:
    """One fold: how many deltas went into the counters, and whether more wait. Nothing while another one folds.

    With `is_rolling`, hot senders whose last roll is `ROLL_AFTER` ago are rolled too. Raises Unavailable or TimedOut.
    """
    rows = await database.fetch(
        statement("queries/fold"),
        max_deltas=MAX_DELTAS,
        mark_every=MARK_EVERY_DELTAS,
        roll_after=ROLL_AFTER if is_rolling else None,
    )
    return (rows[0]["folded"], rows[0]["is_more"]) if rows else (0, False)


def next_pause(pause_seconds: float, folded: int) -> float:
    """Half the pause after a large fold, twice after a small one, within the bounds."""
    wanted = (
        pause_seconds / 2 if folded > AIM_DELTAS else pause_seconds * 2 if folded < AIM_DELTAS / 4 else pause_seconds
    )
    return min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, wanted))


async def _watch_forever(database: Database) -> None:
    """Warns of what makes readers slower, in words for the one who can mend it."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            (seen,) = await database.fetch(statement("queries/watch"), most_deltas=PILED_UP_DELTAS)
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

"""The data set of `queuestats bench sql`: queues of several sizes in one table, with the same rows in their reports."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.bench.scratch import TABLES, execute, vacuum
from service.counters.folding import Folder
from service.db import Database, connect, statement
from service.seed import Profile, SeedPlan, seed
from service.settings import Settings

FRESH, CHURNED, PENDING = "fresh", "churned", "1,000 deltas pending"
CHURNED_SLICES = range(0, 100, 10)
PENDING_DELTAS = 1000


@dataclass(frozen=True, slots=True)
class Queue:
    """A sender, and how many messages are in its queue."""

    sender_id: int
    messages: int


async def fill(connection: Any, sizes: Sequence[int], seed_number: int) -> list[Queue]:
    """The queues, the longest first. Messages that were in the table before are lost.

    The longest is a data set of the profile `single`. Each shorter one is a sample of it: every n-th message, with
    another sender.
    """
    longest, *shorter = sorted(set(sizes), reverse=True)
    plan = SeedPlan(longest, 1, seed_number, Profile.SINGLE)
    await seed(connection, plan, lambda done: None, replace=True)
    queues = [Queue(1, longest)]
    for sender_id, size in enumerate(shorter, 2):
        step = longest // size
        await execute(connection, "bench/sample", from_sender_id=1, sender_id=sender_id, step=step)
        queues.append(Queue(sender_id, longest // step))
    return queues


async def states(settings: Settings, queue: Queue) -> AsyncIterator[str]:
    """Brings the table into one state after the other, and gives its name.

    Fresh: vacuumed and folded. Churned: a tenth of the messages has changed status, all is folded, nothing is vacuumed.
    The last one: 1,000 deltas of the given queue are not folded.
    """
    url = settings.owner_url or ""
    async with connect(url) as connection:
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        try:
            await fold_all(settings)
            await vacuum(connection)
            yield FRESH
            for number in CHURNED_SLICES:
                await execute(connection, "bench/churn", slice=number)
            await fold_all(settings)
            yield CHURNED
            toggle, step = statement("bench/toggle"), max(1, queue.messages // PENDING_DELTAS)
            ids = [(1 + number * step % queue.messages,) for number in range(PENDING_DELTAS)]
            await connection.executemany(toggle.sql, ids)
            yield PENDING
        finally:
            for table in TABLES:
                await connection.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")


async def fold_all(settings: Settings) -> None:
    """Until no delta is pending."""
    async with Database.from_settings(settings, settings.owner_url or "", pool_size=1) as database:
        await Folder(database).fold_all()

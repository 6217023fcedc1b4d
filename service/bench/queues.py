"""The data set of `queuestats bench sql`: one long queue, and shorter ones with the same answer rows beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.bench.candidates import index_files
from service.bench.ground import Ground
from service.bench.rounds import Tell
from service.counters.folding import Folder
from service.db import Database, connect, statement
from service.seed import Profile, SeedPlan, seed

CHURNED_PERCENT = 10
# The slices of sql/bench/churn.sql.
SLICES = 100
# While these stand, no vacuum mends what was churned.
HOLD_VACUUM = "ALTER TABLE messages SET (autovacuum_enabled = off)"
LET_VACUUM = "ALTER TABLE messages RESET (autovacuum_enabled)"


@dataclass(frozen=True, slots=True)
class Queue:
    """A sender, and how many messages are in its queue."""

    sender_id: int
    messages: int


async def fill(ground: Ground, sizes: tuple[int, ...], seed_number: int, tell: Tell) -> list[Queue]:
    """The queues, the longest first. The longest is a data set of the profile `single`; what was there is gone.

    The shorter ones are every so many of its messages, so they have the same accounts, campaigns and ISPs as long as
    there are messages enough.
    """
    longest, *shorter = sorted(set(sizes), reverse=True)
    async with connect(ground.owner_url) as connection:
        tell(f"Seeding a queue of {longest:,} messages")
        plan = SeedPlan(longest, 1, seed_number, Profile.SINGLE)
        seconds = await seed(connection, plan, lambda done: None, replace=True)
        tell(f"Seeded in {seconds:.0f} s")
        queues = [Queue(1, longest)]
        for sender_id, size in enumerate(shorter, 2):
            step = longest // size
            tell(f"Copying every {step:,}th into a queue of {longest // step:,}")
            await run(connection, "bench/thin", from_sender_id=1, sender_id=sender_id, step=step)
            queues.append(Queue(sender_id, longest // step))
    return queues


async def freshen(ground: Ground, tell: Tell) -> None:
    """Every candidate's indexes, all deltas folded, everything vacuumed and analysed; from here on no autovacuum."""
    tell("Making the candidates' indexes")
    await ground.execute(*index_files("create"))
    await fold_all(ground)
    tell("Vacuuming")
    async with connect(ground.owner_url) as connection:
        await connection.execute(HOLD_VACUUM)
        for table in ("messages", "counters", "deltas", "watermarks"):
            await connection.execute(f"VACUUM (ANALYZE) {table}")
    await ground.checkpoint()


async def churn(ground: Ground, tell: Tell) -> None:
    """A tenth of the messages changes status; what that leaves pending is folded, as it is while the service runs."""
    tell(f"Changing the status of {CHURNED_PERCENT} % of the messages")
    async with connect(ground.owner_url) as connection:
        for slice_ in range(0, SLICES, SLICES // CHURNED_PERCENT):
            await run(connection, "bench/churn", slice=slice_)
    await fold_all(ground)


async def tidy_up(ground: Ground) -> None:
    async with connect(ground.owner_url) as connection:
        await connection.execute(LET_VACUUM)
    await ground.execute(*index_files("drop"))


async def fold_all(ground: Ground) -> None:
    """Until nothing is pending. Raises what the database raises."""
    async with Database.from_settings(ground.settings, ground.owner_url, pool_size=1) as database:
        await Folder(database).fold_all()


async def pile_up(connection: Any, queue: Queue, deltas: int) -> None:
    """So many pending deltas more, each by a statement of its own."""
    asked = statement("bench/toggle")
    step = max(1, queue.messages // max(1, deltas))
    await connection.executemany(asked.sql, [(1 + number * step % queue.messages,) for number in range(deltas)])


async def sizes_in_bytes(connection: Any) -> Mapping[str, int]:
    """The table of messages and each of its indexes, the biggest first."""
    return dict(await connection.fetch(statement("bench/sizes").sql))


async def run(connection: Any, name: str, **values: Any) -> None:
    """One statement, for as long as it takes."""
    asked = statement(name)
    await connection.execute(asked.sql, *asked.bind(values))

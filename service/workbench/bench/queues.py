"""The data set of `queuestats bench sql`: queues of several sizes in one table, with the same rows in their reports."""

from collections.abc import AsyncIterator, Sequence

from service.cluster import Node
from service.counters.folding import Folder
from service.db import Connection, Database, fetch, load_statement
from service.settings import Settings
from service.workbench.bench.scratch import vacuum
from service.workbench.seed import Profile, SeedPlan, seed

CHURNED_SLICES = range(0, 100, 10)
PENDING_DELTAS = 1000


async def fill(connection: Connection, sizes: Sequence[int], seed_number: int) -> dict[int, int]:
    """The messages of each sender, the longest queue first. Messages that were in the table before are lost.

    The longest is a data set of the profile `single`. Each shorter one is a sample of it: every n-th message, with
    another sender.
    """
    longest, *shorter = sorted(set(sizes), reverse=True)
    await seed(connection, SeedPlan(longest, 1, seed_number, Profile.SINGLE), replace=True)
    queues = {1: longest}
    for sender_id, size in enumerate(shorter, 2):
        step = longest // size
        await fetch(connection, "bench/sample", from_sender_id=1, sender_id=sender_id, step=step)
        queues[sender_id] = longest // step
    return queues


async def states(connection: Connection, settings: Settings, longest: int) -> AsyncIterator[str]:
    """Brings the table into one state after the other, and gives its name. `longest`: the messages of sender 1.

    Fresh: vacuumed and folded. Churned: a tenth of the messages has changed status, all is folded, nothing is vacuumed.
    The last one: 1,000 deltas of sender 1 are not folded.
    """
    await _fold_all(settings)
    await vacuum(connection)
    yield "fresh"
    for number in CHURNED_SLICES:
        await fetch(connection, "bench/churn", slice=number)
    await _fold_all(settings)
    yield "churned"
    step = max(1, longest // PENDING_DELTAS)
    ids = [(1 + number * step % longest,) for number in range(PENDING_DELTAS)]
    await connection.executemany(load_statement("bench/toggle").sql, ids)
    yield "1,000 deltas pending"


async def _fold_all(settings: Settings) -> None:
    async with Database(settings, settings.owner_url or "", pool_size=1) as database:
        await Folder(Node(database)).fold_all()

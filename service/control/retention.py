"""Deletes old jobs and old entries of the audit log. sql/control/prune.sql lists the exceptions."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from service.cluster import find_topology
from service.counters.background import repeat
from service.db import WRITING, Connection, Database, fetch
from service.errors import CommandError

# The pause between two runs, and between two steps while there is more to delete.
LOOK_SECONDS = 3600.0
STEP_SECONDS = 1.0
# The database refuses a shorter time to the service's role.
LEAST_DAYS = 30


async def prune_forever(database: Database, days: int) -> None:
    """Deletes rows older than this many days in steps, until it is cancelled. 0 deletes nothing."""
    older_than = timedelta(days=max(days, LEAST_DAYS))

    async def step() -> float | None:
        keepers = await (await find_topology(database)).keepers()
        prunes = [node.fetch(node.statement("control/prune"), WRITING, older_than=older_than) for node in keepers]
        rows = [row for rows in await asyncio.gather(*prunes) for row in rows]
        if not rows:
            return None
        return STEP_SECONDS if any(sum(row) for row in rows) else LOOK_SECONDS

    if days:
        await repeat("prune", step, LOOK_SECONDS)


async def count_prunable(
    connection: Connection, older_than: timedelta, places: Mapping[str, str] | None = None
) -> dict[str, int]:
    """The number of rows of each table that `prune` would delete. `places`: those of the statements."""
    (row,) = await fetch(connection, "queries/control/prunable", places, older_than=older_than)
    return dict(row)


async def prune(
    connection: Connection, older_than: timedelta, places: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Deletes all older rows, in a transaction per step. Returns the number by table. `connection` is the owner's.

    Raises CommandError while another prune is running.
    """
    deleted: Counter[str] = Counter()
    while rows := await fetch(connection, "queries/control/prune", places, older_than=older_than):
        deleted.update(dict(rows[0]))
        if not sum(rows[0]):
            return dict(deleted)
    raise CommandError("Another prune is running: run the command again when it has ended.")

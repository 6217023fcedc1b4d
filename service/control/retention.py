"""Deletes old jobs and entries of the audit log, with what belongs to them: sql/control/prune.sql says what is kept."""

from collections import Counter
from datetime import timedelta

from service.counters.background import repeat
from service.db import WRITING, Connection, Database, fetch, load_statement
from service.errors import CommandError

# Between two looks, and between two steps while there is more to delete.
LOOK_SECONDS = 3600.0
STEP_SECONDS = 1.0
# The database refuses less to the service's role.
LEAST_DAYS = 30


async def prune_forever(database: Database, days: int) -> None:
    """Deletes in steps what is older than so many days, until it is cancelled. 0 deletes nothing."""
    older_than = timedelta(days=max(days, LEAST_DAYS))

    async def step() -> float | None:
        rows = await database.fetch(load_statement("queries/control/prune"), WRITING, older_than=older_than)
        if not rows:
            return None
        return STEP_SECONDS if any(sum(row) for row in rows) else LOOK_SECONDS

    if days:
        await repeat("prune", step, LOOK_SECONDS)


async def count_prunable(connection: Connection, older_than: timedelta) -> dict[str, int]:
    """How many rows of each table `prune` would delete."""
    (row,) = await fetch(connection, "queries/control/prunable", older_than=older_than)
    return dict(row)


async def prune(connection: Connection, older_than: timedelta) -> dict[str, int]:
    """Deletes all that is so old, a transaction for each step; how many rows of each table. `connection`: the owner's.

    Raises CommandError while another prune is at work.
    """
    deleted: Counter[str] = Counter()
    while rows := await fetch(connection, "queries/control/prune", older_than=older_than):
        deleted.update(dict(rows[0]))
        if not sum(rows[0]):
            return dict(deleted)
    raise CommandError("Another prune is at work: run it again when it has ended.")

"""A queue with realistic skew for the tests of plans: new, and after many changes."""

import asyncio
from typing import Any

import asyncpg

from service.db import load_statement
from service.workbench.seed import SeedPlan, seed
from tests.conftest import TestDatabase

MESSAGES, SENDERS = 50_000, 400
# They have about 9 %, 1 % and 0.7 % of all messages.
LARGE_SENDER, MIDDLE_SENDER, EXAMPLE_SENDER = 1, 5, 119
# Single-row statements of the sender of the example. Their deltas are not folded.
PENDING_DELTAS = 40

# Each round changes one message in fifty and changes it back. Five rounds change a tenth of all messages.
CHURN = (
    "UPDATE messages SET status = 'hold' WHERE id % 50 = $1 AND status IN ('new', 'proc', 'retry')",
    "UPDATE messages SET status = 'retry' WHERE id % 50 = $1 AND status = 'hold'",
)
CHURN_ROUNDS = 5
IS_OLDEST = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8"
PATIENCE_SECONDS = 120
ADD_ONE = (
    "INSERT INTO messages (sender_id, account_id, campaign_id, isp, recipient) VALUES ($1, 306, 4591, 'Gmail', 'x')"
)


async def fill(database: TestDatabase) -> None:
    """Fills the database: seeded, folded and vacuumed, with some pending deltas."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    await seed(owner, SeedPlan(MESSAGES, SENDERS))
    await fold(owner)
    await owner.execute("VACUUM ANALYZE messages, queuestats.counters, queuestats.deltas, queuestats.watermarks")
    for _ in range(PENDING_DELTAS):
        await owner.execute(ADD_ONE, EXAMPLE_SENDER)
    await owner.close()


async def churn(database: TestDatabase) -> None:
    """Changes the status of a tenth of the messages and changes it back, with folds and without VACUUM."""
    owner = await asyncpg.connect(database.owner_url)
    for table in ("messages", "queuestats.counters", "queuestats.deltas", "queuestats.watermarks"):
        await owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    for part in range(CHURN_ROUNDS):
        for change in CHURN:
            await owner.execute(change, part)
            await fold(owner)
    await outlive_others(owner)
    await owner.close()


async def outlive_others(owner: Any) -> None:
    """Waits until all transactions that began before now have ended, also in other databases of the server.

    While such a transaction is open, readers can't mark dead index entries, and read their rows repeatedly. Another
    test may keep a transaction open for seconds.
    """
    now = await owner.fetchval("SELECT pg_current_xact_id()::text")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await owner.fetchval(IS_OLDEST, now):  # noqa: ASYNC110 the server sends no event
            await asyncio.sleep(0.05)


async def fold(owner: Any) -> None:
    asked = load_statement("queries/fold")
    values = asked.bind({"max_deltas": 20_000, "mark_every": 500.0})
    while (await owner.fetchrow(asked.sql, *values))["is_more"]:
        pass

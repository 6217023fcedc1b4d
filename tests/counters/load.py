"""Writers of every kind, as in production and more difficult. Each function runs one transaction."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

SENDERS = (1, 2, 3)
# In REPEATABLE READ, a row may have been changed since the snapshot. An upsert may find that its message exists.
EXPECTED_ERRORS = (asyncpg.SerializationError, asyncpg.UniqueViolationError)

Writer = Callable[[Any, random.Random], Awaitable[None]]

# No writer waits for a row of another, so only the counters could cause a deadlock.
SOME = "SELECT id FROM messages WHERE sender_id = {sender} AND {which} LIMIT {limit} FOR UPDATE SKIP LOCKED"
NEW_ROWS = (
    "INSERT INTO messages (sender_id, account_id, campaign_id, isp, status, recipient)"
    " SELECT 1 + n % 3, n % 4, n % 5, (ARRAY['', 'Gmail', 'gmail'])[1 + n % 3],"
    " (enum_range(NULL::message_status))[1 + n % 4], 'x' FROM generate_series({first}, {last}) AS n"
)


def some(chance: random.Random, which: str = "true", limit: int = 5) -> str:
    """The numbers of some messages of one sender that are not locked."""
    return SOME.format(sender=chance.choice(SENDERS), which=which, limit=limit)


def new_rows(chance: random.Random, count: int) -> str:
    first = chance.randrange(1000)
    return NEW_ROWS.format(first=first, last=first + count - 1)


async def insert_one_by_one(connection: Any, chance: random.Random) -> None:
    async with connection.transaction():
        for _ in range(2):
            await connection.execute(new_rows(chance, 1))


async def insert_many(connection: Any, chance: random.Random) -> None:
    await connection.execute(new_rows(chance, chance.choice([2, 20])))


async def copy(connection: Any, chance: random.Random) -> None:
    columns = ("sender_id", "account_id", "campaign_id", "isp", "status", "recipient")
    records = [(chance.choice(SENDERS), n % 2, 9, "Gmail", "new", "x") for n in range(5)]
    await connection.copy_records_to_table("messages", records=records, columns=columns)


async def take(connection: Any, chance: random.Random) -> None:
    await connection.execute(
        f"UPDATE messages SET status = 'proc', attempts = attempts + 1 WHERE id IN ({some(chance)})"
    )


async def move(connection: Any, chance: random.Random) -> None:
    column, value = chance.choice([("sender_id", "1 + sender_id % 3"), ("account_id", "5"), ("isp", "'Yahoo'")])
    # Not the messages of `upsert`: a number exists for several senders, and only one of its messages would be locked.
    await connection.execute(f"UPDATE messages SET {column} = {value} WHERE id IN ({some(chance, 'id > 0')})")


async def finish(connection: Any, chance: random.Random) -> None:
    await connection.execute(f"DELETE FROM messages WHERE id IN ({some(chance, limit=40)})")


async def finish_campaign(connection: Any, chance: random.Random) -> None:
    which = f"campaign_id = {chance.randrange(5)}"
    await connection.execute(f"DELETE FROM messages WHERE id IN ({some(chance, which, limit=1000)})")


async def merge(connection: Any, chance: random.Random) -> None:
    await connection.execute(
        f"MERGE INTO messages USING ({some(chance)}) AS known ON messages.id = known.id"
        " WHEN MATCHED AND status = 'proc' THEN DELETE WHEN MATCHED THEN UPDATE SET status = 'retry'"
    )


async def upsert(connection: Any, chance: random.Random) -> None:
    number = -chance.randrange(1, 20)
    await connection.execute(
        "INSERT INTO messages (id, sender_id, status, recipient) VALUES ($1, 1, 'hold', 'x')"
        " ON CONFLICT (id, sender_id) DO UPDATE SET status = 'new', campaign_id = messages.campaign_id + 1",
        number,
    )


async def all_at_once(connection: Any, chance: random.Random) -> None:
    await connection.execute(
        f"WITH taken AS MATERIALIZED ({some(chance, limit=6)}),"
        " gone AS (DELETE FROM messages WHERE id IN (SELECT id FROM taken WHERE id % 2 = 0) RETURNING *),"
        " held AS (UPDATE messages SET status = 'hold' WHERE id IN (SELECT id FROM taken WHERE id % 2 = 1))"
        " INSERT INTO messages (sender_id, account_id, recipient) SELECT sender_id, account_id + 1, 'x' FROM gone"
    )


async def with_savepoints(connection: Any, chance: random.Random) -> None:
    async with connection.transaction():
        await connection.execute(new_rows(chance, 3))
        for is_taken_back in (True, False):
            inner = connection.transaction()
            await inner.start()
            await take(connection, chance)
            await connection.execute(new_rows(chance, 2))
            await (inner.rollback() if is_taken_back else inner.commit())


async def taken_back(connection: Any, chance: random.Random) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(new_rows(chance, 10))
    await finish(connection, chance)
    await transaction.rollback()


async def commits_late(connection: Any, chance: random.Random) -> None:
    """Its transaction id is old when its deltas become visible."""
    async with connection.transaction():
        await connection.execute(new_rows(chance, 2))
        await asyncio.sleep(chance.random() / 2)
        await take(connection, chance)


async def in_repeatable_read(connection: Any, chance: random.Random) -> None:
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT count(*) FROM messages")
        await asyncio.sleep(chance.random() / 10)
        await take(connection, chance)
        await connection.execute(new_rows(chance, 2))


async def truncate(connection: Any, chance: random.Random) -> None:
    """Truncates after a pause. Half of the transactions insert messages before it, and half after it."""
    await asyncio.sleep(chance.random() / 2)
    async with connection.transaction():
        if chance.random() < 0.5:
            await connection.execute(new_rows(chance, 5))
        await connection.execute("TRUNCATE messages")
        if chance.random() < 0.5:
            await connection.execute(new_rows(chance, 5))


async def hold_and_release(connection: Any, chance: random.Random) -> None:
    await control(connection, chance, ["hold", "release"])


async def hold_release_and_purge(connection: Any, chance: random.Random) -> None:
    await control(connection, chance, ["hold", "release", "purge"])


async def control(connection: Any, chance: random.Random, actions: list[str]) -> None:
    """Begins a job, and runs some steps of this job or an earlier one."""
    action = chance.choice(actions)
    isp = "gmail" if action == "purge" else chance.choice([None, "Gmail"])
    await connection.execute(
        "SELECT queuestats.start_job($1, $2, NULL, NULL, $3, 'load', '', '', $4::text::interval)",
        action,
        chance.choice(SENDERS),
        isp,
        chance.choice([None, "1 second"]),
    )
    for _ in range(chance.randrange(12)):
        await connection.execute("SELECT * FROM queuestats.step_job(NULL, 1000000)")
    await connection.execute("SELECT queuestats.expire_holds()")


# Writers at the same time. Each list is for one connection.
WRITERS: tuple[tuple[Writer, ...], ...] = (
    (insert_one_by_one, insert_many, copy),
    (insert_many, take, merge),
    (take, move, upsert, with_savepoints),
    (finish, finish_campaign, all_at_once),
    (commits_late, in_repeatable_read),
    (taken_back, finish, upsert, move),
    (truncate,),
    (hold_release_and_purge,),
)


async def write_until(done: asyncio.Event, connection: Any, kinds: tuple[Writer, ...], chance: random.Random) -> int:
    """Runs transactions until cancelled, and counts them. Raises errors that are not expected."""
    written = 0
    while not done.is_set():
        try:
            await chance.choice(kinds)(connection, chance)
            written += 1
        except EXPECTED_ERRORS:
            continue
    return written


async def fold_until(done: asyncio.Event, connection: Any, chance: random.Random) -> int:
    """Runs folds of all sizes, with much more watermarks and compacts than the service. Counts the folded deltas."""
    folded = 0
    while not done.is_set():
        found = await connection.fetchrow(
            "SELECT * FROM queuestats.fold($1, $2)", chance.choice([1, 50, 20_000]), chance.choice([0.001, 5.0, 2000.0])
        )
        folded += found["folded"] if found else 0
        compact_after = chance.choice([None, "0", "100 milliseconds"])
        if compact_after is not None:
            await connection.fetchrow(
                "SELECT * FROM queuestats.compact($1, $2::text::interval)",
                chance.choice([1, 50, 40_000]),
                compact_after,
            )
        await asyncio.sleep(chance.random() / 50)
    return folded

"""The order of jobs, the transactions that they wait for, and failed jobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.control.jobs import Control, Job, expire_forever
from service.errors import TimedOut
from tests.conftest import TestDatabase, open_pool

OPEN = "SELECT count(*) FROM queuestats.jobs WHERE finished_at IS NULL"
STATE = "SELECT state FROM queuestats.jobs WHERE id = $1"
WAITS_FOR = "SELECT waits_for FROM queuestats.jobs WHERE id = $1"
# For the sessions of the service that begin afterwards.
SHORT_WAIT = """
DO $$ BEGIN
  EXECUTE format('ALTER ROLE queuestats_service IN DATABASE %I SET lock_timeout = 100', current_database());
END $$
"""


@pytest.fixture
async def other(database: TestDatabase) -> AsyncIterator[Any]:
    """A second connection of the platform."""
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


async def begin(owner: Any, action: str, sender_id: int, **more: str) -> int:
    arguments = "".join(f", {name} => {value}" for name, value in more.items())
    job_id: int = await owner.fetchval(
        f"SELECT job_id FROM queuestats.start_job('{action}', $1, NULL, NULL, NULL, 'x', '', '', NULL{arguments})",
        sender_id,
    )
    return job_id


async def fill(owner: Any, senders: int, messages: int) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, recipient)"
        f" SELECT sender, 'x' FROM generate_series(1, {senders}) AS sender, generate_series(1, {messages})"
    )


async def step(owner: Any, job_id: int | None = None) -> Any:
    return await owner.fetchrow("SELECT * FROM queuestats.step_job($1)", job_id)


async def finish(owner: Any, job_id: int) -> str:
    for _ in range(300):
        if await step(owner, job_id) is None:
            return str(await owner.fetchval(STATE, job_id))
    return f"still {await owner.fetchval(STATE, job_id)}"


async def test_senders_take_turns_for_any_number_of_jobs(owner: Any) -> None:
    await fill(owner, 3, 12_000)
    first = [await begin(owner, "hold", 1) for _ in range(4)]
    other = [await begin(owner, "purge", sender_id) for sender_id in (2, 3)]
    senders = []
    while await owner.fetchval(
        "SELECT count(*) FROM queuestats.jobs WHERE finished_at IS NULL AND id = ANY ($1)", other
    ):
        row = await step(owner)
        senders.append(1 if row["job_id"] in first else row["job_id"])
    assert len(senders) == 3 * senders.count(other[0])
    assert all(len(set(senders[n : n + 3])) == 3 for n in range(0, len(senders), 3))


async def test_a_job_that_waits_for_a_locked_message_is_skipped(owner: Any, other: Any) -> None:
    await fill(owner, 2, 3)
    waiting, ready = await begin(owner, "hold", 1), await begin(owner, "hold", 2)
    async with other.transaction():
        await other.execute("SELECT FROM messages WHERE sender_id = 1 LIMIT 1 FOR UPDATE")
        for _ in range(2):
            await step(owner, waiting)
        assert (await step(owner, waiting))["is_waiting"]
        assert await owner.fetchval(WAITS_FOR, waiting) == f"1 locked messages: process {other.get_server_pid()}"
        while (row := await step(owner))["job_id"] != ready or row["state"] != "settling":
            assert row["job_id"] == ready or row["is_waiting"]
        assert await owner.fetchval("SELECT count(*) FROM messages WHERE status = 'hold'") == 5
    assert await finish(owner, waiting) == "done"


async def test_a_job_waits_for_no_transaction_that_can_not_write_to_the_queue(
    owner: Any, other: Any, server_url: str
) -> None:
    await fill(owner, 1, 3)
    elsewhere = await asyncpg.connect(server_url)
    try:
        await elsewhere.execute("BEGIN; SELECT pg_current_xact_id()")
        await other.execute("BEGIN; CREATE TEMPORARY TABLE mine (x int); INSERT INTO mine VALUES (1)")
        assert await finish(owner, await begin(owner, "hold", 1)) == "done"
    finally:
        await elsewhere.close()


@pytest.mark.parametrize(
    "begin_other",
    [
        "BEGIN; INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM messages",
    ],
    ids=["has written", "has an old snapshot"],
)
async def test_a_job_ends_after_all_transactions_that_may_not_have_seen_it(
    owner: Any, other: Any, begin_other: str
) -> None:
    await other.execute(begin_other)
    job_id = await begin(owner, "hold", 1)
    # A transaction that begins now sees a later hold.
    assert await finish(owner, job_id) == "still settling"
    assert await owner.fetchval(WAITS_FOR, job_id) == f"process {other.get_server_pid()}"
    await other.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'x'); COMMIT")
    assert await finish(owner, job_id) == "done"
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE status <> 'hold'") == 0


async def test_a_job_waits_for_a_transaction_that_is_prepared_later(owner: Any, other: Any) -> None:
    if await owner.fetchval("SHOW max_prepared_transactions") == "0":
        pytest.skip("this server has no prepared transactions")
    await other.execute("BEGIN; INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')")
    job_id = await begin(owner, "hold", 1)
    assert await finish(owner, job_id) == "still settling"
    await other.execute("PREPARE TRANSACTION 'it''s late'")
    assert await finish(owner, job_id) == "still settling"
    assert await owner.fetchval(WAITS_FOR, job_id) == "prepared transaction 'it''s late'"
    await other.execute("COMMIT PREPARED 'it''s late'")
    assert await finish(owner, job_id) == "done"
    assert await owner.fetchval("SELECT status::text FROM messages") == "hold"


async def test_a_job_of_another_cluster_waits_for_none_of_its_transactions(owner: Any) -> None:
    await fill(owner, 1, 3)
    job_id = await begin(owner, "hold", 1)
    for _ in range(3):
        await step(owner, job_id)
    # Another transaction than the one in the row has written a restored row.
    await owner.execute(
        "UPDATE queuestats.jobs SET settles_at = '999999999999', blockers = '{3/999999}', written_by = '999999999998'"
    )
    assert await finish(owner, job_id) == "done"


async def test_messages_that_can_not_be_changed_are_found_among_thousands(owner: Any) -> None:
    await fill(owner, 1, 7_000)
    await owner.execute("ALTER TABLE messages ADD CHECK (status <> 'hold' OR id % 3000 <> 0) NOT VALID")
    job_id = await begin(owner, "hold", 1)
    assert await finish(owner, job_id) == "failed"
    job = await owner.fetchrow("SELECT changed, failed, error FROM queuestats.jobs")
    assert (job["changed"], job["failed"]) == (6_998, 2)
    assert "violates check constraint" in job["error"]


async def test_a_job_ends_even_if_all_its_messages_fail(owner: Any) -> None:
    await fill(owner, 1, 7_000)
    await owner.execute("ALTER TABLE messages ADD CHECK (status <> 'hold') NOT VALID")
    assert await finish(owner, await begin(owner, "hold", 1)) == "failed"
    assert 1_000 <= await owner.fetchval("SELECT failed FROM queuestats.jobs") < 1_100
    assert await owner.fetchval("SELECT count(*) FROM queuestats.job_chunks") == 0


async def test_a_step_that_fails_ten_times_in_a_row_ends_its_job(owner: Any) -> None:
    await fill(owner, 1, 3)
    job_id = await begin(owner, "hold", 1)
    waits = []
    for _ in range(9):
        await owner.execute("SELECT queuestats.postpone_job($1, 'no', true)", job_id)
        waits.append(await owner.fetchval("SELECT extract(epoch FROM run_at - stepped_at)::int FROM queuestats.jobs"))
    # This does not count as a try: the server had no free connection.
    await owner.execute("SELECT queuestats.postpone_job($1, 'disk full', false)", job_id)
    assert await owner.fetchval(STATE, job_id) == "waiting"
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert await owner.fetchval("SELECT queuestats.next_job()") is None
    await owner.execute("SELECT queuestats.postpone_job($1, 'no', true)", job_id)
    assert await owner.fetchval(STATE, job_id) == "failed"


async def test_a_step_that_waits_too_long_for_a_table_is_repeated(
    owner: Any, other: Any, database: TestDatabase
) -> None:
    await fill(owner, 1, 3)
    job = Job(await begin(owner, "hold", 1), 1, None)
    await owner.execute(SHORT_WAIT)
    async with open_pool(database.service_url) as pool:
        async with other.transaction():
            await other.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TimedOut):
                await Control(pool, pool, 1000).step(job)
        assert await owner.fetchval("SELECT attempts FROM queuestats.jobs") == 0
        assert (await Control(pool, pool, 1000).step(job)).state == "working"


async def test_a_failed_release_can_be_repeated(owner: Any) -> None:
    await fill(owner, 1, 5)
    await finish(owner, await begin(owner, "hold", 1))
    await owner.execute("ALTER TABLE messages ADD CONSTRAINT no CHECK (status = 'hold') NOT VALID")
    assert await finish(owner, await begin(owner, "release", 1)) == "failed"
    await owner.execute("ALTER TABLE messages DROP CONSTRAINT no; UPDATE messages SET account_id = 8 WHERE id = 1")
    assert await finish(owner, await begin(owner, "release", 1)) == "done"
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE status = 'new'") == 5
    assert await owner.fetchval("SELECT count(*) FROM queuestats.held_messages") == 0


async def test_an_expired_hold_ends_while_other_jobs_are_blocked(
    owner: Any, other: Any, database: TestDatabase
) -> None:
    await fill(owner, 20, 100)
    await finish(owner, await begin(owner, "hold", 20))
    await owner.execute("UPDATE queuestats.holds SET expires_at = now()")
    for sender_id in range(1, 20):
        await begin(owner, "hold", sender_id)
    async with other.transaction(), open_pool(database.service_url) as pool:
        await other.execute("SELECT FROM messages WHERE sender_id < 20 FOR UPDATE")
        task = asyncio.create_task(expire_forever(pool))
        try:
            # It waits for the transaction above, which may have held messages with the expired hold.
            released = "SELECT count(*) FROM messages WHERE sender_id = 20 AND status = 'new'"
            while await owner.fetchval(released) < 100:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            task.cancel()
            await asyncio.wait([task])

"""A random model of the queue: concurrent writers, operators and workers, and the invariants when all have ended.

The share of a token is an invariant at every moment.

`attempts` of a message is the last status from the platform, as its place in STATUSES, from 1.
MODEL_SEED and MODEL_ROUNDS repeat and lengthen a run.
"""

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import asyncpg
import pytest

from service.control.jobs import expire_forever, work_forever
from tests.conftest import PATIENCE_SECONDS, TestDatabase, open_pool
from tests.oracle import STATUSES

SEEDS = [int(seed) for seed in os.environ.get("MODEL_SEED", "1 2").split()]
ROUNDS = int(os.environ.get("MODEL_ROUNDS", "6"))
WRITERS, STATEMENTS, SENDERS = 3, 12, 3
# A check and a foreign key of the platform prevent holds and purges of messages of this account.
POISON = 2
# The share of the token `small`, and its use.
MOST_HOLDS, MOST_JOBS = 3, 2
USED = """
SELECT (SELECT count(*) FROM queuestats.holds WHERE created_by = 'small'),
  (SELECT count(*) FROM queuestats.jobs WHERE requested_by = 'small' AND finished_at IS NULL)
"""
BEGIN = """
SELECT queuestats.begin_job(
  $1, $2, $3, $4, NULL, $7, '', '', $5::text::interval, $6, NULL, NULL, NULL, NULL, $8, $9
)
"""
COLUMNS = ("sender_id", "account_id", "campaign_id", "isp", "status", "attempts", "recipient")
# Errors that any transaction of the platform may get.
EXPECTED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.CheckViolationError,
    asyncpg.AdminShutdownError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
PLATFORM = f"""
ALTER TABLE messages ADD CHECK (status <> 'hold' OR account_id <> {POISON} OR attempts = 4);
CREATE TABLE delivery_log (id bigint, sender_id bigint,
  FOREIGN KEY (id, sender_id) REFERENCES messages DEFERRABLE INITIALLY DEFERRED);
"""
# Messages whose state does not match the holds. `hold` is the active hold in held_messages.
WRONG = """
SELECT message.id, message.sender_id, status, attempts, held.hold_id, former_status, hold.id AS active
FROM messages AS message
  LEFT JOIN queuestats.held_messages AS held USING (sender_id, id)
  LEFT JOIN queuestats.holds AS hold ON hold.id = held.hold_id
WHERE CASE
  -- The platform put it on hold. A release by filter takes it off, and then one of our holds may hold it.
  WHEN attempts = 4 THEN status = 'proc'
    OR held.id IS NOT NULL AND (hold.id IS NULL OR status <> 'hold')
  WHEN status = 'hold' THEN hold.id IS NULL OR (ARRAY['new', 'proc', 'retry'])[attempts] <> former_status::text
  ELSE held.id IS NOT NULL OR status::text <> (ARRAY['new', 'proc', 'retry'])[attempts]
    OR message.account_id <> $1 AND status <> 'proc' AND EXISTS (
      SELECT FROM queuestats.holds_of(
        message.sender_id, message.account_id, message.campaign_id, message.isp
      )
    )
  END
"""
Row: TypeAlias = tuple[int, int, int, str, str, int, str]


class Model:
    """All random values come from one generator, so a seed repeats the choices, but not their order in time."""

    def __init__(self, seed: int, url: str) -> None:
        self.random, self.url = random.Random(seed), url
        self.refused = 0

    def status(self) -> tuple[str, int]:
        number = self.random.choice((1, 1, 2, 3, 4))
        return STATUSES[number - 1], number

    def where(self) -> str:
        sender = self.random.randint(1, SENDERS)
        return self.random.choice((f"sender_id = {sender} AND id % 3 = 0", f"id % {self.random.randint(5, 20)} = 0"))

    def statement(self) -> str | list[Row]:
        """A statement, or rows for COPY."""
        status, number = self.status()
        given = f"status = '{status}', attempts = {number}"
        where = self.where()
        rows = [
            (
                *(self.random.randint(1, SENDERS), self.random.randint(0, POISON), self.random.randint(0, 1)),
                *(self.random.choice(("", "Gmail", "é")), status, number, "x"),
            )
            for _ in range(self.random.choice((1, 5, 30)))
        ]
        insert = f"INSERT INTO messages ({', '.join(COLUMNS)}) VALUES {', '.join(map(str, rows))}"
        not_held = "status <> 'hold' AND"
        return self.random.choice(
            (
                *(insert, insert, rows),
                f"UPDATE messages SET {given} WHERE {where}",
                "UPDATE messages SET status = 'proc', attempts = 2 WHERE (id, sender_id) IN (SELECT id, sender_id"
                " FROM messages WHERE status IN ('new', 'retry') ORDER BY id LIMIT 9 FOR UPDATE SKIP LOCKED)",
                f"DELETE FROM messages WHERE {where}",
                f"UPDATE messages SET account_id = (account_id + 1) % 2 WHERE account_id <> {POISON} AND {where}",
                f"UPDATE messages SET campaign_id = 1 - campaign_id WHERE {not_held} {where}",
                f"UPDATE messages SET sender_id = sender_id % {SENDERS} + 1 WHERE account_id <> {POISON} AND {where}",
                f"MERGE INTO messages USING (SELECT id AS i, sender_id AS s FROM messages WHERE {where}) AS other"
                f" ON id = i AND sender_id = s WHEN MATCHED AND id % 2 = 0 THEN DELETE"
                f" WHEN MATCHED THEN UPDATE SET {given}",
                f"INSERT INTO delivery_log SELECT id, sender_id FROM messages WHERE account_id = {POISON} LIMIT 1",
            )
        )

    async def write(self, number: int) -> None:
        """Transactions of the platform, some of them prepared, on a connection that may be terminated."""
        for _ in range(STATEMENTS):
            level = self.random.choice(("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"))
            name = uuid.uuid4().hex
            end = self.random.choice(
                ("COMMIT", "COMMIT", "ROLLBACK", f"PREPARE TRANSACTION '{name}'; COMMIT PREPARED '{name}'")
            )
            statements = [self.statement() for _ in range(self.random.randint(1, 3))]
            connection = await asyncpg.connect(self.url, server_settings={"lock_timeout": "2s"})
            try:
                for statement in (f"BEGIN ISOLATION LEVEL {level}", *statements, *end.split("; ")):
                    if isinstance(statement, str):
                        await connection.execute(statement)
                    else:
                        await connection.copy_records_to_table("messages", records=statement, columns=COLUMNS)
                    await asyncio.sleep(self.random.random() / 50)
            except EXPECTED:
                pass
            finally:
                connection.terminate()

    async def operate(self, owner: Any) -> None:
        for _ in range(8):
            await asyncio.sleep(self.random.random() / 10)
            action = self.random.choice(("hold", "hold", "release", "release", "purge", "cancel", "terminate"))
            if action == "cancel":
                await owner.execute(
                    "SELECT queuestats.cancel_job(min(id), 'x') FROM queuestats.jobs"
                    " WHERE finished_at IS NULL AND action = 'purge' HAVING count(*) > 0"
                )
            elif action == "terminate":
                await owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                    " AND datname = current_database() AND query <> '' ORDER BY random() LIMIT 1"
                )
            else:
                await owner.execute(BEGIN, *self.job(action), "command", "x", None, None)

    def job(self, action: str) -> tuple[Any, ...]:
        account, campaign = (self.random.choice((None, None, 0, 1)) for _ in range(2))
        expires_in = "0.3 s" if action == "hold" and self.random.random() < 0.3 else None
        return action, self.random.randint(1, SENDERS), account, campaign, expires_in

    async def operate_as_token(self) -> None:
        """Two operators use one token, which never has more than its share."""
        for _ in range(12):
            await asyncio.sleep(self.random.random() / 20)
            action = self.random.choice(("hold", "hold", "hold", "release", "purge"))
            connection = await asyncpg.connect(self.url)
            try:
                await self.begin_in_share(connection, action)
            except EXPECTED:
                pass
            finally:
                connection.terminate()

    async def begin_in_share(self, connection: Any, action: str) -> None:
        try:
            await connection.execute(BEGIN, *self.job(action), "token", "small", MOST_HOLDS, MOST_JOBS)
        except asyncpg.PostgresError as error:
            if error.sqlstate not in ("QS429", "QS430"):
                raise
            self.refused += 1
        holds, jobs = await connection.fetchrow(USED)
        assert holds <= MOST_HOLDS
        assert jobs <= MOST_JOBS


@pytest.fixture
async def workers(database: TestDatabase) -> AsyncIterator[None]:
    """The loops of two instances of the service."""
    async with AsyncExitStack() as stack:
        tasks = []
        for loop in (work_forever, expire_forever) * 2:
            pool = await stack.enter_async_context(open_pool(database.service_url))
            tasks.append(asyncio.create_task(loop(pool)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize("seed", SEEDS)
async def test_counts_and_holds_are_correct_whenever_all_have_ended(
    database: TestDatabase, owner: Any, workers: None, seed: int
) -> None:
    if await owner.fetchval("SHOW max_prepared_transactions") == "0":
        pytest.skip("this server has no prepared transactions")
    model = Model(seed, database.owner_url)
    await owner.execute(PLATFORM)
    for _ in range(ROUNDS):
        await asyncio.gather(
            *map(model.write, range(WRITERS)),
            *(model.operate(owner), model.operate_as_token(), model.operate_as_token()),
        )
        # A prepared transaction of a backend that was terminated after PREPARE TRANSACTION.
        for row in await owner.fetch("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            await owner.execute(f"ROLLBACK PREPARED '{row['gid']}'")
        async with asyncio.timeout(PATIENCE_SECONDS):
            busy = "SELECT count(*) FROM queuestats.jobs WHERE finished_at IS NULL"
            expiring = "SELECT count(*) FROM queuestats.holds WHERE expires_at IS NOT NULL"
            while await owner.fetchval(busy) or await owner.fetchval(expiring):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await owner.fetch("SELECT * FROM queuestats.audit()") == []
        assert await owner.fetch("SELECT * FROM queuestats.held_differences(NULL)") == []
        assert await owner.fetch(WRONG, POISON) == []
    assert model.refused

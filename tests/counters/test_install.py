"""The counters are installed in a database with writers: no writer waits for long, and no report is wrong."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from service.errors import Unavailable
from service.model import Grouping, StatsQuery
from service.schema import migrate
from tests.conftest import TestDatabase
from tests.counters.load import SENDERS, WRITERS, fold_until, new_rows, write_until
from tests.counters.observing import answer, drift, scanned, snapshot
from tests.db.test_migrations import go

# A revision that has the tables and no triggers.
BEFORE_THE_COUNTERS = "20261125_01"
# The number of writes while the migration waits for a long transaction. No write waits for the migration.
WRITES_MEANWHILE = 50
PATIENCE_SECONDS = 120
MIGRATION_WAITS = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query !~ '^(INSERT|UPDATE|DELETE)'
)"""
NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError)

pytestmark = pytest.mark.slow


@dataclass
class Seen:
    """How often a report was compared with a scan in its snapshot, by whether the counters were complete."""

    compared: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    wrong: list[Any] = field(default_factory=list)


@pytest.fixture
async def old_database(empty_database: TestDatabase) -> TestDatabase:
    """A filled database of the previous release."""
    await go(empty_database.owner_url, BEFORE_THE_COUNTERS)
    connection = await asyncpg.connect(empty_database.owner_url)
    await connection.execute(new_rows(random.Random(1), 30_000))
    await connection.close()
    return empty_database


@contextmanager
def a_newer_service() -> Iterator[None]:
    """Suppresses the errors for which a service that is newer than the database responds with 503."""
    try:
        yield
    except NOT_MIGRATED:
        pass
    except Unavailable as error:
        if not isinstance(error.__cause__, NOT_MIGRATED):
            raise


async def watch_until(done: asyncio.Event, url: str, seen: Seen) -> None:
    connection, chance = await asyncpg.connect(url), random.Random(1)
    while not done.is_set():
        query = StatsQuery(chance.choice(SENDERS), campaign_id=2, grouping=chance.choice(list(Grouping)))
        with a_newer_service():
            async with snapshot(connection):
                stands = await connection.fetchval("SELECT EXISTS (SELECT FROM queuestats.baseline)")
                answered, truth = await answer(connection, query), await scanned(connection, query)
                seen.compared[stands] += 1
                if answered != truth:
                    seen.wrong.append((stands, query, answered, truth))
        await asyncio.sleep(0.005)
    await connection.close()


async def count_writes_until(done: asyncio.Event, url: str, writes: list[int]) -> None:
    """Writes single rows one after the other. `writes` contains their current number."""
    connection = await asyncpg.connect(url)
    while not done.is_set():
        await connection.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')")
        writes[0] += 1
        await asyncio.sleep(0.002)
    await connection.close()


async def hold_messages(url: str, writes: list[int]) -> None:
    """A long transaction with writes. It lasts until the migration waits for it and other writers have continued."""
    connection, watcher = await asyncpg.connect(url), await asyncpg.connect(url)
    async with asyncio.timeout(PATIENCE_SECONDS), connection.transaction():
        await connection.execute("UPDATE messages SET status = 'hold' WHERE id = 1")
        while not await watcher.fetchval(MIGRATION_WAITS):  # noqa: ASYNC110 the server sends no event
            await asyncio.sleep(0.01)
        before = writes[0]
        while writes[0] < before + WRITES_MEANWHILE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await connection.execute("UPDATE messages SET status = 'retry' WHERE id = 2")
    await connection.close()
    await watcher.close()


@pytest.mark.parametrize("is_held", [False, True])
async def test_an_installation_under_load_causes_no_wrong_report_no_lost_count_and_no_waiting_writer(
    old_database: TestDatabase, is_held: bool
) -> None:
    url, seen, done, writes = old_database.owner_url, Seen(), asyncio.Event(), [0]
    connections = [await asyncpg.connect(url) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        group.create_task(count_writes_until(done, url, writes))
        for number, kinds in enumerate(WRITERS[:4]):
            group.create_task(write_until(done, connections[number], kinds, random.Random(number)))
        watching = group.create_task(watch_until(done, url, seen))
        if is_held:
            group.create_task(hold_messages(url, writes))
        await asyncio.sleep(0.5)
        await migrate(url, old_database.service_url)
        await asyncio.sleep(0.5)
        done.set()
    for each in connections:
        await each.close()

    assert watching.done()
    assert seen.wrong == []
    assert seen.compared[True] > 0
    assert not is_held or seen.compared[False] > 0
    await check_exact(url)


async def test_folds_may_run_before_the_first_count(old_database: TestDatabase) -> None:
    """A service that was started before the migration runs folds."""
    url, done = old_database.owner_url, asyncio.Event()

    async def fold_when_possible() -> None:
        connection = await asyncpg.connect(url)
        while not done.is_set():
            with suppress(*NOT_MIGRATED):
                await fold_until(done, connection, random.Random(1))
            await asyncio.sleep(0.01)
        await connection.close()

    writer = await asyncpg.connect(url)
    async with asyncio.TaskGroup() as group:
        group.create_task(write_until(done, writer, WRITERS[0] + WRITERS[3], random.Random(1)))
        group.create_task(fold_when_possible())
        await migrate(url, old_database.service_url)
        await asyncio.sleep(0.3)
        done.set()
    await writer.close()
    await check_exact(url)


async def test_counts_remain_exact_after_concurrent_and_repeated_migrations(old_database: TestDatabase) -> None:
    await asyncio.gather(*(migrate(old_database.owner_url, old_database.service_url) for _ in range(2)))
    await migrate(old_database.owner_url, old_database.service_url)
    await check_exact(old_database.owner_url)


async def check_exact(url: str) -> None:
    connection = await asyncpg.connect(url)
    # Writers may have deleted all messages of a sender, so further ones are added.
    await connection.execute(new_rows(random.Random(1), 30))
    assert await drift(connection) == []
    for sender_id in SENDERS:
        (row,) = await answer(connection, StatsQuery(sender_id))
        assert row.total == await connection.fetchval("SELECT count(*) FROM messages WHERE sender_id = $1", sender_id)
        assert row.total > 0
    await connection.close()

"""A dump that is restored in another cluster, where its transaction ids have no meaning."""

import subprocess
from typing import Any

import asyncpg
import pytest

from service.counters.health import CONDITIONS, examine
from service.counters.verify import find_differences, repair
from service.db import connect
from service.embedded import binaries
from service.schema import migrate
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow

MESSAGES = [Message(sender_id, number % 3, number % 5) for sender_id in (1, 2) for number in range(50)]


def copy(source: TestDatabase, target: TestDatabase, *options: str) -> None:
    """Restores a dump into the other database. Settings that an older server does not have are skipped."""
    command = [str(binaries(18) / "pg_dump"), *options, "--dbname", source.owner_url]
    dump = subprocess.run(command, check=True, capture_output=True).stdout
    psql = [str(binaries(18) / "psql"), "-Xq", "--dbname", target.owner_url]
    subprocess.run(psql, input=dump, check=True, capture_output=True)


async def differences(connection: Any) -> int:
    return len(await find_differences(connection, None))


@pytest.fixture
async def source(database: TestDatabase, owner: Any) -> TestDatabase:
    """A database with folded deltas, up to a watermark, and with pending deltas."""
    await insert(owner, MESSAGES)
    await owner.execute("SELECT queuestats.fold(mark_every => 1)")
    await insert(owner, MESSAGES)
    assert await owner.fetchval("SELECT count(*) FROM queuestats.watermarks WHERE sender_id > 0") == 2
    assert await owner.fetchval("SELECT count(*) FROM queuestats.deltas") > 0
    return database


async def test_a_restored_dump_is_exact_and_remains_exact(source: TestDatabase, empty_database: TestDatabase) -> None:
    copy(source, empty_database)
    restored = await asyncpg.connect(empty_database.owner_url)
    try:
        assert await restored.fetchval("SELECT count(*) FROM messages") == 2 * len(MESSAGES)
        assert await differences(restored) == 0
        await insert(restored, MESSAGES)
        await restored.execute("DELETE FROM messages WHERE account_id = 1")
        assert await differences(restored) == 0
        await restored.execute("SELECT queuestats.fold()")
        assert await differences(restored) == 0
    finally:
        await restored.close()


async def test_a_background_failure_in_the_dumped_database_is_not_reported_in_the_restored_one(
    source: TestDatabase, owner: Any, empty_database: TestDatabase
) -> None:
    await owner.execute("SELECT queuestats.note_task('count', 'no space left')")
    await migrate(source.owner_url, source.service_url)
    background = [condition for condition in CONDITIONS if condition.name == "background"]
    assert await examine(owner, "queuestats_service", conditions=background)

    copy(source, empty_database)
    await migrate(empty_database.owner_url, empty_database.service_url)
    async with connect(empty_database.owner_url) as restored:
        assert await examine(restored, "queuestats_service", conditions=background) == []


async def test_restored_messages_are_counted_by_triggers_or_by_a_repair_if_triggers_were_off(
    source: TestDatabase, empty_database: TestDatabase
) -> None:
    messages = ("--data-only", "--table", "messages")
    copy(source, empty_database, "--schema-only")
    copy(source, empty_database, "--data-only", "--table", "queuestats.baseline")
    copy(source, empty_database, *messages)
    restored = await asyncpg.connect(empty_database.owner_url)
    try:
        assert await restored.fetchval("SELECT count(*) FROM messages") == 2 * len(MESSAGES)
        assert await differences(restored) == 0
        # `pg_dump --disable-triggers` and replication do the same.
        await restored.execute("ALTER TABLE messages DISABLE TRIGGER ALL")
        await insert(restored, MESSAGES)
        await restored.execute("ALTER TABLE messages ENABLE TRIGGER ALL")
        found = await find_differences(restored, None)
        assert {each.sender_id for each in found} == {1, 2}
        await repair(restored, [1, 2])
        assert await differences(restored) == 0
    finally:
        await restored.close()

"""Folds, rebuilds and reports work with any defaults and publications of the database."""

from typing import Any

import asyncpg
import pytest

from service.cluster import Node
from service.counters.folding import Folder
from service.counters.verify import find_differences, repair
from service.db import Database
from service.db.connect import connect as connect_for_a_command
from service.errors import CommandError
from service.model import StatsQuery
from service.queue.stats import fetch_report
from tests.conftest import TestDatabase, open_pool
from tests.counters.conftest import Connect
from tests.counters.observing import drift, fold, row_count

INSERT = "INSERT INTO messages (sender_id, recipient) SELECT 1, 'x' FROM generate_series(1, $1)"
DEFAULTS = [
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_read_only", "on"),
]


@pytest.mark.parametrize("has_prepared_statements", [True, False])
@pytest.mark.parametrize(("setting", "value"), DEFAULTS)
async def test_folds_and_reports_work_with_any_defaults_of_transactions(
    database: TestDatabase, connect: Connect, setting: str, value: str, has_prepared_statements: bool
) -> None:
    owner = await connect()
    await owner.execute(INSERT, 10)
    await owner.execute(f"ALTER DATABASE {database.name} SET {setting} = '{value}'")
    async with open_pool(database.service_url, has_prepared_statements=has_prepared_statements) as service:
        assert (await fetch_report(service, StatsQuery(1))).rows[0].new == 10
        folder = Folder(Node(service))
        assert await folder.fold_all() == 1
        assert (await fetch_report(service, StatsQuery(1))).rows[0].new == 10
        assert await row_count(owner, "queuestats.deltas") == 0
    async with open_pool(database.owner_url) as by_the_owner:
        assert not await Folder(Node(by_the_owner)).compact()


@pytest.mark.parametrize(("setting", "value"), DEFAULTS)
async def test_verify_repairs_with_any_defaults_of_transactions(
    database: TestDatabase, connect: Connect, setting: str, value: str
) -> None:
    owner = await connect()
    await owner.execute(INSERT, 10)
    await owner.execute("UPDATE queuestats.deltas SET new = 9")
    await owner.execute(f"ALTER DATABASE {database.name} SET {setting} = '{value}'")
    for is_direct in (True, False):
        async with connect_for_a_command(database.owner_url, is_direct=is_direct) as connection:
            found = await find_differences(connection, None)
            assert bool(found) == is_direct
            await repair(connection, [each.sender_id for each in found])
    async with connect_for_a_command(database.owner_url) as connection:
        await connection.execute(INSERT, 1)
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"


async def test_the_command_fold_fails_while_another_fold_runs(connect: Connect, service: Database) -> None:
    other = await connect()
    await other.execute(INSERT, 10)
    async with other.transaction():
        await fold(other)
        with pytest.raises(CommandError, match="Another fold is running"):
            await Folder(Node(service)).fold_all()
    assert await Folder(Node(service)).fold_all() == 0


async def test_the_service_can_not_block_folds_with_a_lock(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.service_url)
    try:
        for mode in ("ACCESS SHARE", "EXCLUSIVE"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(f"LOCK TABLE queuestats.fold_lock IN {mode} MODE")
    finally:
        await connection.close()


async def test_a_publication_of_all_tables_stops_neither_folds_nor_rebuilds(connect: Connect, superuser: Any) -> None:
    """PostgreSQL refuses updates and deletes of a published table without a replica identity, at any wal_level."""
    await superuser.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    connection = await connect()
    for _ in range(3):
        await connection.execute(INSERT, 10)
        await fold(connection, mark_every=0.001, is_compacting=True)
    await connection.execute("SELECT queuestats.rebuild()")
    await connection.execute("SELECT queuestats.rebuild(1)")
    assert await drift(connection) == []
    await connection.execute("ALTER TABLE messages REPLICA IDENTITY FULL; TRUNCATE messages")
    assert await drift(connection) == []

"""A database of 0.1.0, which has everything in the schema public, is migrated to this release."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from service.counters.health import examine
from service.db import connect
from service.errors import CommandError
from service.schema import migrate
from service.schema.migrate import pending_changes
from tests.catalog import objects_of, tables_of
from tests.cli.programs import ask, running
from tests.conftest import TestDatabase
from tests.db.test_migrations import alembic
from tests.oracle import Message, insert
from tests.releases.checkouts import release
from tests.releases.conftest import secret_of, settings_of

Build: TypeAlias = Callable[[TestDatabase, Path], Awaitable[str]]
SCHEMA = Path(__file__).with_name("0.1.0.sql")
SECRET = "qs_of_the_first_release"


async def from_text(database: TestDatabase, folder: Path) -> str:
    """Creates the schema from a file. Returns the secret of a token."""
    async with connect(database.owner_url) as owner:
        await owner.execute(SCHEMA.read_text("utf-8"))
        await owner.execute("GRANT SELECT ON messages, installed TO queuestats_service")
        hash_ = hashlib.sha256(SECRET.encode()).digest()
        await owner.execute("INSERT INTO tokens (name, hash) VALUES ('tests', $1)", hash_)
    return SECRET


async def by_its_own_code(database: TestDatabase, folder: Path) -> str:
    """Creates the schema with 0.1.0, from the history."""
    first, settings = release("first", folder), settings_of(database)
    first.run("migrate", **settings)
    return secret_of(first.run("token", "create", "tests", "--json", **settings))


@pytest.fixture(params=[from_text, by_its_own_code])
def build(request: pytest.FixtureRequest, template: str) -> Build:
    """The fixture `template` has created the role of the service."""
    chosen: Build = request.param
    return chosen


@pytest.mark.slow
async def test_tokens_and_messages_are_kept_and_everything_else_is_as_in_a_new_database(
    build: Build, empty_database: TestDatabase, database: TestDatabase, folder: Path
) -> None:
    old = empty_database
    token = await build(old, folder)
    async with connect(old.owner_url) as owner:
        await owner.execute("INSERT INTO tokens (name, hash, revoked_at) VALUES ('gone', 'x', now())")
        await insert(owner, [Message()] * 3)
        await migrate(old.owner_url, old.service_url)
        await insert(owner, [Message()] * 2)

        assert not await pending_changes(owner) + await examine(owner, "queuestats_service")
        assert await owner.fetchval("SELECT name FROM queuestats.tokens WHERE revoked_at IS NOT NULL") == "gone"
        assert not await owner.fetchval("SELECT has_table_privilege('queuestats_service', 'messages', 'SELECT')")
        assert await owner.fetchval("SELECT count(*) FROM messages") == 5
    assert await tables_of(old.owner_url) == await tables_of(database.owner_url)
    assert await objects_of(old.owner_url) == await objects_of(database.owner_url)
    with running(folder, "serve", "--port", "0", **settings_of(old)) as served:
        (row,) = ask(served.url, token, group="total").json()["data"]
    assert row["total"] == 5


@pytest.mark.slow
async def test_an_interrupted_migration_from_it_can_be_repeated(empty_database: TestDatabase) -> None:
    from alembic import command

    url = empty_database.owner_url
    async with connect(url) as owner:
        await owner.execute(SCHEMA.read_text("utf-8"))

    def upgrade(config: Any) -> None:
        config.attributes["connection"].exec_driver_sql("SET search_path = queuestats")
        config.attributes["connection"].commit()
        command.upgrade(config, "head")

    await alembic(url, upgrade)
    await migrate(url, empty_database.service_url)
    async with connect(url) as owner:
        assert await pending_changes(owner) == []


async def test_the_migration_is_refused_if_an_object_of_others_depends_on_its_tables(
    empty_database: TestDatabase,
) -> None:
    async with connect(empty_database.owner_url) as owner:
        await owner.execute(SCHEMA.read_text("utf-8"))
        await owner.execute("CREATE VIEW report AS SELECT sender_id, new FROM counters")
        with pytest.raises((CommandError, asyncpg.DependentObjectsStillExistError), match="other objects depend on"):
            await migrate(empty_database.owner_url, empty_database.service_url)
        assert await owner.fetchval("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'messages'::regclass") == 4

        await owner.execute("DROP VIEW report")
        await migrate(empty_database.owner_url, empty_database.service_url)
        assert await pending_changes(owner) == []


async def test_it_is_not_changed_if_the_settings_name_another_schema(empty_database: TestDatabase) -> None:
    async with connect(empty_database.owner_url) as owner:
        await owner.execute(SCHEMA.read_text("utf-8"))
    with pytest.raises(CommandError, match="messages of this database is in public"):
        await migrate(empty_database.owner_url, None, messages_schema="mail")

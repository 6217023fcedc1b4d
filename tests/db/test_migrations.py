"""Upgrades and downgrades of the schema, also with concurrent transactions and failures."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from service.counters.health import CONDITIONS, examine
from service.db import connect
from service.errors import CommandError
from service.schema import migrate
from service.schema.locks import LOCK_TIMEOUT_SECONDS, MIGRATION_LOCK, changing_schema
from service.schema.migrate import pending_changes
from service.schema.revisions import alembic_config, revisions, with_alembic
from service.schema.tables import metadata
from tests.catalog import objects_of, tables_of
from tests.conftest import TestDatabase

OLDEST_FIRST = revisions()[::-1]


async def alembic(url: str, work: Callable[[Config], None]) -> None:
    config = alembic_config()

    def on(connection: Any) -> None:
        config.attributes["connection"] = connection
        work(config)

    async with changing_schema(url) as connection:
        await with_alembic(connection, on)


async def go(url: str, revision: str) -> None:
    step = command.downgrade if revision == "base" or revision.startswith("-") else command.upgrade
    await alembic(url, lambda config: step(config, revision))


async def run(url: str, statement: str) -> None:
    async with connect(url) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def transaction_of_another(url: str, statement: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(statement)
    yield
    await transaction.rollback()
    await connection.close()


async def test_up_down_and_up_again_ends_the_same(empty_database: TestDatabase) -> None:
    url = empty_database.owner_url
    before = await objects_of(url)
    await go(url, "head")
    up = await tables_of(url), await objects_of(url)
    await go(url, "base")
    down = await objects_of(url)
    await go(url, "head")

    assert {name for name, _ in down - before if not name.lstrip("_").startswith("alembic_version")} == set()
    assert (await tables_of(url), await objects_of(url)) == up


async def test_every_revision_can_be_downgraded_and_upgraded_again(empty_database: TestDatabase) -> None:
    url = empty_database.owner_url
    for revision in OLDEST_FIRST:
        await go(url, revision)
        up = await tables_of(url)
        await go(url, "-1")
        await go(url, revision)
        assert await tables_of(url) == up


async def test_a_migrated_database_can_be_downgraded_with_its_functions_and_triggers(database: TestDatabase) -> None:
    await go(database.owner_url, "base")
    async with connect(database.owner_url) as connection:
        assert await pending_changes(connection) == ["the whole schema"]

    await migrate(database.owner_url, database.service_url)
    async with connect(database.service_url) as connection:
        assert await pending_changes(connection) == []


async def test_alembic_finds_no_difference_to_the_tables_in_python(database: TestDatabase) -> None:
    await alembic(database.owner_url, command.check)


async def test_the_tables_in_python_equal_those_of_the_revisions(
    empty_database: TestDatabase, database: TestDatabase
) -> None:
    """Alembic does not compare names and texts of constraints, defaults, collations and identity columns."""
    async with connect(empty_database.owner_url) as connection:
        await connection.execute("CREATE SCHEMA queuestats")

        def create_all(wrapped: Any) -> None:
            metadata.create_all(wrapped)
            wrapped.commit()

        await with_alembic(connection, create_all)
    from_revisions = await tables_of(database.owner_url)

    assert {
        part: {row for row in rows if "alembic_version" not in row[0]} for part, rows in from_revisions.items()
    } == await tables_of(empty_database.owner_url)


async def test_the_service_lacks_no_right_between_a_revision_and_the_end_of_migrate(
    database: TestDatabase,
) -> None:
    """The previous release serves during the migration, and is not ready if it lacks a right."""
    await go(database.owner_url, "-1")
    await go(database.owner_url, "head")
    rights = [condition for condition in CONDITIONS if condition.name == "service_rights"]
    async with connect(database.service_url) as connection:
        assert await examine(connection, "queuestats_service", conditions=rights) == []


async def test_migrating_twice_changes_nothing(database: TestDatabase) -> None:
    before = await tables_of(database.owner_url), await objects_of(database.owner_url)
    await migrate(database.owner_url, database.service_url)
    assert (await tables_of(database.owner_url), await objects_of(database.owner_url)) == before


async def test_two_migrations_at_once_both_succeed(empty_database: TestDatabase, database: TestDatabase) -> None:
    url = empty_database.owner_url
    await asyncio.gather(*(migrate(url, empty_database.service_url) for _ in range(3)))
    assert await tables_of(url) == await tables_of(database.owner_url)


async def test_a_migration_waits_for_the_one_before_it(empty_database: TestDatabase) -> None:
    async with changing_schema(empty_database.owner_url):
        second = asyncio.create_task(migrate(empty_database.owner_url, None))
        await asyncio.sleep(0.5)
        assert not second.done()
    await asyncio.wait_for(second, 120)


async def test_a_migration_that_gets_no_lock_fails_in_one_sentence_and_can_be_repeated(
    database: TestDatabase,
) -> None:
    started = time.monotonic()
    async with transaction_of_another(database.owner_url, "LOCK TABLE queuestats.alembic_version"):
        with pytest.raises(CommandError, match="in use") as caught:
            await migrate(database.owner_url, database.service_url)

    assert "\n" not in str(caught.value)
    assert time.monotonic() - started >= LOCK_TIMEOUT_SECONDS
    await migrate(database.owner_url, database.service_url)


async def test_a_revision_is_atomic(empty_database: TestDatabase) -> None:
    """The revision that creates `tokens` after `messages` waits for a table `tokens` of another transaction."""
    url = empty_database.owner_url
    await run(url, "CREATE SCHEMA queuestats")
    async with transaction_of_another(url, "CREATE TABLE queuestats.tokens ()"):
        with pytest.raises(CommandError, match="in use"):
            await migrate(url, None)

    assert {"messages", "tokens"} & {name for name, _ in await objects_of(url)} == set()
    await migrate(url, None)


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_migration_that_is_killed_half_way_can_be_repeated(empty_database: TestDatabase, end: str) -> None:
    url = empty_database.owner_url
    script = "import asyncio, sys; from service.schema import migrate; asyncio.run(migrate(sys.argv[1], None))"
    await run(url, "CREATE SCHEMA queuestats")
    async with transaction_of_another(url, "CREATE TABLE queuestats.tokens ()"):
        running = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url)
        await until_somebody_waits(url)
        getattr(running, end)()
        assert await running.wait() != 0

    await migrate(url, empty_database.service_url)
    async with connect(url) as connection:
        assert await pending_changes(connection) == []


async def test_ctrl_c_ends_a_migration_that_waits(empty_database: TestDatabase) -> None:
    url = empty_database.owner_url
    await run(url, "CREATE SCHEMA queuestats")
    async with transaction_of_another(url, "CREATE TABLE queuestats.tokens ()"):
        running = asyncio.create_task(migrate(url, None))
        await until_somebody_waits(url)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    await migrate(url, None)


async def until_somebody_waits(url: str) -> None:
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    async with asyncio.timeout(120), connect(url) as connection:
        while not await connection.fetchval(waiting):  # noqa: ASYNC110 - a wait for a lock causes no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "former",
    [
        "partition_versions() RETURNS TABLE (partition oid, version bigint) LANGUAGE sql AS 'SELECT 1::oid, 1::bigint'",
        "note_task(task text, error text) RETURNS void LANGUAGE sql AS ''",
        "note_task(of_task text, of_error text DEFAULT NULL) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    ],
)
async def test_a_function_with_another_type_or_parameters_is_recreated_with_its_rights(
    database: TestDatabase, owner: Any, former: str
) -> None:
    signatures = (
        "SELECT array_agg(format('%s %s %s', oid::regprocedure, pg_get_function_result(oid),"
        " pg_get_function_arguments(oid)) ORDER BY oid::regprocedure::text)"
        " FROM pg_proc WHERE pronamespace = 'queuestats'::regnamespace"
    )
    wanted = await owner.fetchval(signatures)
    name = former.partition("(")[0]
    await owner.execute(f"DROP FUNCTION queuestats.{name}; CREATE FUNCTION queuestats.{former}")
    await owner.execute(f"GRANT EXECUTE ON FUNCTION queuestats.{name} TO pg_monitor")

    await migrate(database.owner_url, database.service_url)
    assert await owner.fetchval(signatures) == wanted
    assert await owner.fetchval(f"SELECT has_function_privilege('pg_monitor', 'queuestats.{name}'::regproc, 'EXECUTE')")


# The views of a former release: with columns that were later dropped, renamed, or given another type.
FORMER_VIEWS = [
    (
        "queued_messages",
        "SELECT sender_id, account_id, campaign_id, isp, status, id, ctid AS address, status AS stored_status,"
        " recipient FROM messages",
    ),
    ("queued_messages", "SELECT sender_id, account_id, campaign_id, isp AS provider, status FROM messages"),
    ("queued_messages", "SELECT sender_id::text AS sender_id, account_id FROM messages"),
    ("trusted_watermarks", "SELECT sender_id, 1 AS former FROM queuestats.watermarks"),
]


async def make_former_view(owner: Any, view: str, former: str) -> None:
    """The view, with a function that returns its rows."""
    await owner.execute(
        f"DROP VIEW queuestats.{view} CASCADE; CREATE VIEW queuestats.{view} AS {former};"
        "DROP FUNCTION IF EXISTS queuestats.messages_of;"
        f"CREATE FUNCTION queuestats.messages_of(of_senders bigint[]) RETURNS SETOF queuestats.{view}"
        f" LANGUAGE sql AS 'SELECT * FROM queuestats.{view}';"
        "UPDATE queuestats.repeatable_migrations SET hash = ''"
    )


@pytest.mark.parametrize(("view", "former"), FORMER_VIEWS)
async def test_a_view_with_other_columns_is_recreated_with_its_rights(
    database: TestDatabase, owner: Any, view: str, former: str
) -> None:
    columns = (
        "SELECT array_agg(format('%s %s', attname, format_type(atttypid, atttypmod)) ORDER BY attnum)"
        f" FROM pg_attribute WHERE attrelid = 'queuestats.{view}'::regclass AND attnum > 0"
    )
    rights = (
        f"SELECT ARRAY(SELECT relacl::text FROM pg_class WHERE oid = 'queuestats.{view}'::regclass)"
        f" || ARRAY(SELECT attacl::text FROM pg_attribute WHERE attrelid = 'queuestats.{view}'::regclass"
        " AND attname = 'sender_id')"
    )
    wanted = await owner.fetchval(columns)
    await make_former_view(owner, view, former)
    await owner.execute(
        f"GRANT SELECT ON queuestats.{view} TO pg_monitor; GRANT SELECT (sender_id) ON queuestats.{view} TO PUBLIC"
    )
    granted = await owner.fetchval(rights)

    await migrate(database.owner_url, None)
    assert await owner.fetchval(columns) == wanted
    assert await owner.fetchval(rights) == granted


async def test_a_view_that_must_be_recreated_is_named_if_another_view_depends_on_it(
    database: TestDatabase, owner: Any
) -> None:
    await make_former_view(owner, "queued_messages", "SELECT sender_id AS sender FROM messages")
    await owner.execute("CREATE VIEW queuestats.theirs AS TABLE queuestats.queued_messages")
    with pytest.raises(CommandError, match=r"view queuestats\.theirs depends on view queuestats\.queued_messages"):
        await migrate(database.owner_url, database.service_url)

    await owner.execute("DROP VIEW queuestats.theirs")
    await migrate(database.owner_url, database.service_url)


async def test_a_function_that_must_be_recreated_is_named_if_a_view_depends_on_it(
    database: TestDatabase, owner: Any
) -> None:
    await owner.execute(
        "DROP FUNCTION queuestats.is_holdable;"
        "CREATE FUNCTION queuestats.is_holdable() RETURNS integer LANGUAGE sql AS 'SELECT 1';"
        "CREATE VIEW theirs AS SELECT queuestats.is_holdable()"
    )
    with pytest.raises(CommandError, match=r"queuestats\.is_holdable\(\).*view theirs depends on function"):
        await migrate(database.owner_url, database.service_url)

    await owner.execute("DROP VIEW theirs")
    await migrate(database.owner_url, database.service_url)


async def test_a_schema_of_a_newer_version_is_not_changed_and_is_current(database: TestDatabase) -> None:
    """The previous release serves while the next one is deployed."""
    async with connect(database.owner_url) as connection:
        await connection.execute("UPDATE queuestats.alembic_version SET version_num = '29991231_01'")
        assert await pending_changes(connection) == []

    with pytest.raises(CommandError, match=r"29991231_01.*no release up to this one"):
        await migrate(database.owner_url, database.service_url)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("CREATE VIEW believed_horizons AS SELECT 1", "only some of the objects of version 0.1.0"),
        ("CREATE SCHEMA queuestats CREATE TABLE theirs ()", "belongs to another application"),
    ],
)
async def test_an_incomplete_first_layout_and_a_foreign_schema_are_not_changed(
    empty_database: TestDatabase, found: str, said: str
) -> None:
    await run(empty_database.owner_url, found)
    before = await objects_of(empty_database.owner_url)
    with pytest.raises(CommandError, match=said):
        await migrate(empty_database.owner_url, empty_database.service_url)
    assert await objects_of(empty_database.owner_url) == before


async def test_pending_revisions_and_files_are_named(empty_database: TestDatabase) -> None:
    async with connect(empty_database.owner_url) as connection:
        assert await pending_changes(connection) == ["the whole schema"]
        await go(empty_database.owner_url, OLDEST_FIRST[0])
        pending = await pending_changes(connection)
        assert ("revision" in pending) == (len(OLDEST_FIRST) > 1)


async def test_the_lock_is_released_at_the_end(database: TestDatabase, owner: Any) -> None:
    await migrate(database.owner_url, database.service_url)
    assert await owner.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("queuestats_test_", "queuestats_none_"), "does not exist"),
        (lambda _: "postgresql://nobody@127.0.0.1:1/none", "can't be reached"),
        (lambda _: "postgresql://nobody@127.0.0.1:port/none", "can't be reached"),
    ],
)
async def test_an_unavailable_database_is_reported_in_one_sentence(
    database: TestDatabase, change: Callable[[str], str], said: str
) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        await migrate(change(database.owner_url), None)
    assert "\n" not in str(caught.value)

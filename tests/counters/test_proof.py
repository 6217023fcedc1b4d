"""Each statement proves its counts in its own snapshot, so no report follows a change that made the counts wrong."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.adoption.attach import attach
from service.adoption.trial import try_out
from service.counters.health import examine
from service.counters.verify import find_differences, verify_database
from service.db import WRITING_WITHOUT_LIMIT, Database, connect, load_statement
from service.errors import Unavailable, Uncounted
from service.model import Dimension, Measure, StatsQuery, TopQuery
from service.queue.stats import CounterReader, fetch_report
from service.queue.top import fetch_top
from service.schema import migrate
from service.schema.mapping import QueueMapping
from tests.cli.programs import queuestats
from tests.conftest import TestDatabase, open_pool
from tests.oracle import Message, insert

SERVICE = "queuestats_service"
INSERT = "INSERT INTO messages (sender_id, recipient) SELECT 119, 'x' FROM generate_series(1, 5)"
SWITCHED_OFF = {
    "disabled": "ALTER TABLE messages DISABLE TRIGGER messages_inserted",
    "all disabled": "ALTER TABLE messages DISABLE TRIGGER USER",
    "for replicas only": "ALTER TABLE messages ENABLE REPLICA TRIGGER messages_inserted",
}
IS_LOCK_AWAITED = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OFF_AND_ON = "ALTER TABLE messages DISABLE TRIGGER USER; {} ALTER TABLE messages ENABLE TRIGGER USER"


@pytest.fixture
async def service(database: TestDatabase) -> AsyncIterator[Database]:
    async with open_pool(database.service_url, pool_size=2) as opened:
        yield opened


async def total(service: Database, sender_id: int = 119) -> int:
    """The total that the service reports: from the counters, or from the messages if the counters are incomplete."""
    return (await fetch_report(service, StatsQuery(sender_id))).rows[0].total


async def total_by_counters(service: Database, sender_id: int = 119) -> int:
    (report,) = await CounterReader(service).read([StatsQuery(sender_id)])
    assert not isinstance(report, Exception)
    return report.rows[0].total


async def recount(service: Database) -> bool:
    """Runs the statement that each process of the service runs once a second."""
    ((is_done,),) = await service.fetch(load_statement("queries/recount"), WRITING_WITHOUT_LIMIT)
    return bool(is_done)


async def findings(connection: Any) -> set[str]:
    return {each.condition for each in await examine(connection, SERVICE)}


async def until(connection: Any, rows: str) -> None:
    while not await connection.fetchval(f"SELECT EXISTS (SELECT {rows})"):  # noqa: ASYNC110 the server sends no event
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("way", SWITCHED_OFF)
async def test_a_disabled_trigger_makes_every_request_a_503_until_the_recount(
    database: TestDatabase, service: Database, owner: Any, way: str
) -> None:
    await insert(owner, [Message()] * 3)
    assert await total(service) == 3
    await owner.execute(SWITCHED_OFF[way])
    await owner.execute(INSERT)
    for question in (
        fetch_report(service, StatsQuery(119)),
        fetch_top(service, TopQuery(Dimension.SENDER, Measure.TOTAL, 10)),
    ):
        with pytest.raises(Unavailable, match="not counted"):
            await question
    assert {"untrusted", "triggers"} <= await findings(owner)
    # The service can't enable the trigger, so it does not recount.
    assert not await recount(service)

    await migrate(database.owner_url, database.service_url)
    assert await total_by_counters(service) == 8
    assert await find_differences(owner, None) == []
    assert await findings(owner) == set()


async def test_a_trigger_that_was_briefly_disabled_is_detected_and_causes_a_recount(
    service: Database, owner: Any
) -> None:
    await owner.execute(INSERT)
    assert await total(service) == 5
    async with owner.transaction():
        await owner.execute(OFF_AND_ON.format("DELETE FROM messages;"))
    with pytest.raises(Unavailable, match="not counted"):
        await total(service)
    assert await recount(service)
    assert await total_by_counters(service) == 0
    assert not await recount(service)


async def test_correct_counts_without_a_proof_are_not_used_and_verify_reports_this(
    database: TestDatabase, service: Database, owner: Any
) -> None:
    await owner.execute(INSERT)
    await owner.execute(OFF_AND_ON.format(""))
    async with connect(database.owner_url) as connection:
        verified = await verify_database(connection, database.owner_url, None)
        assert verified.differences == []
        assert "are not trusted, so no answer was compared: a trigger" in str(verified.not_compared[0])
        done = queuestats("verify", QUEUESTATS_DATABASE_URL=database.service_url)
        assert done.returncode == 3
        assert "No difference in what was compared." in done.stdout
        assert await verify_database(connection, database.owner_url, None, is_repairing=True) == ([], [], [])
    assert await total_by_counters(service) == 5


async def test_enabling_an_enabled_trigger_and_other_triggers_have_no_effect(service: Database, owner: Any) -> None:
    await owner.execute(INSERT)
    for statement in (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER theirs AFTER INSERT ON messages EXECUTE FUNCTION nothing()",
        "ALTER TABLE messages ENABLE ALWAYS TRIGGER messages_inserted",
        "ALTER TABLE messages DISABLE TRIGGER theirs",
        "ALTER TABLE messages ADD more text DEFAULT 'x'",
        "VACUUM (FREEZE) pg_trigger",
        "VACUUM FULL messages",
    ):
        await owner.execute(statement)
        assert await total_by_counters(service) == 5, statement


async def test_writes_of_a_session_in_the_replica_role_are_counted(service: Database, owner: Any) -> None:
    if not await owner.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        pytest.skip("only a superuser sets session_replication_role")
    await owner.execute("SET session_replication_role = replica")
    await owner.execute(INSERT)
    await owner.execute("UPDATE messages SET status = 'retry' WHERE id IN (SELECT id FROM messages LIMIT 2)")
    assert (await fetch_report(service, StatsQuery(119))).rows[0].retry == 2
    async with owner.transaction(isolation="repeatable_read"):
        await owner.execute("TRUNCATE messages")
        await owner.execute(INSERT)
    assert await total_by_counters(service) == 5
    assert await find_differences(owner, None) == []


async def test_an_inheriting_child_is_detected_by_the_next_request_and_its_end_causes_a_recount(
    service: Database, owner: Any
) -> None:
    await owner.execute(INSERT)
    assert await total(service) == 5
    await owner.execute(
        "CREATE TABLE child (LIKE messages INCLUDING ALL); INSERT INTO child (sender_id, recipient) VALUES (119, 'x');"
        " ALTER TABLE child INHERIT messages"
    )
    with pytest.raises(Unavailable, match="not counted"):
        await total(service)
    await owner.execute("SELECT queuestats.fold()")
    # A delete through the parent creates a delta for a message that was not counted.
    await owner.execute(
        "DELETE FROM messages WHERE tableoid = 'child'::regclass; ALTER TABLE child NO INHERIT messages"
    )
    assert await total(service) == 5
    assert await recount(service)
    assert await total_by_counters(service) == 5


async def test_a_parent_that_messages_inherits_from_and_its_end_are_detected(service: Database, owner: Any) -> None:
    await owner.execute(INSERT)
    await owner.execute("CREATE TABLE parent (LIKE messages); ALTER TABLE messages INHERIT parent")
    with pytest.raises(Unavailable, match="not counted"):
        await total(service)
    await owner.execute("SELECT queuestats.fold()")
    # No trigger of messages fires for a statement on its parent.
    await owner.execute("DELETE FROM parent WHERE id < 3; ALTER TABLE messages NO INHERIT parent")
    assert await total(service) == 3
    assert await recount(service)
    assert await total_by_counters(service) == 3


PARTITIONED = """
CREATE TABLE outbox (id bigint, sender bigint, state text, PRIMARY KEY (id, sender)) PARTITION BY LIST (sender);
CREATE TABLE outbox_1 PARTITION OF outbox FOR VALUES IN (1);
INSERT INTO outbox SELECT n, 1, 'new' FROM generate_series(1, 10) AS n
"""
OUTBOX = QueueMapping(table="outbox", sender="sender", status="state")
ATTACH_EMPTY = (
    "CREATE TABLE outbox_2 (LIKE outbox INCLUDING ALL); {}"
    " ALTER TABLE outbox ATTACH PARTITION outbox_2 FOR VALUES IN (2)"
)
CREATE = "CREATE TABLE outbox_2 PARTITION OF outbox FOR VALUES IN (2)"
ROWS = "INSERT INTO outbox_2 SELECT n, 2, 'new' FROM generate_series(1, 7) AS n;"


@pytest.fixture
async def partitioned(empty_database: TestDatabase) -> AsyncIterator[tuple[Any, Database]]:
    """An adopted table with partitions: a connection of its owner, and the service."""
    owner = await asyncpg.connect(empty_database.owner_url)
    try:
        await owner.execute(PARTITIONED)
        adopted, _ = await try_out(empty_database.owner_url, OUTBOX)
        await attach(empty_database.owner_url, empty_database.service_url, adopted, lambda step: None)
        async with open_pool(empty_database.service_url, pool_size=2) as service:
            assert await total_by_counters(service, 1) == 10
            yield owner, service
    finally:
        await owner.close()


@pytest.mark.parametrize("way", ["attached", "created"])
async def test_a_partition_that_was_attached_empty_is_counted_at_once(
    partitioned: tuple[Any, Database], way: str
) -> None:
    owner, service = partitioned
    await owner.execute(CREATE if way == "created" else ATTACH_EMPTY.format(""))
    assert await total_by_counters(service, 1) == 10
    await owner.execute(ROWS)
    assert await total_by_counters(service, 2) == 7
    assert await find_differences(owner, None) == []
    await owner.execute("ALTER TABLE outbox_2 DISABLE TRIGGER ALL")
    with pytest.raises(Unavailable, match="not counted"):
        await total(service, 2)


@pytest.mark.parametrize("looks", ["readers", "folds"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (ATTACH_EMPTY.format(ROWS), (10, 7)),
        (ATTACH_EMPTY.format(ROWS + "DELETE FROM outbox_2 WHERE id > 2;"), (10, 2)),
        ("DROP TABLE outbox_1", (0, 0)),
        ("ALTER TABLE outbox DETACH PARTITION outbox_1", (0, 0)),
        ("TRUNCATE outbox_1", (0, 0)),
        ("ALTER TABLE outbox DETACH PARTITION outbox_1; DELETE FROM outbox_1 WHERE id > 4;"
         " ALTER TABLE outbox ATTACH PARTITION outbox_1 FOR VALUES IN (1)", (4, 0)),
        # A partitioned table that is attached with its own partitions.
        ("CREATE TABLE sub (LIKE outbox INCLUDING ALL) PARTITION BY LIST (sender);"
         f" CREATE TABLE outbox_2 PARTITION OF sub FOR VALUES IN (2); {ROWS}"
         " ALTER TABLE outbox ATTACH PARTITION sub FOR VALUES IN (2)", (10, 7)),
        # Changes of a partition before a process has examined it.
        (f"{CREATE} | {ROWS} | TRUNCATE outbox_2", (10, 0)),
        ("CREATE TABLE sub PARTITION OF outbox FOR VALUES IN (2) PARTITION BY LIST (sender);"
         f" CREATE TABLE outbox_2 PARTITION OF sub FOR VALUES IN (2) | {ROWS} | TRUNCATE sub", (10, 0)),
        (f"{CREATE} | ALTER TABLE outbox_2 DISABLE TRIGGER USER; {ROWS} ALTER TABLE outbox_2 ENABLE TRIGGER USER",
         (10, 7)),
        (f"{CREATE}; ALTER TABLE outbox_2 DISABLE TRIGGER USER; {ROWS} ALTER TABLE outbox_2 ENABLE TRIGGER USER",
         (10, 7)),
    ],
)  # fmt: skip
async def test_attaching_or_detaching_partitions_with_rows_causes_a_recount(
    partitioned: tuple[Any, Database], change: str, expected: tuple[int, int], looks: str
) -> None:
    owner, service = partitioned
    for statement in change.split("|"):
        await owner.execute(statement)
    if looks == "folds":
        await owner.execute("SELECT queuestats.fold()")
    with pytest.raises(Uncounted):
        await total_by_counters(service, 1)
    assert (await total(service, 1), await total(service, 2)) == expected
    assert await recount(service)
    assert (await total_by_counters(service, 1), await total_by_counters(service, 2)) == expected
    assert await find_differences(owner, None) == []


async def test_partitions_of_an_empty_partition_are_counted_at_once(partitioned: tuple[Any, Database]) -> None:
    owner, service = partitioned
    await owner.execute(
        "CREATE TABLE sub (LIKE outbox INCLUDING ALL) PARTITION BY LIST (sender);"
        " CREATE TABLE outbox_2 PARTITION OF sub FOR VALUES IN (2);"
        " ALTER TABLE outbox ATTACH PARTITION sub FOR VALUES IN (2, 3)"
    )
    assert await total_by_counters(service, 1) == 10
    await owner.execute(f"CREATE TABLE outbox_3 PARTITION OF sub FOR VALUES IN (3); {ROWS}")
    await owner.execute("INSERT INTO outbox VALUES (1, 3, 'new')")
    assert [await total_by_counters(service, each) for each in (1, 2, 3)] == [10, 7, 1]
    assert await find_differences(owner, None) == []


async def test_a_foreign_partition_makes_every_request_a_503(partitioned: tuple[Any, Database]) -> None:
    owner, service = partitioned
    await owner.execute(
        "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;"
        " ALTER TABLE outbox DROP CONSTRAINT outbox_pkey;"
        " CREATE FOREIGN TABLE outbox_2 PARTITION OF outbox FOR VALUES IN (2) SERVER elsewhere"
    )
    with pytest.raises(Unavailable, match="not counted"):
        await total(service, 2)
    assert not await recount(service)
    assert any("is a foreign table" in each.finding for each in await examine(owner, SERVICE))


async def test_a_partition_that_is_detached_concurrently_is_not_counted_before_its_last_writer_has_ended(
    empty_database: TestDatabase, partitioned: tuple[Any, Database]
) -> None:
    owner, service = partitioned
    writer, detaching = [await asyncpg.connect(empty_database.owner_url) for _ in range(2)]
    try:
        written = writer.transaction()
        await written.start()
        await writer.execute("INSERT INTO outbox VALUES (11, 1, 'new')")
        detach = asyncio.create_task(detaching.execute("ALTER TABLE outbox DETACH PARTITION outbox_1 CONCURRENTLY"))
        await until(owner, "FROM pg_inherits WHERE inhdetachpending")
        # Otherwise the delta of the open transaction would follow a count that does not include it.
        assert not await recount(service)
        await owner.execute("SELECT queuestats.rebuild()")
        await written.commit()
        assert await total(service, 1) == 0
        await detach
    finally:
        await writer.close()
        await detaching.close()
    assert await total(service, 1) == 0
    assert await recount(service)
    assert await total_by_counters(service, 1) == 0
    assert await find_differences(owner, None) == []


async def test_a_database_of_the_previous_release_migrates_without_a_recount(
    database: TestDatabase, service: Database, owner: Any
) -> None:
    await owner.execute(INSERT)
    # A database of the previous release has no proof, and other triggers.
    await owner.execute(
        "UPDATE queuestats.baseline SET triggers = '{}', partitions = '{}', counted_at = '2026-01-01';"
        " ALTER TABLE messages ENABLE TRIGGER USER; DELETE FROM queuestats.repeatable_migrations"
    )
    await migrate(database.owner_url, database.service_url)
    assert await owner.fetchval("SELECT counted_at < now() - interval '1 day' FROM queuestats.baseline")
    assert await total_by_counters(service) == 5


async def test_a_migration_that_recreates_triggers_does_not_hide_that_one_was_disabled(
    database: TestDatabase, service: Database, owner: Any
) -> None:
    await owner.execute(OFF_AND_ON.format(INSERT + ";"))
    await owner.execute("DELETE FROM queuestats.repeatable_migrations")
    await migrate(database.owner_url, database.service_url)
    assert await total_by_counters(service) == 5


async def test_attaching_triggers_waits_for_a_transaction_that_has_disabled_one(
    database: TestDatabase, service: Database, owner: Any
) -> None:
    await owner.execute("DELETE FROM queuestats.repeatable_migrations")
    async with connect(database.owner_url) as loader:
        async with loader.transaction():
            await loader.execute(OFF_AND_ON.format(INSERT + ";"))
            migration = asyncio.create_task(migrate(database.owner_url, database.service_url))
            await until(owner, IS_LOCK_AWAITED)
        await migration
    assert await total(service) == 5
    await recount(service)
    assert await total_by_counters(service) == 5


async def test_a_recount_during_which_a_trigger_is_disabled_is_no_proof(
    database: TestDatabase, service: Database, owner: Any
) -> None:
    async with connect(database.owner_url) as counting:
        async with owner.transaction():
            await owner.execute("SELECT FROM queuestats.baseline FOR UPDATE")
            count = asyncio.create_task(counting.execute("SELECT queuestats.rebuild()"))
            async with connect(database.owner_url) as other:
                await until(other, IS_LOCK_AWAITED)
                await other.execute("ALTER TABLE messages DISABLE TRIGGER messages_inserted")
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await count
    await owner.execute(INSERT)
    with pytest.raises(Unavailable, match="not counted"):
        await total(service)


async def test_a_recount_is_refused_while_a_trigger_is_disabled(owner: Any) -> None:
    await owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_deleted")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="missing or disabled"):
        await owner.execute("SELECT queuestats.rebuild()")

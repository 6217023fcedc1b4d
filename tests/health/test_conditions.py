"""Each condition of health is violated in a live database. Every view reports it, and none does after the repair."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from service.counters.doctor import diagnose
from service.counters.health import (
    CONDITIONS,
    CONTRACT,
    NODE,
    POOLER,
    PROBE,
    SCHEMA,
    SERVED,
    SHARDS,
    UNEXAMINED,
    Severity,
)
from service.counters.readiness import Readiness, probe
from service.db import Database, fetch
from service.db.reconnecting import reconnecting_to
from service.errors import ServiceError
from service.queue.stats import Statistics
from service.schema import migrate
from service.settings import Settings
from tests.clusters import Cluster, binaries, running
from tests.conftest import PATIENCE_SECONDS, TestDatabase, open_pool
from tests.servers import scratch_folder

# Tested on their own servers by test_standby, test_pgbouncer, tests/citus and test_slow_statements.
ELSEWHERE = {"standby", POOLER.name, NODE.name, PROBE.name, "slow_statements", "old_snapshot"}
ELSEWHERE |= {"server_fault", "server_version", *(condition.name for condition in SHARDS)}
MIGRATE = "migrate"
ERROR, WARNING = Severity.ERROR, Severity.WARNING
SEVERITIES = {condition.name: condition.severity for condition in (*SERVED, *CONDITIONS)}
DRIFTED = "INSERT INTO messages (sender_id, recipient) VALUES (1, 'x'); DELETE FROM queuestats.deltas"
BURN_TRANSACTIONS = """
    CREATE TABLE burnt (number int);
    DO $$ BEGIN
      FOR i IN 1 .. 200001 LOOP
        BEGIN INSERT INTO burnt VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END;
      END LOOP;
    END $$
"""
ARRIVAL_INDEX = "CREATE INDEX messages_by_arrival ON messages (sender_id, status, created_at)"


@dataclass(frozen=True)
class Case:
    """`breaking` and `repair`: SQL with `{role}` for the role of the service, or migrate. `refuses`: stats gets 503."""

    condition: str
    breaking: str
    repair: str
    refuses: bool = False


def case(condition: str, breaking: str, repair: str = MIGRATE, *, refuses: bool = False) -> Any:
    return pytest.param(Case(condition, breaking, repair, refuses), id=f"{condition}: {breaking[:60]}")


CASES = [
    case("uncountable", "CREATE TABLE child () INHERITS (messages)", "DROP TABLE child", refuses=True),
    case("triggers", "ALTER TABLE messages DISABLE TRIGGER messages_updated", refuses=True),
    case("triggers", "DROP TRIGGER messages_inserted ON messages", refuses=True),
    case(
        "untrusted",
        "ALTER TABLE messages DISABLE TRIGGER messages_updated, ENABLE ALWAYS TRIGGER messages_updated",
        refuses=True,
    ),
    case(
        "partial_triggers",
        "ALTER TABLE messages ENABLE TRIGGER messages_updated; SELECT queuestats.recount_if_needed()",
    ),
    case("uncounted", "DELETE FROM queuestats.baseline"),
    case("service_rights", "REVOKE SELECT ON queuestats.counters FROM {role}", refuses=True),
    case("service_rights", "REVOKE SELECT ON queuestats.queued_messages FROM {role}"),
    case("service_rights", "REVOKE EXECUTE ON FUNCTION queuestats.fold FROM {role}"),
    case("service_rights", "REVOKE INSERT ON queuestats.audit_log FROM {role}"),
    case("service_rights", "REVOKE USAGE ON SCHEMA public FROM PUBLIC, {role}", refuses=True),
    case("login", "ALTER ROLE {role} VALID UNTIL '2026-01-01'", "ALTER ROLE {role} VALID UNTIL 'infinity'"),
    case("login", "ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),
    case("login", "ALTER ROLE {role} CONNECTION LIMIT 2", "ALTER ROLE {role} CONNECTION LIMIT -1"),
    case("login", "ALTER DATABASE {database} CONNECTION LIMIT 15", "ALTER DATABASE {database} CONNECTION LIMIT -1"),
    case(
        "login_ends",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE {role} VALID UNTIL %L', now() + interval '2 days'); END $$",
        "ALTER ROLE {role} VALID UNTIL 'infinity'",
    ),
    case(
        "time_limit",
        "ALTER ROLE {role} SET statement_timeout = '50ms'",
        "ALTER ROLE {role} SET statement_timeout = '15s'",
    ),
    case(
        "time_limit",
        "ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '1s'",
        "ALTER ROLE {role} IN DATABASE {database} RESET statement_timeout",
    ),
    case(
        "time_limit",
        "ALTER ROLE {role} RESET statement_timeout; ALTER DATABASE {database} SET statement_timeout = 900",
        "ALTER ROLE {role} SET statement_timeout = '15s'",
    ),
    case("settings", "ALTER ROLE {role} SET enable_indexscan = off", "ALTER ROLE {role} RESET enable_indexscan"),
    case(
        "settings",
        "ALTER ROLE {role} IN DATABASE {database} SET enable_seqscan = on",
        "ALTER ROLE {role} IN DATABASE {database} RESET enable_seqscan",
    ),
    case("settings", "ALTER ROLE {role} SET temp_file_limit = 0", "ALTER ROLE {role} RESET temp_file_limit"),
    case("objects", "DROP INDEX queuestats.counters_by_isp"),
    case("objects", "DROP INDEX messages_by_arrival", ARRIVAL_INDEX),
    case("objects", "ALTER TABLE queuestats.job_chunks RENAME TO job_chunks_former",
         "ALTER TABLE queuestats.job_chunks_former RENAME TO job_chunks"),
    case("objects", "DROP TABLE queuestats.job_chunks CASCADE"),
    case("objects", "DROP TABLE queuestats.deltas CASCADE", refuses=True),
    case("objects", "DROP TABLE queuestats.watermarks CASCADE", refuses=True),
    case("objects", "ALTER TABLE queuestats.jobs DROP COLUMN requested_by_kind"),
    case(UNEXAMINED.name, "DROP TABLE queuestats.objects"),
    case("objects", "DROP FUNCTION queuestats.suspect_senders"),
    case(
        "objects",
        "CREATE OR REPLACE VIEW queuestats.trusted_watermarks AS"
        " SELECT sender_id, epoch, compacted_at, watermark, running FROM queuestats.watermarks",
    ),
    case("objects", "ALTER FUNCTION queuestats.fold RESET ALL"),
    case("owner", "ALTER FUNCTION queuestats.compact OWNER TO {role}",
         "ALTER FUNCTION queuestats.compact OWNER TO {owner}; migrate"),
    case("owner", "ALTER TABLE queuestats.jobs OWNER TO {role}",
         "ALTER TABLE queuestats.jobs OWNER TO {owner}; migrate"),
    case("exposed", "GRANT EXECUTE ON FUNCTION queuestats.record_insert() TO PUBLIC"),
    case("exposed", "GRANT EXECUTE ON FUNCTION queuestats.rebuild TO PUBLIC"),
    case(
        "foreign_triggers",
        "CREATE TABLE theirs (); CREATE TRIGGER forged AFTER TRUNCATE ON theirs"
        " EXECUTE FUNCTION queuestats.record_truncate()",
        "DROP TABLE theirs",
    ),
    case("drift", DRIFTED + "; SELECT queuestats.record_drift(ARRAY[1], ARRAY[4])", "SELECT queuestats.rebuild()"),
    case("suspects", "INSERT INTO queuestats.counters VALUES (1, 'total', 0, 0, 0, '', -1, 0, 0, 0)",
         "SELECT queuestats.rebuild()"),
    case("suspects", "INSERT INTO queuestats.counters VALUES (1, 'total', 0, 0, 0, '', 1, 0, 0, 0),"
         " (1, 'account', 0, 0, 0, '', 2, 0, 0, 0)", "SELECT queuestats.rebuild()"),
    case("suspects", "INSERT INTO queuestats.counters VALUES (1, 'total', 9, 0, 0, '', 1, 0, 0, 0)",
         "SELECT queuestats.rebuild()"),
    case("sample", DRIFTED, "SELECT queuestats.rebuild()"),
    case("keys", "INSERT INTO queuestats.keys VALUES (7, 'acme'), (-7, 'emca')", "DELETE FROM queuestats.keys"),
    case("row_security", "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
         "ALTER TABLE messages DISABLE ROW LEVEL SECURITY"),
    case("row_security_forced", "ALTER TABLE messages FORCE ROW LEVEL SECURITY",
         "ALTER TABLE messages NO FORCE ROW LEVEL SECURITY"),
    *(
        case("autovacuum", f"ALTER TABLE {table} SET (autovacuum_enabled = {no})",
             f"ALTER TABLE {table} RESET (autovacuum_enabled)")
        for table, no in (("queuestats.deltas", "no"), ("queuestats.watermarks", "of"), ("messages", "0"))
    ),
    *(
        case("autovacuum", f"ALTER {place} SET track_counts = of", f"ALTER {place} RESET track_counts")
        for place in ("DATABASE {database}", "ROLE {role}", "ROLE {role} IN DATABASE {database}")
    ),
    case("invalid_indexes",
         "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_by_arrival'::regclass",
         "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'messages_by_arrival'::regclass"),
    case("background", "INSERT INTO queuestats.background_tasks (name, failed_at, failing_since, error)"
         " VALUES ('recount', now(), now(), 'no space left')", "DELETE FROM queuestats.background_tasks"),
    case("background", "INSERT INTO queuestats.jobs (action, sender_id, requested_by, request_id)"
         " VALUES ('purge', 1, 'x', 'x'); UPDATE queuestats.baseline SET counted_at = now() - interval '1 hour';"
         " UPDATE queuestats.repeatable_migrations SET applied_at = now() - interval '1 hour'",
         "DELETE FROM queuestats.jobs"),
    case("other_cluster", "INSERT INTO queuestats.deltas SELECT '999999999999', 1, 0, 0, '', 1, 0, 0, 0",
         "SELECT queuestats.rebuild()"),
    case("stuck_jobs", "INSERT INTO queuestats.jobs (action, sender_id, requested_by, request_id, created_at)"
         " VALUES ('purge', 1, 'x', 'x', now() - interval '1 hour')", "DELETE FROM queuestats.jobs"),
    case("verification", "INSERT INTO queuestats.audit_log (action, sender_id, request_id, messages)"
         " VALUES ('verify', 0, 'x', 3)", "DELETE FROM queuestats.audit_log"),
    case("verification", "UPDATE queuestats.baseline SET counted_at = now() - interval '31 days'",
         "UPDATE queuestats.baseline SET counted_at = now()"),
    case("privileged", "GRANT INSERT ON messages TO {role}", "REVOKE INSERT ON messages FROM {role}"),
    case("unlogged", "ALTER TABLE messages SET UNLOGGED", "ALTER TABLE messages SET LOGGED"),
    case("unlogged", "ALTER TABLE queuestats.counters SET UNLOGGED", "ALTER TABLE queuestats.counters SET LOGGED"),
    case("pending", "INSERT INTO queuestats.deltas SELECT '1', 1, 0, 0, '', 0, 0, 0, 0 FROM generate_series(1, 6000)",
         "DELETE FROM queuestats.deltas"),
    case("replica_identity",
         "ALTER TABLE messages REPLICA IDENTITY NOTHING; CREATE PUBLICATION ours FOR TABLE messages, queuestats.deltas",
         "DROP PUBLICATION ours"),
    case(SCHEMA.name, "DELETE FROM queuestats.repeatable_migrations WHERE name = 'fold.sql'"),
    case("statuses", "ALTER TYPE message_status ADD VALUE 'bounced'",
         "DELETE FROM pg_enum WHERE enumlabel = 'bounced'"),
    case(CONTRACT.name, "UPDATE queuestats.contract SET number = 0"),
]  # fmt: skip


@dataclass(frozen=True)
class Views:
    """The conditions that each view reports, and whether it refuses requests."""

    stats: bool
    ready: bool
    metrics: set[str]
    doctor: set[str]
    check: set[str]


NOTHING = Views(stats=False, ready=False, metrics=set(), doctor=set(), check=set())


async def look(database: TestDatabase, service: Database) -> Views:
    """`service` has the connections of a service that was running before the violation."""
    settings = Settings(database_url=database.service_url, admin_database_url=database.owner_url)
    # A command is a separate process, which does not wait for the next attempt of another.
    reconnecting_to.cache_clear()
    readiness = Readiness(service, settings.connections, Statistics(service, settings).warm_up)
    owner = await asyncpg.connect(database.owner_url)
    try:
        found = await diagnose(owner, database.owner_url, settings)
        quick = await diagnose(owner, database.owner_url, settings, is_quick=True)
    finally:
        await owner.close()
    return Views(
        stats=await refuses(probe(service)),
        ready=await refuses(readiness.obstacles()),
        metrics={finding.condition for finding in await readiness.findings()},
        doctor={finding.condition for finding in found},
        check={finding.condition for finding in quick if finding.severity is ERROR},
    )


async def refuses(answer: Any) -> bool:
    """Whether the awaitable raises an error or returns obstacles."""
    try:
        found = await answer
    except ServiceError:
        return True
    return isinstance(found, list) and found != []


@pytest.fixture
async def own_role(database: TestDatabase, owner: Any) -> AsyncIterator[str]:
    """A separate role of the service for this test, because all databases of a server share roles."""
    name = f"health_{uuid.uuid4().hex[:12]}"
    yield name
    await owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def site(database: TestDatabase, owner: Any, own_role: str) -> TestDatabase:
    url = database.service_url.replace("queuestats_service", own_role)
    await migrate(database.owner_url, url)
    await owner.execute("DROP OWNED BY queuestats_service")
    return TestDatabase(database.name, database.owner_url, url)


@pytest.mark.parametrize("broken", CASES)
async def test_a_violated_condition_is_reported_by_every_view_until_the_repair(
    site: TestDatabase, owner: Any, own_role: str, broken: Case
) -> None:
    places = {"role": own_role, "database": site.name, "owner": await owner.fetchval("SELECT current_user")}
    async with open_pool(site.service_url, pool_size=2) as service:
        assert not await refuses(probe(service))

        await owner.execute(format_sql(broken.breaking, places))
        seen = await look(site, service)
        assert seen.stats == broken.refuses
        assert seen.ready == (broken.refuses or broken.condition == CONTRACT.name)
        assert broken.condition in seen.doctor
        if broken.condition in {condition.name for condition in SERVED}:
            assert broken.condition in seen.metrics
        is_quick = broken.condition not in {"sample", "suspects"}
        assert (broken.condition in seen.check) == (SEVERITIES[broken.condition] is ERROR and is_quick)

        if repair := broken.repair.removesuffix(MIGRATE):
            await owner.execute(format_sql(repair, places))
        if broken.repair.endswith(MIGRATE):
            await migrate(site.owner_url, site.service_url)
        assert await look(site, service) == NOTHING


async def test_no_condition_is_violated_after_a_migration(site: TestDatabase) -> None:
    async with open_pool(site.service_url, pool_size=2) as service:
        assert await look(site, service) == NOTHING


def format_sql(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def test_every_condition_is_violated_by_a_test() -> None:
    tested = {parameter.values[0].condition for parameter in CASES}
    assert tested | ELSEWHERE == set(SEVERITIES)


@pytest.mark.parametrize(("condition", "number"), [("server_fault", 180001), ("server_version", 140009)])
async def test_a_server_of_an_unsupported_version_is_reported(owner: Any, condition: str, number: int) -> None:
    """A function reports the version in place of that of PostgreSQL, because these servers are not available."""
    await owner.execute(
        "CREATE SCHEMA other; CREATE FUNCTION other.current_setting(text) RETURNS text LANGUAGE sql"
        f" RETURN '{number}'; SET search_path = other, pg_catalog"
    )
    assert await fetch(owner, f"conditions/{condition}")
    await owner.execute("SET search_path = pg_catalog")
    assert not await fetch(owner, f"conditions/{condition}")


async def test_a_service_of_the_former_release_is_reported_a_minute_after_a_migration(owner: Any) -> None:
    """It folds, and has no right to record the time."""
    await owner.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')")
    await owner.execute("UPDATE queuestats.baseline SET counted_at = now() - interval '1 hour'")
    await owner.execute("UPDATE queuestats.repeatable_migrations SET applied_at = now()")
    assert not await fetch(owner, "conditions/background")
    await owner.execute("UPDATE queuestats.repeatable_migrations SET applied_at = now() - interval '2 minutes'")
    # A delta has the age of the oldest transaction of the server, which may be older in another test.
    while not (found := await fetch(owner, "conditions/background")):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert [row["finding"] for row in found] == ["fold has never succeeded"]


async def test_a_transaction_that_remains_open_is_reported_until_it_ends() -> None:
    """Uses its own server, because transactions of other tests would wait for this one."""
    with scratch_folder() as folder:
        cluster = Cluster(binaries(folder), folder / "server")
        cluster.initialise()
        with running(cluster):
            await migrate(cluster.url, None)
            holder, other = await asyncpg.connect(cluster.url), await asyncpg.connect(cluster.url)
            await holder.execute("BEGIN; SELECT pg_current_xact_id()")
            assert not await fetch(other, "conditions/old_snapshot")
            await other.execute(BURN_TRANSACTIONS)
            assert await fetch(other, "conditions/old_snapshot")
            await holder.execute("ROLLBACK")
            assert not await fetch(other, "conditions/old_snapshot")
            await asyncio.gather(holder.close(), other.close())


async def test_a_snapshot_in_another_database_is_reported_if_its_transaction_has_an_id() -> None:
    """The transaction of a pg_dump there has no id. A VACUUM here ignores its snapshot."""
    with scratch_folder() as folder:
        cluster = Cluster(binaries(folder), folder / "server")
        cluster.initialise()
        with running(cluster):
            here = await asyncpg.connect(cluster.url)
            await here.execute("CREATE DATABASE theirs")
            there = await asyncpg.connect(cluster.url, database="theirs")
            await there.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            await here.execute(BURN_TRANSACTIONS)
            assert not await fetch(here, "conditions/old_snapshot")
            await there.execute("SELECT pg_current_xact_id(); COMMIT; BEGIN; SELECT pg_current_xact_id()")
            await here.execute(f"DROP TABLE burnt; {BURN_TRANSACTIONS}")
            assert await fetch(here, "conditions/old_snapshot")
            await asyncio.gather(here.close(), there.close())


async def test_a_setting_that_is_off_is_corrected_at_its_source() -> None:
    """Uses its own server, because it changes the settings of the server."""
    with scratch_folder() as folder:
        cluster = Cluster(binaries(folder), folder / "server")
        cluster.initialise()
        with running(cluster, {"track_counts": "off"}):
            await migrate(cluster.url, cluster.url.replace("postgres@", "queuestats_service@"))
            connection = await asyncpg.connect(cluster.url)
            by_command_line, *others = await fetch(connection, "conditions/autovacuum")
            assert ("command line" in by_command_line["finding"], by_command_line["command"]) == (True, None)
            assert not others

            await connection.execute("ALTER SYSTEM SET autovacuum = off")
            await connection.execute("ALTER ROLE ALL SET track_counts = off; SELECT pg_reload_conf()")
            await connection.close()
            connection = await eventually_without_autovacuum(cluster.url)
            found = await fetch(connection, "conditions/autovacuum")
            assert {row["command"] for row in found} == {
                "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()",
                "ALTER ROLE ALL RESET track_counts",
            }
            for row in found:
                for statement in row["command"].split("; "):
                    await connection.execute(statement)
            await connection.execute("ALTER ROLE ALL SET jit = off; ALTER ROLE queuestats_service RESET jit")
            assert not await fetch(connection, "conditions/settings", service_role="queuestats_service")
            await connection.close()


async def eventually_without_autovacuum(url: str) -> asyncpg.Connection:
    """Waits until the server has read its configuration."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            connection = await asyncpg.connect(url)
            if await connection.fetchval("SHOW autovacuum") == "off":
                return connection
            await connection.close()

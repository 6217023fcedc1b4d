"""Existing tables: adopted, written to, counted, controlled, and detached."""

import asyncio
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.adoption.attach import detach, statements
from service.adoption.trial import check, try_out
from service.control.actor import Actor
from service.control.jobs import Control
from service.counters.health import examine
from service.counters.verify import find_differences
from service.db import connect, load_statement
from service.embedded import binaries
from service.errors import CommandError, ServiceError, Unavailable
from service.model import Action, ControlRequest, Grouping, StatsQuery
from service.queue.stats import fetch_report
from service.schema.files import SqlFile
from service.schema.mapping import QueueMapping
from service.schema.migrate import migrate
from tests.conftest import TestDatabase, open_pool
from tests.db.adoption import adopt, differences

migrations_module = sys.modules[migrate.__module__]
ACTOR = Actor("token", "test")
QUEUES = Path(__file__).parent / "queues"
SERVICE = "queuestats_service"


OUTBOX = """
CREATE SCHEMA mail;
CREATE TABLE mail.outbox (
  dropped integer, uid uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant uuid,
  recipient text NOT NULL, state text NOT NULL
);
ALTER TABLE mail.outbox DROP COLUMN dropped;
"""
OUTBOX_MAPPING = QueueMapping(
    table="mail.outbox",
    sender="tenant",
    isp="split_part(recipient, '@', 2)",
    status="case state when 'queued' then 'new' when 'deferred' then 'retry' when 'paused' then 'hold' end",
    where="state <> 'delivered' and tenant is not null",
    status_column="state",
    stored={"new": "queued", "retry": "deferred", "hold": "paused"},
)
TENANT = "8d1f3c1e-0000-4000-8000-000000000001"
WRITES = {
    "oban": (
        "INSERT INTO oban_jobs (worker, args) SELECT 'W', args FROM oban_jobs LIMIT 50",
        "UPDATE oban_jobs SET state = 'completed', completed_at = now() WHERE state = 'executing' AND id % 2 = 0",
        "UPDATE oban_jobs SET args = args || '{\"sender_id\": 9}' WHERE id % 7 = 0",
        'UPDATE oban_jobs SET args = \'{"sender_id": "none"}\' WHERE id = 3',
        "DELETE FROM oban_jobs WHERE id % 11 = 0",
    ),
    "graphile_worker": (
        "INSERT INTO graphile_worker._private_jobs (task_id, payload) SELECT 1, payload"
        " FROM graphile_worker._private_jobs LIMIT 50",
        "INSERT INTO graphile_worker._private_jobs (task_id, payload) VALUES (1, '{\"tenant\": \"new\"}'), (1, '{}')",
        "UPDATE graphile_worker._private_jobs SET locked_at = now() WHERE id % 3 = 0",
        "UPDATE graphile_worker._private_jobs SET locked_at = NULL, attempts = attempts + 1 WHERE id % 6 = 0",
        "UPDATE graphile_worker._private_jobs SET attempts = max_attempts WHERE id % 13 = 0",
        "DELETE FROM graphile_worker._private_jobs WHERE id % 11 = 0",
    ),
    "pg_boss": (
        "CREATE TABLE pgboss.job_bulk PARTITION OF pgboss.job FOR VALUES IN ('bulk')",
        "INSERT INTO pgboss.job (name, data) SELECT 'bulk', data FROM pgboss.job LIMIT 50",
        "INSERT INTO pgboss.job_bulk (name, data) SELECT 'bulk', data FROM pgboss.job LIMIT 5",
        "UPDATE pgboss.job SET name = 'bulk' WHERE state = 'retry'",
        "UPDATE pgboss.job SET state = 'completed' WHERE state = 'active'",
        "DELETE FROM pgboss.job WHERE data->>'sender' = '2' AND state = 'created'",
    ),
    "post_office": (
        'INSERT INTO post_office_email (from_email, "to", status) SELECT from_email, "to", 2 FROM post_office_email',
        "UPDATE post_office_email SET status = 0 WHERE status = 2 AND id % 3 = 0",
        "UPDATE post_office_email SET status = NULL WHERE id = 7",
        "UPDATE post_office_email SET status = 9 WHERE id % 5 = 0",
        "DELETE FROM post_office_email WHERE id % 11 = 0",
    ),
}
# A second mapping of the same table, as users of the project would write it.
TRUTH = {
    "oban": "SELECT (args->>'sender_id')::bigint, coalesce((args->>'account_id')::bigint, 0), 0,"
    " coalesce(split_part(args->>'to', '@', 2), ''),"
    " CASE state WHEN 'executing' THEN 'proc' WHEN 'retryable' THEN 'retry' ELSE 'new' END"
    " FROM oban_jobs WHERE state NOT IN ('completed', 'discarded', 'cancelled') AND args->>'sender_id' <> 'none'",
    "graphile_worker": "SELECT queuestats.key_id(payload->>'tenant'), 0,"
    " coalesce(queuestats.key_id(payload->>'campaign'), 0), coalesce(split_part(payload->>'to', '@', 2), ''),"
    " CASE WHEN locked_at IS NOT NULL THEN 'proc' WHEN attempts > 0 THEN 'retry' ELSE 'new' END"
    " FROM graphile_worker._private_jobs WHERE attempts < max_attempts AND payload->>'tenant' IS NOT NULL",
    "pg_boss": "SELECT (data->>'sender')::bigint, queuestats.key_id(name), 0, split_part(data->>'to', '@', 2),"
    " CASE state WHEN 'created' THEN 'new' WHEN 'active' THEN 'proc' ELSE 'retry' END"
    " FROM pgboss.job WHERE state < 'completed'",
    "post_office": "SELECT queuestats.key_id(from_email), 0, 0, split_part(\"to\", '@', 2),"
    " CASE status WHEN 2 THEN 'new' WHEN 3 THEN 'retry' ELSE 'hold' END FROM post_office_email WHERE status > 1",
}


def mapping_of(name: str) -> QueueMapping:
    return QueueMapping(**tomllib.loads((QUEUES / f"{name}.toml").read_text())["adopt"])


async def adopt_outbox(database: TestDatabase, admin: Any) -> int:
    """The number of the tenant."""
    await admin.execute(OUTBOX)
    await adopt(database, OUTBOX_MAPPING)
    number: int = await admin.fetchval("SELECT queuestats.key_id($1)", TENANT)
    return number


async def put(admin: Any, state: str, count: int = 1) -> None:
    await admin.execute(
        "INSERT INTO mail.outbox (tenant, recipient, state) SELECT $1, 'a@isp.example', $2 FROM generate_series(1, $3)",
        *(TENANT, state, count),
    )


async def states(admin: Any) -> dict[str, int]:
    return dict(await admin.fetch("SELECT state, count(*) FROM mail.outbox GROUP BY state"))


def dump(url: str) -> str:
    command: list[str | Path] = [binaries(18) / "pg_dump", "--no-owner", "--restrict-key", "x", "--dbname", url]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


@pytest.mark.parametrize("name", WRITES)
async def test_queues_of_public_projects_are_counted_and_unchanged_after_detaching(
    empty_database: TestDatabase, admin: Any, name: str
) -> None:
    await admin.execute((QUEUES / f"{name}.sql").read_text())
    before = dump(empty_database.owner_url)
    await adopt(empty_database, mapping_of(name))
    await detach(empty_database.owner_url, lambda what: None)
    assert dump(empty_database.owner_url) == before

    await adopt(empty_database, mapping_of(name))
    service = open_pool(empty_database.service_url)
    async with service:
        for write in ("SELECT", *WRITES[name], "SELECT queuestats.fold()", WRITES[name][-1]):
            await admin.execute(write)
            expected: Counter[tuple[int, int, int, str, str]] = Counter(map(tuple, await admin.fetch(TRUTH[name])))
            senders = {key[0] for key in expected}
            for sender in senders:
                report = await fetch_report(service, StatsQuery(sender, grouping=Grouping.ACCOUNT_CAMPAIGN))
                isps = await fetch_report(service, StatsQuery(sender, grouping=Grouping.ISP))
                found = {(row.account_id, row.campaign_id): row.total for row in report.rows}
                assert found == dict(_add(expected, lambda key: (key[1], key[2]), sender)), write
                assert {row.isp: row.total for row in isps.rows} == dict(_add(expected, lambda key: key[3], sender))
                for status in ("new", "proc", "retry", "hold"):
                    counted = sum(getattr(row, status) for row in report.rows)
                    assert counted == sum(n for key, n in expected.items() if key[0] == sender and key[4] == status)
            assert await admin.fetchval("SELECT count(DISTINCT sender_id) FROM queuestats.queued_messages") == len(
                senders
            )
    assert await differences(empty_database) == []
    assert await doctor(empty_database) == []


def _add(expected: Counter[Any], key: Callable[[Any], Any], sender: int) -> Counter[Any]:
    added: Counter[Any] = Counter()
    for each, count in expected.items():
        if each[0] == sender:
            added[key(each)] += count
    return added


async def doctor(database: TestDatabase) -> list[str]:
    async with connect(database.owner_url) as connection:
        found = await examine(connection, SERVICE)
    return [each.finding for each in found if "server" not in each.finding and "version" not in each.condition]


async def test_a_trial_measures_and_changes_nothing(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute(OUTBOX)
    await put(admin, "queued", 6000)
    before = dump(empty_database.owner_url)
    _, trial = await try_out(empty_database.owner_url, OUTBOX_MAPPING)
    assert trial.rows == 6000
    assert set(trial.statement_us) == {1, 500}
    assert all(us > 0 for pair in trial.statement_us.values() for us in pair)
    assert dump(empty_database.owner_url) == before


@pytest.mark.parametrize("place", ["sender", "account", "isp", "status", "where", "key"])
@pytest.mark.parametrize("writes", ["nextval('numbers')", "written('x')"])
async def test_a_mapping_that_writes_is_refused_and_nothing_is_written(
    empty_database: TestDatabase, admin: Any, place: str, writes: str
) -> None:
    await admin.execute(
        OUTBOX + "CREATE SEQUENCE numbers; CREATE TABLE log (word text);"
        "CREATE FUNCTION written(word text) RETURNS bigint LANGUAGE sql"
        " AS $$ INSERT INTO log VALUES (word); SELECT 1::bigint $$"
    )
    await put(admin, "queued", 3)
    expression = {"where": f"{writes} > 0", "isp": f"{writes}::text", "status": f"substr('new' || {writes}, 1, 3)"}
    with pytest.raises(CommandError, match=r"writes to the database|depends on more than the row"):
        await try_out(empty_database.owner_url, _changed(**{place: expression.get(place, writes)}))
    assert await admin.fetchrow("SELECT is_called, (SELECT count(*) FROM log) FROM numbers") == (False, 0)


async def test_the_names_of_keys_are_kept(empty_database: TestDatabase, admin: Any) -> None:
    number = await adopt_outbox(empty_database, admin)
    await put(admin, "queued")
    assert await admin.fetch("SELECT id, value FROM queuestats.keys") == [(number, TENANT)]
    # A writer that must neither wait nor fail does not store the name. The next writer stores it.
    other = TENANT.replace("1", "2")
    async with admin.transaction(isolation="repeatable_read"):
        await admin.execute(f"INSERT INTO mail.outbox VALUES (DEFAULT, '{other}', 'x', 'queued')")
    assert await admin.fetchval("SELECT count(*) FROM queuestats.keys") == 1
    await admin.execute("UPDATE mail.outbox SET recipient = 'y'")
    assert await admin.fetchval("SELECT value FROM queuestats.keys WHERE id = queuestats.key_id($1)", other) == other


async def test_rows_that_map_to_nothing_are_left_out_and_fail_no_writer(
    empty_database: TestDatabase, admin: Any
) -> None:
    await adopt_outbox(empty_database, admin)
    await put(admin, "unheard of")
    await admin.execute("INSERT INTO mail.outbox (recipient, state) VALUES ('x', 'queued')")
    await admin.execute("UPDATE mail.outbox SET state = 'queued', tenant = $1 WHERE recipient = 'x'", TENANT)
    assert await admin.fetchval("SELECT sum(new) FROM queuestats.deltas") == 1
    assert await differences(empty_database) == []


async def test_concurrent_writers_are_counted_while_the_table_is_attached(
    empty_database: TestDatabase, admin: Any
) -> None:
    await admin.execute(OUTBOX)
    await put(admin, "queued", 100)
    is_over = False

    async def write() -> int:
        writer = await asyncpg.connect(empty_database.owner_url)
        statements = 0
        while not is_over or statements < 20:
            await put(writer, "queued", 3)
            await writer.execute(
                "UPDATE mail.outbox SET state = 'delivered' WHERE uid IN"
                " (SELECT uid FROM mail.outbox WHERE state = 'queued' LIMIT 2 FOR UPDATE SKIP LOCKED)"
            )
            statements += 1
        await writer.close()
        return statements

    writers = [asyncio.create_task(write()) for _ in range(3)]
    await adopt(empty_database, OUTBOX_MAPPING)
    is_over = True
    await asyncio.gather(*writers)
    assert await differences(empty_database) == []


@pytest.mark.parametrize("name", ["a uuid", "an integer"])
async def test_hold_release_and_purge_write_the_statuses_of_the_mapping(
    empty_database: TestDatabase, admin: Any, name: str
) -> None:
    await admin.execute(OUTBOX)
    if name == "an integer":
        await admin.execute(
            "ALTER TABLE mail.outbox DROP COLUMN uid; ALTER TABLE mail.outbox ADD id serial PRIMARY KEY"
        )
    await adopt(empty_database, OUTBOX_MAPPING)
    number: int = await admin.fetchval("SELECT queuestats.key_id($1)", TENANT)
    await put(admin, "queued", 3)
    await put(admin, "deferred", 2)
    service = open_pool(empty_database.service_url, pool_size=2)
    async with service:
        control = Control(service, service, 1000)
        job = await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(number)), ACTOR, "1")
        assert (job.changed, await states(admin)) == (5, {"paused": 5})
        await put(admin, "queued", 4)
        assert await states(admin) == {"paused": 9}
        assert await differences(empty_database) == []
        await control.carry_out(ControlRequest(Action.RELEASE, StatsQuery(number)), ACTOR, "2")
        assert await states(admin) == {"queued": 7, "deferred": 2}
        await put(admin, "delivered")
        await control.carry_out(ControlRequest(Action.PURGE, StatsQuery(number)), ACTOR, "3")
        assert await states(admin) == {"delivered": 1}
    assert await differences(empty_database) == []


async def test_a_partitioned_queue_with_keys_that_are_no_number_is_held_and_released(
    empty_database: TestDatabase, admin: Any
) -> None:
    await admin.execute((QUEUES / "pg_boss.sql").read_text())
    await admin.execute(
        "CREATE TABLE pgboss.more PARTITION OF pgboss.job FOR VALUES IN ('x', 'y') PARTITION BY LIST (name)"
    )
    await admin.execute("CREATE TABLE pgboss.more_x PARTITION OF pgboss.more FOR VALUES IN ('x')")
    before = dump(empty_database.owner_url)
    holdable = {
        "status": "case state when 'created' then 'new' when 'active' then 'proc' when 'cancelled' then 'hold'"
        " else 'retry' end",
        "where": "state in ('created', 'retry', 'active', 'cancelled')",
        "status_column": "state",
        "stored": {"new": "created", "retry": "retry", "hold": "cancelled"},
    }
    await adopt(empty_database, QueueMapping(**{**_as_dict(mapping_of("pg_boss")), **holdable}))
    indexed = (
        "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text LIKE '%queuestats_message_id%'"
    )
    assert await admin.fetchval(indexed) == 4
    states = "SELECT state::text, count(*) FROM pgboss.job WHERE data->>'sender' = '1' GROUP BY state"
    at_first = dict(await admin.fetch(states))
    service = open_pool(empty_database.service_url, pool_size=2)
    async with service:
        control = Control(service, service, 1000)
        await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(1)), ACTOR, "1")
        await admin.execute("INSERT INTO pgboss.job (name, data) VALUES ('x', '{\"sender\": 1}')")
        held = at_first["created"] + at_first["retry"] + 1
        assert (await admin.fetchval("SELECT count(*) FROM pgboss.job WHERE state = 'cancelled'")) == held
        await control.carry_out(ControlRequest(Action.RELEASE, StatsQuery(1)), ACTOR, "2")
    assert dict(await admin.fetch(states)) == {**at_first, "created": at_first["created"] + 1}
    assert await differences(empty_database) == []
    await admin.execute("DELETE FROM pgboss.job WHERE name = 'x'")
    await detach(empty_database.owner_url, lambda what: None)
    assert _without_rows(dump(empty_database.owner_url)) == _without_rows(before)


def _without_rows(dumped: str) -> str:
    return re.sub(r"^COPY .*?^\\\.$", "", dumped, flags=re.MULTILINE | re.DOTALL)


async def test_hold_needs_a_mapping_of_the_status_for_writing(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute((QUEUES / "oban.sql").read_text())
    await adopt(empty_database, mapping_of("oban"))
    service = open_pool(empty_database.service_url, pool_size=2)
    async with service:
        control = Control(service, service, 1000)
        with pytest.raises(ServiceError, match="does not define how a status is written"):
            await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(1)), ACTOR, "1")
        await control.carry_out(ControlRequest(Action.PURGE, StatsQuery(1)), ACTOR, "2")
    assert await admin.fetchval("SELECT count(*) FROM queuestats.queued_messages WHERE sender_id = 1") == 0
    assert await differences(empty_database) == []


@pytest.mark.parametrize(
    ("change", "repair"),
    [
        ("RENAME recipient TO address", "RENAME address TO recipient"),
        ("DROP recipient", "ADD recipient text DEFAULT 'b@isp.example'"),
        ("ALTER recipient TYPE varchar(200), ALTER state SET DEFAULT 'queued'", ""),
        ("ALTER tenant TYPE text", "ALTER tenant TYPE uuid USING CAST(tenant AS uuid)"),
        ("ALTER state TYPE integer USING 1", "ALTER state TYPE text USING 'queued'"),
    ],
)
@pytest.mark.parametrize("is_partitioned", [False, True])
async def test_altering_a_mapped_column_fails_no_writer_and_no_report_is_wrong(
    empty_database: TestDatabase, admin: Any, change: str, repair: str, is_partitioned: bool
) -> None:
    partitioned = "PARTITION BY HASH (uid); CREATE TABLE mail.p PARTITION OF mail.outbox FOR VALUES WITH (MODULUS 1,"
    ending = "\n);\nALTER"
    assert ending in OUTBOX
    await admin.execute(OUTBOX.replace(ending, f"\n) {partitioned} REMAINDER 0);\nALTER") if is_partitioned else OUTBOX)
    await admin.execute("ALTER TABLE mail.outbox ALTER recipient DROP NOT NULL")
    await adopt(empty_database, OUTBOX_MAPPING)
    number = await admin.fetchval("SELECT queuestats.key_id($1)", TENANT)
    await put(admin, "queued", 3)
    async with open_pool(empty_database.service_url) as service:
        assert (await fetch_report(service, StatsQuery(number))).rows[0].total == 3
        await admin.execute(f"ALTER TABLE mail.outbox {change}")
        await admin.execute("INSERT INTO mail.outbox (tenant, state) SELECT tenant, state FROM mail.outbox LIMIT 1")
        await admin.execute("UPDATE mail.outbox SET uid = gen_random_uuid()")
        await admin.execute("DELETE FROM mail.outbox WHERE uid IN (SELECT uid FROM mail.outbox LIMIT 2)")
        if repair:
            with pytest.raises(Unavailable):
                await fetch_report(service, StatsQuery(number))
            assert [each for each in await doctor(empty_database) if "can't be evaluated" in each]
            with pytest.raises(CommandError, match="can't be evaluated"):
                await migrate(empty_database.owner_url, empty_database.service_url)
            await admin.execute(f"ALTER TABLE mail.outbox {repair}")
        # No command is needed: a scan counts the rows that the triggers missed until the next recount.
        assert (await fetch_report(service, StatsQuery(number))).rows[0].total == 2
        assert await service.fetch(load_statement("queries/recount"))
        assert (await fetch_report(service, StatsQuery(number))).rows[0].total == 2
    assert await differences(empty_database) == []


async def test_a_renamed_table_fails_no_writer_and_is_adopted_again(empty_database: TestDatabase, admin: Any) -> None:
    number = await adopt_outbox(empty_database, admin)
    await put(admin, "queued", 2)
    await admin.execute("ALTER TABLE mail.outbox RENAME TO letters; ALTER TABLE mail.letters SET SCHEMA public")
    await admin.execute("INSERT INTO letters (tenant, recipient, state) SELECT tenant, 'x', 'paused' FROM letters")
    async with open_pool(empty_database.service_url) as service:
        with pytest.raises(Unavailable):
            await fetch_report(service, StatsQuery(number))
        with pytest.raises(CommandError, match="dropped or renamed"):
            await migrate(empty_database.owner_url, empty_database.service_url)
        await adopt(empty_database, _changed(table="letters"))
        assert (await fetch_report(service, StatsQuery(number))).rows[0].hold == 2
    assert await differences(empty_database) == []


async def test_partitions_can_be_attached_and_detached(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute((QUEUES / "pg_boss.sql").read_text())
    await adopt(empty_database, mapping_of("pg_boss"))
    # The partition has its columns in another order.
    await admin.execute("CREATE TABLE pgboss.odd (dropped text, LIKE pgboss.job INCLUDING ALL)")
    await admin.execute("ALTER TABLE pgboss.odd DROP COLUMN dropped")
    await admin.execute("ALTER TABLE pgboss.job ATTACH PARTITION pgboss.odd FOR VALUES IN ('odd')")
    await admin.execute("INSERT INTO pgboss.job (name, data) SELECT 'odd', data FROM pgboss.job LIMIT 20")
    assert await differences(empty_database) == []
    await admin.execute("UPDATE pgboss.odd SET state = 'retry'")
    assert await differences(empty_database) == []
    await admin.execute("CREATE TABLE pgboss.late PARTITION OF pgboss.job FOR VALUES IN ('late')")
    await admin.execute("INSERT INTO pgboss.job (name, data) SELECT 'late', data FROM pgboss.job LIMIT 20")
    await admin.execute("SELECT queuestats.fold()")
    assert await differences(empty_database) == []
    await admin.execute("DROP TABLE pgboss.late")
    assert await differences(empty_database)
    await migrate(empty_database.owner_url, empty_database.service_url)
    assert await differences(empty_database) == []


@pytest.mark.parametrize("is_nested", [False, True])
async def test_a_new_partition_with_rows_is_detected(empty_database: TestDatabase, admin: Any, is_nested: bool) -> None:
    await admin.execute((QUEUES / "pg_boss.sql").read_text())
    await adopt(empty_database, mapping_of("pg_boss"))
    async with admin.transaction():
        await admin.execute(
            "CREATE TABLE pgboss.odd (LIKE pgboss.job INCLUDING ALL)"
            + (" PARTITION BY LIST (name); CREATE TABLE pgboss.leaf PARTITION OF pgboss.odd DEFAULT" * is_nested)
        )
        await admin.execute("INSERT INTO pgboss.odd (name, data) SELECT 'odd', data FROM pgboss.job LIMIT 5")
        await admin.execute("ALTER TABLE pgboss.job ATTACH PARTITION pgboss.odd FOR VALUES IN ('odd')")
    assert await differences(empty_database)
    await migrate(empty_database.owner_url, empty_database.service_url)
    assert await differences(empty_database) == []
    # Detached and attached: changes between the two are not counted.
    await admin.execute(
        "ALTER TABLE pgboss.job DETACH PARTITION pgboss.odd; DELETE FROM pgboss.odd;"
        " ALTER TABLE pgboss.job ATTACH PARTITION pgboss.odd FOR VALUES IN ('odd')"
    )
    assert await differences(empty_database)
    await migrate(empty_database.owner_url, empty_database.service_url)
    assert await differences(empty_database) == []


async def test_verify_reads_a_table_without_an_index_on_the_sender_twice(
    empty_database: TestDatabase, admin: Any
) -> None:
    await admin.execute("CREATE TABLE letters (id serial PRIMARY KEY, s int)")
    await adopt(empty_database, QueueMapping(table="letters", sender="s", status="'new'"))
    await admin.execute("INSERT INTO letters (s) SELECT 1 + n % 30 FROM generate_series(1, 300) AS n")
    await admin.execute("SELECT queuestats.fold()")
    scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'letters'"
    # The statistics of a session that has ended may arrive later.
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while await admin.fetchval(others):  # noqa: ASYNC110 the server has no event for it
        await asyncio.sleep(0.01)
    await admin.execute("SELECT pg_stat_force_next_flush()")
    async with connect(empty_database.owner_url) as connection:
        before = await connection.fetchval(scans)
        assert await find_differences(connection, None) == []
        await connection.execute("SELECT pg_stat_force_next_flush()")
        assert await connection.fetchval(scans) == before + 2


async def test_a_truncate_during_verify_is_no_drift_for_a_role_that_can_not_lock_the_table(
    empty_database: TestDatabase, admin: Any
) -> None:
    await adopt_outbox(empty_database, admin)
    await put(admin, "queued", 3)
    await admin.execute("SELECT queuestats.fold()")
    async with connect(empty_database.service_url) as service:
        pid = service.get_server_pid()
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("TRUNCATE mail.outbox")
        comparing = asyncio.create_task(find_differences(service, None))
        # At this point it has its snapshot, and has not read the table.
        while not await admin.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0 FROM pg_sleep(0.01)", pid):
            continue
        await transaction.commit()
        assert await comparing == []

        await admin.execute("INSERT INTO queuestats.counters VALUES (1, 'total', 0, 0, 0, '', 7, 0, 0, 0)")
        assert await find_differences(service, None) != []


async def test_other_columns_can_be_added_and_dropped(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute(OUTBOX + "ALTER TABLE mail.outbox ADD note varchar(20), ADD amount int")
    await adopt(empty_database, OUTBOX_MAPPING)
    await put(admin, "queued", 2)
    await admin.execute(
        "ALTER TABLE mail.outbox ADD word text DEFAULT 'x', ADD at timestamptz NOT NULL DEFAULT now(),"
        " ADD twice int GENERATED ALWAYS AS (2) STORED, ALTER note TYPE varchar(40), DROP amount"
    )
    await put(admin, "deferred", 2)
    await admin.execute("UPDATE mail.outbox SET state = 'delivered' WHERE state = 'queued'")
    assert await admin.fetchrow("SELECT sum(new), sum(retry) FROM queuestats.deltas") == (0, 2)
    assert await differences(empty_database) == []
    await admin.execute("ALTER TABLE mail.outbox ADD last text")
    await adopt(empty_database, _changed(campaign="coalesce(last, '')"))
    await admin.execute("ALTER TABLE mail.outbox RENAME word TO words; ALTER TABLE mail.outbox DROP COLUMN note")
    await put(admin, "queued")
    async with connect(empty_database.owner_url) as connection:
        assert await connection.fetchval("SELECT queuestats.is_proven()")
    assert await differences(empty_database) == []


async def test_control_can_be_added_later_to_a_status_that_is_an_enum_elsewhere(
    empty_database: TestDatabase, admin: Any
) -> None:
    await admin.execute(
        "CREATE TYPE mail_state AS ENUM ('queued', 'paused', 'gone');"
        "CREATE FUNCTION domain_of(text) RETURNS text IMMUTABLE RETURN split_part($1, '@', 2);"
        "CREATE TABLE letters (id int, made timestamptz DEFAULT now(), recipient text, word text, state mail_state,"
        " PRIMARY KEY (id, made));"
        "INSERT INTO letters SELECT n, now(), 'a@x', 'w', 'queued' FROM generate_series(1, 3) AS n"
    )
    mapping = QueueMapping(
        table="letters",
        sender="word",
        isp="domain_of(recipient)",
        status="case state when 'queued' then 'new' when 'paused' then 'hold' end",
        where="state <> 'gone'",
    )
    await adopt(empty_database, mapping)
    controlled = QueueMapping(
        **{**_as_dict(mapping), "status_column": "state", "stored": {"new": "queued", "hold": "paused"}}
    )
    await adopt(empty_database, controlled)
    sender = await admin.fetchval("SELECT queuestats.key_id('w')")
    service = open_pool(empty_database.service_url, pool_size=2)
    async with service:
        await Control(service, service, 1000).carry_out(ControlRequest(Action.HOLD, StatsQuery(sender)), ACTOR, "1")
        await admin.execute("INSERT INTO letters SELECT n, now(), 'a@x', 'w', 'queued' FROM generate_series(4, 5) n")
        assert (await fetch_report(service, StatsQuery(sender, isp="x"))).rows[0].hold == 5
    assert await differences(empty_database) == []
    # Back to the first mapping, with a number as the sender: no names are stored any more.
    await adopt(empty_database, QueueMapping(**{**_as_dict(mapping), "sender": "id"}))
    await admin.execute("UPDATE letters SET word = 'other'")
    assert await admin.fetchval("SELECT count(*) FROM queuestats.keys WHERE value = 'other'") == 0
    assert await differences(empty_database) == []


@pytest.mark.parametrize("file", ["uncountable.sql", "queued_messages.sql", "attach.sql"])
async def test_an_interrupted_adoption_can_be_completed_and_undone(
    empty_database: TestDatabase, admin: Any, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    await admin.execute(OUTBOX)
    before = dump(empty_database.owner_url)
    run_file = migrations_module._run_file

    async def cut_short(connection: Any, sql_file: SqlFile) -> None:
        if sql_file.name == file:
            raise CommandError("cut short")
        await run_file(connection, sql_file)

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(migrations_module, "_run_file", cut_short)
            with pytest.raises(CommandError, match="cut short"):
                await adopt(empty_database, OUTBOX_MAPPING)
        if file != "attach.sql":
            with pytest.raises(CommandError, match="An adoption of this database was interrupted"):
                await migrate(empty_database.owner_url, empty_database.service_url)
        await detach(empty_database.owner_url, lambda what: None)
        assert dump(empty_database.owner_url) == before
    await adopt(empty_database, OUTBOX_MAPPING)
    assert await differences(empty_database) == []


async def test_a_dropped_table_is_reported_and_can_be_detached(empty_database: TestDatabase, admin: Any) -> None:
    await adopt_outbox(empty_database, admin)
    await admin.execute("DROP TABLE mail.outbox CASCADE")
    with pytest.raises(CommandError, match="The adopted table was dropped or renamed"):
        await migrate(empty_database.owner_url, empty_database.service_url)
    await admin.execute(OUTBOX.replace("CREATE SCHEMA mail;", ""))
    await adopt(empty_database, OUTBOX_MAPPING)
    await put(admin, "queued")
    assert await differences(empty_database) == []
    await admin.execute("DROP TABLE mail.outbox CASCADE")
    await detach(empty_database.owner_url, lambda what: None)
    assert await admin.fetchval("SELECT to_regnamespace('queuestats')") is None


async def test_the_tools_of_the_table_s_owner_dump_restore_and_drop_it(
    empty_database: TestDatabase, admin: Any, tmp_path: Path
) -> None:
    """Tokens, holds and the audit log are kept."""
    await admin.execute(OUTBOX)
    await put(admin, "queued", 3)
    url, dumps = empty_database.owner_url, [tmp_path / "before", tmp_path / "after"]

    def run(program: str, *options: str | Path) -> list[str]:
        """The errors, without those about settings that an older server does not have."""
        command = [binaries(18) / program, *options]
        said = subprocess.run(command, check=False, capture_output=True, encoding="utf-8").stderr
        return [line for line in said.splitlines() if "error:" in line and "transaction_timeout" not in line]

    assert run("pg_dump", "-Fc", "-f", dumps[0], url) == []
    await adopt(empty_database, OUTBOX_MAPPING)
    await admin.execute("INSERT INTO queuestats.tokens (name, hash, scopes) VALUES ('kept', '\\x00', '{stats}')")
    await put(admin, "queued", 2)
    for only in ("--schema=mail", "--exclude-schema=queuestats"):
        assert run("pg_dump", "-Fc", "-f", dumps[1], only, url) == []
    for dumped, rows in zip(dumps, (3, 5), strict=True):
        assert run("pg_restore", "--clean", "--if-exists", "-n", "mail", "-d", url, dumped) == []
        await migrate(empty_database.owner_url, empty_database.service_url)
        assert await differences(empty_database) == []
        assert await admin.fetchval("SELECT count(*) FROM queuestats.queued_messages") == rows
    await admin.execute("DROP TABLE mail.outbox")
    assert await admin.fetchval("SELECT count(*) FROM queuestats.tokens") == 1


async def test_the_view_of_an_adopted_table_is_recreated_with_the_function_that_it_calls(
    empty_database: TestDatabase, admin: Any
) -> None:
    await adopt_outbox(empty_database, admin)
    await admin.execute(
        "DROP FUNCTION queuestats.mapped_messages CASCADE;"
        "CREATE FUNCTION queuestats.mapped_messages(of_senders bigint[]) RETURNS TABLE (sender text)"
        " LANGUAGE sql AS 'SELECT NULL::text';"
        "CREATE VIEW queuestats.queued_messages AS SELECT sender FROM queuestats.mapped_messages(NULL);"
        "CREATE FUNCTION queuestats.messages_of(of_senders bigint[]) RETURNS SETOF queuestats.queued_messages"
        " LANGUAGE sql AS 'SELECT * FROM queuestats.queued_messages'"
    )
    await migrate(empty_database.owner_url, empty_database.service_url)
    await put(admin, "queued")
    assert await admin.fetchval("SELECT count(*) FROM queuestats.queued_messages") > 0
    assert await differences(empty_database) == []


async def test_detaching_keeps_the_objects_of_others(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute("CREATE SCHEMA queuestats; CREATE TABLE queuestats.precious (x int);" + OUTBOX)
    with pytest.raises(CommandError, match="belongs to another application"):
        await adopt(empty_database, OUTBOX_MAPPING)
    await admin.execute("DROP SCHEMA queuestats CASCADE")
    await adopt(empty_database, OUTBOX_MAPPING)
    await admin.execute(
        "CREATE TABLE queuestats.precious (x int); CREATE VIEW mine AS TABLE queuestats.queued_messages"
    )
    with pytest.raises(CommandError, match=r"which would be dropped too: public\.mine, queuestats\.precious"):
        await detach(empty_database.owner_url, lambda what: None)
    await put(admin, "queued")
    assert await differences(empty_database) == []


async def test_a_detaching_that_failed_leaves_no_old_counts(empty_database: TestDatabase, admin: Any) -> None:
    number = await adopt_outbox(empty_database, admin)
    await put(admin, "queued", 2)
    service = open_pool(empty_database.service_url)
    async with service:
        async with admin.transaction():
            await admin.execute("SELECT FROM queuestats.counters")
            with pytest.raises(CommandError, match="stopped after"):
                await detach(empty_database.owner_url, lambda what: None)
        await put(admin, "queued", 2)
        assert (await fetch_report(service, StatsQuery(number))).rows[0].total == 4
        await migrate(empty_database.owner_url, empty_database.service_url)
        assert (await fetch_report(service, StatsQuery(number))).rows[0].total == 4
    assert await differences(empty_database) == []


async def test_every_statement_can_be_printed_and_run_by_hand(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute((QUEUES / "pg_boss.sql").read_text())
    mapping = QueueMapping(
        **{
            **_as_dict(mapping_of("pg_boss")),
            "status": "case state when 'created' then 'new' when 'cancelled' then 'hold' else 'retry' end",
            "where": "state in ('created', 'retry', 'cancelled')",
            "status_column": "state",
            "stored": {"new": "created", "hold": "cancelled"},
        }
    )
    adopted, trial = await try_out(empty_database.owner_url, mapping)
    script = statements(adopted, trial.index)
    # As described at the beginning of sql/roles.sql.
    script = "SET queuestats.service_role = 'queuestats_service'; SET queuestats.service_password = '';" + script
    assert run_script(script, empty_database.owner_url) == ""
    await migrate(empty_database.owner_url, empty_database.service_url)
    await admin.execute("UPDATE pgboss.job SET state = 'created' WHERE state = 'retry'")
    assert await differences(empty_database) == []
    assert await doctor(empty_database) == []


def run_script(script: str, url: str) -> str:
    """The errors in the output of psql."""
    command: list[str | Path] = [binaries(18) / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "--dbname", url]
    done = subprocess.run(command, input=script, check=False, capture_output=True, encoding="utf-8")
    return done.stderr if done.returncode else ""


def _changed(**changes: Any) -> QueueMapping:
    return QueueMapping(**{**_as_dict(OUTBOX_MAPPING), **changes})


BAD: dict[str, dict[str, Any]] = {
    "There is no table mail.nowhere": {"table": "mail.nowhere"},
    "sender does not compile: column .absent. does not exist": {"sender": "absent"},
    "sender is of the type numeric": {"sender": "1.5"},
    "status does not compile": {"status": "case"},
    "where is of the type text": {"where": "state"},
    "isp is of the type record": {"isp": "recipient, state"},
    "must be one expression": {"isp": "recipient), (state"},
    "5 rows have a sender that is NULL": {"where": "true"},
    "maps 1 rows to nothing, which is none of": {"where": "tenant is not null"},
    "maps 4 rows to sending, which is none of": {"status": "case state when 'queued' then 'sending' else 'new' end"},
    "depends on more than the row: functions in index predicate": {
        "where": "tenant is not null and state <> 'delivered' and now() > '2000-01-01'"
    },
    "no primary key: use --key": {"table": "mail.keyless"},
    "mail.shown is a view": {"table": "mail.shown"},
    "mail.parted_1 is a part of mail.parted": {"table": "mail.parted_1"},
    "already has a trigger messages_inserted": {"table": "mail.triggered"},
    "has no writable column phase": {"status_column": "phase", "stored": {"new": "a", "hold": "b"}},
    "needs status_column": {"status_column": "state"},
    "is none of new, proc, retry, hold": {"stored": {"gone": "x"}},
    "stored.hold is frozen, but its status does not map frozen back": {
        "status_column": "state",
        "stored": {"new": "queued", "hold": "frozen"},
        "status": "case state when 'queued' then 'new' else 'retry' end",
    },
    "stored.hold, paused, can't be written: new row for relation": {
        "table": "mail.checked",
        **{name: getattr(OUTBOX_MAPPING, name) for name in ("status_column", "stored")},
    },
    "key does not identify a row: several rows have a@isp.example": {
        "key": "recipient",
        **{name: getattr(OUTBOX_MAPPING, name) for name in ("status_column", "stored")},
    },
}


@pytest.mark.parametrize("sentence", BAD)
async def test_a_table_that_can_not_be_counted_is_refused_before_any_change(
    empty_database: TestDatabase, admin: Any, sentence: str
) -> None:
    await admin.execute(OUTBOX)
    await admin.execute(
        "CREATE TABLE mail.keyless AS TABLE mail.outbox; CREATE VIEW mail.shown AS TABLE mail.outbox;"
        " CREATE TABLE mail.parted (LIKE mail.outbox) PARTITION BY LIST (state);"
        " CREATE TABLE mail.parted_1 PARTITION OF mail.parted DEFAULT;"
        " CREATE TABLE mail.triggered (LIKE mail.outbox INCLUDING ALL);"
        " CREATE FUNCTION mail.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER messages_inserted AFTER INSERT ON mail.triggered EXECUTE FUNCTION mail.nothing();"
        " CREATE TABLE mail.checked (LIKE mail.outbox INCLUDING ALL, CHECK (state IN ('queued', 'deferred')));"
    )
    await put(admin, "queued", 4)
    await admin.execute("INSERT INTO mail.checked SELECT * FROM mail.outbox")
    await put(admin, "delivered")
    await admin.execute("INSERT INTO mail.outbox (recipient, state) SELECT 'x', 'queued' FROM generate_series(1, 5)")
    changed = {
        "where": "state <> 'delivered' and tenant is not null",
        "status_column": "",
        "stored": {},
        **BAD[sentence],
    }
    before = dump(empty_database.owner_url)
    with pytest.raises(CommandError, match=sentence):
        await try_out(empty_database.owner_url, QueueMapping(**{**_as_dict(OUTBOX_MAPPING), **changed}))
    assert dump(empty_database.owner_url) == before


def _as_dict(mapping: QueueMapping) -> dict[str, Any]:
    return {name: getattr(mapping, name) for name in mapping.__struct_fields__}


async def test_a_temporary_table_is_refused(empty_database: TestDatabase) -> None:
    async with connect(empty_database.owner_url) as connection:
        await connection.execute("CREATE TEMPORARY TABLE outbox (id int PRIMARY KEY)")
        with pytest.raises(CommandError, match="is a temporary table"):
            await check(connection, QueueMapping(table="outbox", sender="1", status="'new'"))


async def test_a_database_has_one_queue(database: TestDatabase, owner: Any) -> None:
    await owner.execute(OUTBOX)
    with pytest.raises(CommandError, match="a database has one queue"):
        await adopt(database, OUTBOX_MAPPING)


async def test_another_mapping_causes_a_recount(empty_database: TestDatabase, admin: Any) -> None:
    number = await adopt_outbox(empty_database, admin)
    await put(admin, "queued", 3)
    changed = QueueMapping(**{**_as_dict(OUTBOX_MAPPING), "isp": "'all'"})
    await adopt(empty_database, changed)
    service = open_pool(empty_database.service_url)
    async with service:
        report = await fetch_report(service, StatsQuery(number, grouping=Grouping.ISP))
    assert [(row.isp, row.total) for row in report.rows] == [("all", 3)]
    assert await differences(empty_database) == []


@pytest.mark.parametrize("is_partitioned", [False, True])
async def test_a_table_may_use_the_names_of_queuestats_for_columns_and_values(
    empty_database: TestDatabase, admin: Any, is_partitioned: bool
) -> None:
    """An earlier release replaced these words of our files in the text of a mapping."""
    await admin.execute(
        "CREATE TABLE outbox (id bigint PRIMARY KEY, sender bigint, queuestats text, new_rows text, schema text,"
        ' "{schema}" text DEFAULT \'"{messages}" :id public.messages\')'
        + " PARTITION BY HASH (id)" * is_partitioned
        + "; CREATE TABLE part PARTITION OF outbox FOR VALUES WITH (MODULUS 1, REMAINDER 0)" * is_partitioned
    )
    written = "(id, sender, queuestats, new_rows, schema) SELECT n, 119, 'queuestats', 'FROM new_rows', 'queued'"
    await admin.execute(f"INSERT INTO outbox {written} FROM generate_series(1, 30) n")
    mapping = QueueMapping(
        table="outbox",
        sender="sender",
        isp="queuestats || '|' || new_rows || '|' || \"{schema}\"",
        status="case schema when 'queued' then 'new' when 'public.messages' then 'hold' end",
        where="queuestats = 'queuestats' and new_rows = 'FROM new_rows'",
        status_column="schema",
        stored={"new": "queued", "hold": "public.messages"},
    )
    await adopt(empty_database, mapping)
    await admin.execute(f"INSERT INTO outbox {written} FROM generate_series(31, 40) n")
    service = open_pool(empty_database.service_url)
    async with service:
        (row,) = (await fetch_report(service, StatsQuery(119, grouping=Grouping.ISP))).rows
    assert (row.isp, row.new) == ('queuestats|FROM new_rows|"{messages}" :id public.messages', 40)
    assert await differences(empty_database) == []

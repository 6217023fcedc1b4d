"""The results of the mapping's expressions have one collation, one meaning of NULL, and one number for each key."""

from typing import Any

import pytest

from service.control.actor import Actor
from service.control.jobs import Control
from service.counters.health import examine
from service.counters.verify import verify_database
from service.db import connect
from service.errors import BadRequest, CommandError
from service.model import Action, ControlRequest, Grouping, StatsQuery
from service.queue.stats import fetch_report
from service.schema.mapping import QueueMapping
from service.schema.migrate import migrate
from tests.conftest import TestDatabase, open_pool
from tests.db.adoption import adopt, differences, make_nocase
from tests.db.lookup3 import key_id, same_key_id

OUTBOX = (
    "CREATE TABLE outbox (id bigserial PRIMARY KEY, tenant text, customer text, campaign uuid, state text NOT NULL"
    " DEFAULT 'new', number int)"
)
MAPPING = QueueMapping(table="outbox", sender="tenant", account="customer", campaign="campaign", status="state")
BY_NUMBER = QueueMapping(table="outbox", sender="number", status="state")

ACTOR = Actor("token", "test")


async def test_a_row_without_a_sender_is_not_counted_and_not_purged(empty_database: TestDatabase, admin: Any) -> None:
    await admin.execute(OUTBOX)
    await adopt(empty_database, MAPPING)
    await admin.execute("INSERT INTO outbox (tenant) VALUES (NULL), ('acme'), ('')")
    async with open_pool(empty_database.service_url, pool_size=2) as service:
        assert (await fetch_report(service, StatsQuery(1))).rows[0].total == 0
        await Control(service, service, 1000).carry_out(ControlRequest(Action.PURGE, StatsQuery(1)), ACTOR, "1")
        for tenant in ("acme", ""):
            report = await fetch_report(service, StatsQuery(key_id(tenant), grouping=Grouping.ACCOUNT_CAMPAIGN))
            assert [(row.account_id, row.campaign_id, row.total) for row in report.rows] == [(0, 0, 1)]
    assert await admin.fetchval("SELECT count(*) FROM outbox") == 3
    assert await differences(empty_database) == []


async def test_the_results_of_expressions_are_compared_by_their_bytes(empty_database: TestDatabase, admin: Any) -> None:
    if not await make_nocase(admin):
        pytest.skip("without ICU, no collation compares different texts as equal")
    await admin.execute(
        "CREATE TABLE outbox (id bigserial PRIMARY KEY, tenant text COLLATE nocase, isp text COLLATE"
        " nocase, state text COLLATE nocase)"
    )
    await adopt(empty_database, QueueMapping(table="outbox", sender="tenant", isp="isp", status="state"))
    await admin.execute(
        "INSERT INTO outbox (tenant, isp, state) VALUES ('acme', 'Gmail', 'new'), ('acme', 'gmail', 'new'),"
        " ('ACME', 'Gmail', 'new'), ('acme', 'Gmail', 'NEW')"
    )
    expected = {"acme": [("Gmail", 1), ("gmail", 1)], "ACME": [("Gmail", 1)]}
    async with open_pool(empty_database.service_url) as service:
        for tenant, isps in expected.items():
            for is_from_messages in (False, True):
                query = StatsQuery(key_id(tenant), grouping=Grouping.ISP)
                report = await fetch_report(service, query, is_from_messages=is_from_messages)
                assert [(row.isp, row.new) for row in report.rows] == isps
    assert await differences(empty_database) == []


@pytest.mark.parametrize("function", ["key_id", "status_of", "record_insert"])
async def test_verify_finds_an_error_in_a_function_that_the_triggers_call(
    empty_database: TestDatabase, admin: Any, function: str
) -> None:
    """The view uses the same function, so reports equal their definitions. A repair does not repeat the error."""
    await admin.execute(OUTBOX)
    await adopt(empty_database, MAPPING)
    definition = await admin.fetchval(f"SELECT pg_get_functiondef('queuestats.{function}'::regproc)")
    wrong = {
        "key_id": ("hashtextextended(word", "hashtextextended(word || 'x'"),
        "status_of": ("WHEN 'proc'", "WHEN 'PROC'"),
        "record_insert": ("CAST((customer) AS text)", "CAST((tenant) AS text)"),
    }[function]
    assert wrong[0] in definition
    await admin.execute(definition.replace(*wrong))
    await admin.execute("INSERT INTO outbox (tenant, state) VALUES ('acme', 'proc')")
    assert await differences(empty_database) != []
    await admin.execute(definition)
    async with connect(empty_database.owner_url) as connection:
        assert (await verify_database(connection, empty_database.owner_url, None, is_repairing=True)).left == []
    async with open_pool(empty_database.service_url) as service:
        assert (await fetch_report(service, StatsQuery(key_id("acme")))).rows[0].proc == 1


REFUSED = {
    "names a system column of outbox": {"where": "tableoid > 0"},
    "does not compile: column .outbox. does not exist": {"account": "outbox::text"},
    "does not compile: column .message. does not exist": {"account": "message::text"},
}


@pytest.mark.parametrize("sentence", REFUSED)
async def test_an_expression_with_another_result_in_a_trigger_is_refused(
    empty_database: TestDatabase, admin: Any, sentence: str
) -> None:
    await admin.execute(OUTBOX)
    mapping: dict[str, Any] = {"table": "outbox", "sender": "tenant", "status": "state", **REFUSED[sentence]}
    with pytest.raises(CommandError, match=sentence):
        await adopt(empty_database, QueueMapping(**mapping))


async def test_a_generated_column_that_is_not_stored_is_refused(empty_database: TestDatabase, admin: Any) -> None:
    if await admin.fetchval("SELECT current_setting('server_version_num')::int < 180000"):
        pytest.skip("such columns exist from PostgreSQL 18 on")
    await admin.execute(f"{OUTBOX}; ALTER TABLE outbox ADD twice bigint GENERATED ALWAYS AS (number * 2) VIRTUAL")
    with pytest.raises(CommandError, match="names twice, a generated column that is not stored"):
        await adopt(empty_database, QueueMapping(table="outbox", sender="twice", status="state"))


async def test_two_texts_with_one_number_are_refused(empty_database: TestDatabase, admin: Any) -> None:
    one, other = same_key_id()
    assert key_id(one) == key_id(other)
    await admin.execute(OUTBOX)
    await admin.execute("INSERT INTO outbox (tenant, customer) VALUES ($1, $2)", one, other)
    with pytest.raises(CommandError, match="have the same number, and would be counted as one") as refused:
        await adopt(empty_database, MAPPING)
    assert one in str(refused.value)
    assert other in str(refused.value)
    assert await admin.fetchval("SELECT to_regnamespace('queuestats')") is None


async def test_two_texts_with_one_number_fail_no_writer_and_are_reported(
    empty_database: TestDatabase, admin: Any
) -> None:
    one, other = same_key_id()
    await admin.execute(OUTBOX)
    await adopt(empty_database, MAPPING)
    for tenant in (one, other, one, other):
        await admin.execute("INSERT INTO outbox (tenant) VALUES ($1)", tenant)
    number = key_id(one)
    assert dict(await admin.fetch("SELECT id, value FROM queuestats.keys")) == {number: one, -number: other}
    async with connect(empty_database.owner_url) as connection:
        assert [each.condition for each in await examine(connection, "queuestats_service") if each.condition == "keys"]
    async with open_pool(empty_database.service_url, pool_size=2) as service:
        control = Control(service, service, 1000)
        assert (await control.measure())["colliding_keys"] == 1
        with pytest.raises(BadRequest, match="would act on both"):
            await control.begin(ControlRequest(Action.PURGE, StatsQuery(number)), ACTOR, "1")
    await admin.execute("DELETE FROM queuestats.baseline")
    with pytest.raises(CommandError, match="have the same number"):
        await migrate(empty_database.owner_url, empty_database.service_url)
    await admin.execute("UPDATE outbox SET tenant = 'acme' WHERE tenant = $1", other)
    await migrate(empty_database.owner_url, empty_database.service_url)
    assert await admin.fetchval("SELECT count(*) FROM queuestats.keys WHERE id < 0") == 0
    assert await differences(empty_database) == []


async def test_a_migration_recounts_if_the_rules_of_counting_have_changed(
    empty_database: TestDatabase, admin: Any
) -> None:
    await admin.execute(OUTBOX)
    await adopt(empty_database, MAPPING)
    await _as_the_release_before(admin)
    await admin.execute("INSERT INTO outbox (tenant) VALUES (NULL), ('acme')")
    await migrate(empty_database.owner_url, empty_database.service_url)
    assert await differences(empty_database) == []
    async with open_pool(empty_database.service_url) as service:
        assert (await fetch_report(service, StatsQuery(1))).rows[0].total == 0
        report = await fetch_report(service, StatsQuery(key_id("acme"), grouping=Grouping.ACCOUNT))
    assert [(row.account_id, row.total) for row in report.rows] == [(0, 1)]


@pytest.mark.parametrize(
    ("columns", "mapping", "is_counted_anew"),
    [
        ("", {}, False),
        ("", {"account": "tenant"}, True),
        ("ALTER TABLE outbox ALTER state TYPE text COLLATE nocase", {}, True),
        ("ALTER TABLE outbox ALTER state TYPE folded", {}, True),
        ("ALTER TABLE outbox ALTER tenant TYPE text COLLATE nocase", {}, False),
        ("", {"isp": "tenant collate nocase"}, True),
        ("", {"where": "lower(tenant) <> 'x' collate nocase"}, False),
        ('ALTER TABLE outbox ALTER state TYPE varchar(9) COLLATE "C"', {}, True),
        ("ALTER TABLE outbox ALTER state TYPE varchar(9)", {}, False),
    ],
)
async def test_a_migration_recounts_only_queues_that_the_changed_rules_concern(
    empty_database: TestDatabase, admin: Any, columns: str, mapping: dict[str, Any], is_counted_anew: bool
) -> None:
    await make_nocase(admin)
    await admin.execute(f"CREATE DOMAIN folded AS text COLLATE nocase; {OUTBOX}; {columns}")
    await adopt(empty_database, QueueMapping(**{"table": "outbox", "sender": "number", "status": "state", **mapping}))
    await admin.execute("INSERT INTO outbox (number) VALUES (1), (1)")
    await _as_the_release_before(admin)
    output: list[str] = []
    await migrate(empty_database.owner_url, empty_database.service_url, output.append)
    assert ("Every message was counted." in output) == is_counted_anew
    assert "The mapping of public.outbox." in output
    assert await differences(empty_database) == []
    output.clear()
    await migrate(empty_database.owner_url, empty_database.service_url, output.append)
    assert [each for each in output if not each.startswith("Rights")] == []


async def _as_the_release_before(admin: Any) -> None:
    """The objects that it created for a mapping have no version, and a NULL key has the number 1."""
    await admin.execute("UPDATE queuestats.adopted SET mapping = mapping - 'version' - 'has_collations'")
    await admin.execute(
        "CREATE OR REPLACE FUNCTION queuestats.key_id(word text) RETURNS bigint LANGUAGE sql IMMUTABLE AS"
        " 'SELECT greatest(hashtextextended(word, 0) & 9223372036854775807, 1)'"
    )

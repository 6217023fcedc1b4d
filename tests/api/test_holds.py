"""Which hold has a message, which tokens may end it, and changes of held messages by the platform."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec import structs

from service.access.admin import create_token
from service.counters.verify import keep_result, verify_database
from service.model import Format, Scope
from service.schema.migrate import migrate
from service.settings import Settings
from tests.api.operator import Operator
from tests.api.wire import check_error, client_of, serving
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

KEPT = "SELECT count(*) FROM queuestats.held_messages"


@pytest.fixture
async def agency(client: httpx.AsyncClient, database: TestDatabase) -> Operator:
    """A client whose token is limited to account 306."""
    return Operator(
        client, await create_token(database.owner_url, "agency", list(Scope), sender_ids=[119], account_ids=[306])
    )


async def holds(operator: Operator) -> dict[int, int]:
    """The number of messages of each active hold."""
    return {hold["id"]: hold["messages"] for hold in (await operator.post("holds")).json()["data"]}


async def until_jobs_are_done(owner: Any) -> None:
    while await owner.fetchval("SELECT count(*) FROM queuestats.jobs WHERE finished_at IS NULL"):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def test_counts_by_hold_are_disjoint_and_a_message_passes_to_another_hold(operator: Operator) -> None:
    first = (await operator.done("hold", account_id=306))["hold_id"]
    second = (await operator.done("hold", isp="Gmail"))["hold_id"]
    assert await holds(operator) == {first: 2, second: 1}
    assert (await operator.done("release", hold_id=first))["messages"] == 1
    assert await holds(operator) == {second: 2}
    assert (await operator.done("release", hold_id=second))["messages"] == 2
    assert await operator.counts() == (2, 1, 1, 1)


async def test_an_arriving_message_is_held_by_the_oldest_matching_hold(operator: Operator, owner: Any) -> None:
    first = (await operator.done("hold", campaign_id=1))["hold_id"]
    second = (await operator.done("hold", account_id=1))["hold_id"]
    await insert(owner, [Message(account_id=1, campaign_id=1), Message(account_id=1), Message(account_id=2)])
    assert await holds(operator) == {first: 1, second: 1}


REFUSED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
CREATE TRIGGER refused BEFORE UPDATE ON messages FOR EACH ROW WHEN (NEW.status = 'hold' AND NEW.account_id = 2)
EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize(
    "rule",
    ["ALTER TABLE messages ADD CHECK (status <> 'hold' OR account_id <> 2) NOT VALID", REFUSED],
    ids=["check", "trigger"],
)
async def test_a_writer_does_not_fail_if_the_platform_refuses_the_status_hold(
    operator: Operator, owner: Any, rule: str
) -> None:
    hold_id = (await operator.done("hold"))["hold_id"]
    await owner.execute(rule)
    before = await holds(operator)
    await insert(owner, [Message(account_id=account, status="retry") for account in (1, 2, 2, 1, 2, 3)])
    await owner.execute("UPDATE messages SET status = 'new' WHERE account_id = 2")
    assert await holds(operator) == {hold_id: before[hold_id] + 3}
    assert await operator.counts(account_id=2) == (3, 0, 0, 0)
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []
    assert await owner.fetch("SELECT * FROM queuestats.held_differences(NULL)") == []


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM messages", "UPDATE messages SET status = 'proc'", "TRUNCATE messages"],
    ids=["deleted", "taken", "truncated"],
)
async def test_a_message_that_is_no_longer_held_is_removed_from_its_hold(
    operator: Operator, owner: Any, statement: str
) -> None:
    hold_id = (await operator.done("hold", account_id=306))["hold_id"]
    assert await owner.fetchval(KEPT) == 2
    await owner.execute(statement)
    assert await owner.fetchval(KEPT) == 0
    assert await holds(operator) == {hold_id: 0}


async def test_a_truncate_in_one_snapshot_keeps_the_messages_that_were_held_later(
    operator: Operator, owner: Any
) -> None:
    await operator.done("hold", account_id=306)
    async with owner.transaction(isolation="repeatable_read"):
        await owner.execute("TRUNCATE messages")
        await insert(owner, [Message(account_id=306, status="retry")])
    assert await owner.fetchval(KEPT) == 1
    assert await operator.counts() == (0, 0, 0, 1)
    await operator.done("release", account_id=306)
    assert await operator.counts() == (0, 0, 1, 0)


async def test_a_message_that_the_platform_holds_later_stays_when_our_hold_expires(
    operator: Operator, owner: Any
) -> None:
    hold_id = (await operator.done("hold", account_id=306))["hold_id"]
    await owner.execute("UPDATE messages SET status = 'proc' WHERE account_id = 306")
    await owner.execute("UPDATE messages SET status = 'hold' WHERE account_id = 306")
    await operator.done("release", hold_id=hold_id)
    assert await operator.counts(account_id=306) == (0, 0, 0, 3)


async def test_a_held_message_keeps_its_hold_if_its_account_changes(operator: Operator, owner: Any) -> None:
    hold_id = (await operator.done("hold", account_id=306))["hold_id"]
    await owner.execute("UPDATE messages SET account_id = 310 WHERE account_id = 306 AND status = 'hold'")
    assert await holds(operator) == {hold_id: 2}
    assert (await operator.done("release", account_id=306))["messages"] == 2
    assert await operator.counts(account_id=310) == (1, 0, 1, 0)


async def test_a_message_that_is_moved_to_another_sender_gets_its_status_back(operator: Operator, owner: Any) -> None:
    await operator.done("hold", account_id=306)
    await owner.execute("UPDATE messages SET sender_id = 121 WHERE sender_id = 119 AND status = 'hold'")
    rows = await owner.fetch("SELECT status::text, count(*) FROM messages WHERE sender_id = 121 GROUP BY 1 ORDER BY 1")
    # The message with the status hold that no hold has keeps its status.
    assert [tuple(row) for row in rows] == [("hold", 1), ("new", 1), ("retry", 1)]
    assert await owner.fetchval(KEPT) == 0


async def test_a_message_that_may_not_get_its_status_back_stays_on_hold(operator: Operator, owner: Any) -> None:
    await operator.done("hold", account_id=307)
    await owner.execute("ALTER TABLE messages ADD CHECK (status <> 'new' OR sender_id <> 120) NOT VALID")
    await owner.execute("UPDATE messages SET sender_id = 120 WHERE account_id = 307 AND campaign_id <> 0")
    assert await operator.counts(account_id=307) == (0, 0, 0, 1)
    assert await owner.fetchval("SELECT status FROM messages WHERE sender_id = 120 AND account_id = 307") == "hold"
    assert await owner.fetchval(KEPT) == 0
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []


async def test_a_message_that_is_moved_to_a_held_sender_is_held_there(operator: Operator, owner: Any) -> None:
    await operator.done("hold", account_id=306)
    await owner.execute("INSERT INTO queuestats.holds (sender_id, reason, created_by) VALUES (121, '', 'x')")
    await owner.execute("UPDATE messages SET sender_id = 121 WHERE sender_id = 119 AND account_id = 306")
    kept = await owner.fetch("SELECT sender_id, former_status::text FROM queuestats.held_messages ORDER BY 2")
    assert [tuple(row) for row in kept] == [(121, "new"), (121, "retry")]


async def test_a_limited_token_does_not_end_the_holds_of_others_and_the_response_says_so(
    operator: Operator, agency: Operator
) -> None:
    others = (await operator.done("hold", account_id=306, campaign_id=4591))["hold_id"]
    own = (await agency.done("hold", account_id=306))["hold_id"]
    left = {"left_holds": 1, "left_messages": 2, "left_reason": "held by tokens with other limits than this one"}
    dry = (await agency.post("release", account_id=306, dry_run=1)).json()["details"]
    assert dry == {"hold": 0, **left}
    released = await agency.done("release", account_id=306)
    assert released == {"job_id": released["job_id"], "messages": 0, **left}
    assert set(await holds(operator)) == {others}
    assert own != others
    assert "<left_reason>" in (await agency.post("release", Format.XML, account_id=306, details=1)).text


async def test_a_limited_token_purges_no_message_of_the_hold_of_another_token(
    operator: Operator, agency: Operator, owner: Any
) -> None:
    await operator.done("hold", account_id=306, isp="Yahoo")
    dry = (await agency.post("purge", account_id=306, dry_run=1)).json()["details"]
    assert (dry["new"], dry["proc"], dry["hold"], dry["left_messages"]) == (1, 1, 0, 1)
    check_error(await agency.post("purge", account_id=306, at_most=1), 409, Format.JSON)
    purged = await agency.done("purge", account_id=306, at_most=2)
    assert (purged["messages"], purged["left_messages"]) == (2, 1)
    assert await operator.counts(account_id=306) == (0, 0, 0, 1)
    # The token may purge the messages of its own hold.
    await operator.done("release")
    await agency.done("hold", account_id=306)
    assert (await agency.done("purge", account_id=306))["messages"] == 1


async def test_the_author_and_the_reason_of_a_hold_are_shown_to_tokens_that_may_end_it(
    operator: Operator, agency: Operator
) -> None:
    await operator.done("hold", account_id=306, reason="a complaint")
    await agency.done("hold", account_id=306, reason="a pause")
    shown = [(hold["created_by"], hold["reason"]) for hold in (await agency.post("holds")).json()["data"]]
    assert shown == [(None, None), ("agency", "a pause")]
    shown = [(hold["created_by"], hold["reason"]) for hold in (await operator.post("holds")).json()["data"]]
    assert shown == [("operator", "a complaint"), ("agency", "a pause")]


async def test_the_entry_of_a_release_names_every_hold_that_it_ended(operator: Operator, owner: Any) -> None:
    ended = [(await operator.done("hold", **filter_))["hold_id"] for filter_ in ({}, {"isp": "Gmail"})]
    await operator.done("release")
    entry = "SELECT hold_ids FROM queuestats.audit_log WHERE action = 'release'"
    assert await owner.fetchval(entry) == ended


async def test_jobs_are_filtered_before_they_are_cut_to_a_hundred(
    operator: Operator, agency: Operator, owner: Any
) -> None:
    own = (await agency.done("hold", account_id=306))["job_id"]
    await owner.execute(
        "INSERT INTO queuestats.jobs (action, sender_id, account_id, requested_by, request_id, state, finished_at)"
        " SELECT 'hold', 119, 307, 'x', '', 'done', now() FROM generate_series(1, 150)"
    )
    assert [job["id"] for job in (await agency.post("jobs")).json()["data"]] == [own]


async def test_open_jobs_come_first(operator: Operator, owner: Any) -> None:
    insert = (
        "INSERT INTO queuestats.jobs (action, sender_id, requested_by, request_id, state, finished_at, run_at)"
        " SELECT 'hold', 119, 'x', '', $1, $2::timestamptz, 'infinity' FROM generate_series(1, 120) RETURNING id"
    )
    open_id = await owner.fetchval(insert.replace("120", "1"), "working", None)
    await owner.fetch(insert, "done", await owner.fetchval("SELECT now()"))
    jobs = (await operator.post("jobs")).json()["data"]
    assert (jobs[0]["id"], len(jobs)) == (open_id, 100)


async def test_a_row_that_a_former_release_held_gets_the_hold_that_matches(
    operator: Operator, owner: Any, database: TestDatabase
) -> None:
    hold_id = (await operator.done("hold", account_id=306))["hold_id"]
    await owner.execute("UPDATE queuestats.held_messages SET hold_id = NULL")
    await owner.execute(
        "INSERT INTO queuestats.held_messages (sender_id, id, former_status) VALUES (119, 1000000, 'new')"
    )
    await migrate(database.owner_url, database.service_url)
    assert [
        tuple(row) for row in await owner.fetch("SELECT hold_id, count(*) FROM queuestats.held_messages GROUP BY 1")
    ] == [(hold_id, 2)]


async def test_a_message_that_another_trigger_puts_back_on_hold_keeps_its_hold(operator: Operator, owner: Any) -> None:
    hold_id = (await operator.done("hold", account_id=306))["hold_id"]
    await owner.execute(
        """
        CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
          UPDATE messages SET status = 'hold' WHERE status = 'proc' AND attempts = 7; RETURN NULL; END$$;
        CREATE TRIGGER a_first AFTER UPDATE ON messages FOR EACH STATEMENT
          WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION put_back();
        """
    )
    await owner.execute("UPDATE messages SET status = 'proc', attempts = 7 WHERE status = 'hold' AND account_id = 306")
    assert await holds(operator) == {hold_id: 2}


async def test_old_statistics_and_empty_tables_cause_no_slow_plan_of_a_held_insert(
    operator: Operator, owner: Any
) -> None:
    """Measured by the rows that the nodes of the plans read, which does not depend on the speed of the machine."""
    await owner.execute(
        "TRUNCATE messages; ANALYZE messages; ANALYZE queuestats.holds; ANALYZE queuestats.held_messages"
    )
    await owner.execute(
        "INSERT INTO queuestats.holds (sender_id, account_id, campaign_id, isp, reason, created_by)"
        " SELECT 119, 306, n, 'none' || n, '', 'x' FROM generate_series(1, 10000) AS n"
    )
    await operator.done("hold", account_id=7)
    read = (
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_all_tables"
        " WHERE schemaname IN ('public', 'queuestats')"
    )
    insert_ = (
        "INSERT INTO messages (sender_id, account_id, recipient)"
        " SELECT 119, $1::int, 'x' FROM generate_series(1, $2::int)"
    )
    await owner.execute(insert_, 7, 5000)
    async with owner.transaction():
        before = await owner.fetchval(read)
        await owner.execute(insert_, 7, 2000)
        await owner.execute(insert_, 306, 2000)
        await owner.execute(insert_, 8, 1)
        assert await owner.fetchval(read) - before < 20_000
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE status = 'hold'") == 7000


async def test_a_purge_that_a_foreign_key_stops_removes_the_rest_and_names_its_job(
    operator: Operator, owner: Any
) -> None:
    await owner.execute(
        """
        CREATE TABLE attempts_log (id bigint, sender_id bigint, FOREIGN KEY (id, sender_id) REFERENCES messages
          DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO attempts_log SELECT id, sender_id FROM messages WHERE sender_id = 119 AND isp = 'Yahoo';
        """
    )
    text = check_error(await operator.post("purge"), 409, Format.JSON)
    assert text.startswith("Conflict: job 1 could not change 1 messages: ")
    assert "foreign key" in text
    assert await operator.counts() == (0, 0, 1, 0)
    (job,) = (await operator.post("jobs")).json()["data"]
    assert (job["state"], job["changed"], job["failed"]) == ("failed", 4, 1)


async def test_two_messages_of_one_id_are_both_held_and_released(owner: Any, database: TestDatabase) -> None:
    """The key of an adopted table may have duplicates. This test drops the unique index of our table."""
    await owner.execute("ALTER TABLE messages DROP CONSTRAINT messages_pkey; CREATE INDEX ON messages (id)")
    await owner.execute("INSERT INTO messages (id, sender_id, recipient) SELECT 5, 119, 'x' FROM generate_series(1, 2)")
    start = "SELECT job_id FROM queuestats.start_job('{}', 119, NULL, NULL, NULL, 'x', '', '', NULL)"
    for action, status in (("hold", "hold"), ("release", "new")):
        job_id = await owner.fetchval(start.format(action))
        for _ in range(20):
            await owner.fetch("SELECT * FROM queuestats.step_job($1)", job_id)
        state = await owner.fetchval("SELECT state FROM queuestats.jobs WHERE id = $1", job_id)
        found = [row[0] for row in await owner.fetch("SELECT status::text FROM messages")]
        assert (state, found) == ("done", [status, status]), action


async def test_verify_finds_and_repairs_the_records_of_held_messages(
    operator: Operator, owner: Any, database: TestDatabase
) -> None:
    gone = (await operator.done("hold", account_id=306))["hold_id"]
    active = (await operator.done("hold", account_id=307))["hold_id"]
    await owner.execute("DELETE FROM queuestats.holds WHERE id = $1", gone)
    await owner.execute("INSERT INTO queuestats.held_messages VALUES (119, 1000000, 'new', NULL, $1)", active)
    verified = await verify_database(owner, database.owner_url, None)
    assert [(each.grouping_set, each.hold_id, each.counted, each.kept) for each in verified.differences] == [
        ("hold", gone, 0, 2),
        ("hold", active, 1, 2),
    ]
    await keep_result(owner, None, verified)
    assert await owner.fetchval("SELECT count(*) FROM queuestats.drift") == 0

    assert (await verify_database(owner, database.owner_url, None, is_repairing=True)).left == []
    await until_jobs_are_done(owner)
    assert await holds(operator) == {active: 1}
    assert await operator.counts(account_id=306) == (1, 1, 1, 0)


async def test_a_token_has_its_share_of_active_holds_and_open_jobs(
    settings: Settings, owner: Any, control_token: str
) -> None:
    """Commands have no limit, and other tokens have their own."""
    small = structs.replace(settings, token_holds=2, token_jobs=2)
    async with serving(small) as url, client_of(url) as client:
        operator = Operator(client, control_token)
        for account in (1, 2):
            await operator.done("hold", account_id=account)
        refused = await operator.post("hold", account_id=3)
        assert check_error(refused, 429, Format.JSON).endswith("this token has 2 active holds")
        assert int(refused.headers["Retry-After"]) > 0
        await until_jobs_are_done(owner)
        await operator.done("release", account_id=1)
        await operator.done("hold", account_id=3)
        await until_jobs_are_done(owner)
        await owner.execute(
            "INSERT INTO queuestats.jobs (action, sender_id, requested_by, request_id, run_at)"
            " SELECT 'release', 5, requested_by, '', 'infinity' FROM queuestats.jobs LIMIT 2"
        )
        assert check_error(await operator.post("purge"), 429, Format.JSON).endswith("this token has 2 open jobs")

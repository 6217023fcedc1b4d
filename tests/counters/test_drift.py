"""Changes of messages without triggers: `audit` lists every difference, `rebuild` repairs them under load."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.counters.verify import find_differences
from service.model import StatsQuery
from tests.counters.conftest import Connect
from tests.counters.load import fold_until, insert_many, take, write_until
from tests.counters.observing import answer, audited, drift, fold, row_count
from tests.oracle import Message, insert

QUEUE = [
    Message(1, 7, 9, "Gmail", "new"),
    Message(1, 7, 9, "Gmail", "proc"),
    Message(1, 8, 0, "", "new"),
    Message(2, 7, 9, "Gmail", "hold"),
]
# GROUPING(account_id, campaign_id, isp) of the rows that count one message.


@pytest.fixture
async def filled(connect: Connect) -> Any:
    """A queue with folded and with pending deltas."""
    connection = await connect()
    await insert(connection, QUEUE[:2])
    await fold(connection, mark_every=0.001)
    await insert(connection, QUEUE[2:])
    return connection


async def unseen(connection: Any, statement: str, how: str) -> None:
    """Runs a statement without triggers, and removes the evidence (test_proof.py tests the evidence)."""
    async with connection.transaction():
        await connection.execute(f"ALTER TABLE messages DISABLE TRIGGER {how}")
        await connection.execute(statement)
        await connection.execute(f"ALTER TABLE messages ENABLE TRIGGER {how}")
        await connection.execute("SELECT queuestats.remember_proof()")


@pytest.mark.parametrize("how", ["ALL", "USER"])
async def test_a_status_changed_without_triggers_is_listed_with_its_grouping_keys_and_values(
    filled: Any, superuser: Any, how: str
) -> None:
    await unseen(superuser, "UPDATE messages SET status = 'hold' WHERE sender_id = 1 AND account_id = 8", how)
    found = {each["grouping_set"]: each for each in await audited(filled)}

    assert {each["sender_id"] for each in found.values()} == {1}
    assert len(found) == 8
    finest, coarsest = found["account_campaign_isp"], found["total"]
    assert (finest["account_id"], finest["campaign_id"], finest["isp"]) == (8, 0, "")
    assert (finest["counted_new"], finest["counted_hold"]) == (0, 1)
    assert (finest["kept_new"], finest["kept_hold"]) == (1, 0)
    assert (coarsest["counted_new"], coarsest["kept_new"], coarsest["counted_hold"]) == (1, 2, 1)
    assert await audited(filled, 1) == list(found.values())
    assert await audited(filled, 2) == []


@pytest.mark.parametrize(
    ("statement", "senders"),
    [
        ("DELETE FROM messages WHERE sender_id = 2", {2}),
        ("INSERT INTO messages (sender_id, recipient) VALUES (3, 'x')", {3}),
        ("UPDATE messages SET sender_id = 2 WHERE account_id = 8", {1, 2}),
        ("UPDATE messages SET isp = 'gmail' WHERE status = 'proc'", {1}),
        ("UPDATE messages SET attempts = attempts + 1", set()),
        ("TRUNCATE messages", {1, 2}),
    ],
)
async def test_any_change_without_triggers_is_found_and_repaired(
    filled: Any, connect: Connect, statement: str, senders: set[int]
) -> None:
    await unseen(filled, statement, "USER")
    assert {each["sender_id"] for each in await audited(filled)} == senders

    await filled.execute("SELECT queuestats.rebuild()")
    assert await audited(filled) == []
    await filled.execute("UPDATE messages SET status = 'retry'")
    await fold(filled, mark_every=0.001, is_compacting=True)
    assert await audited(filled) == []


async def test_a_rebuild_of_one_sender_does_not_change_the_others(filled: Any) -> None:
    await unseen(filled, "DELETE FROM messages", "USER")
    await filled.execute("SELECT queuestats.rebuild(1)")

    assert {each["sender_id"] for each in await audited(filled)} == {2}
    (row,) = await answer(filled, StatsQuery(1))
    assert row.total == 0
    await fold(filled, mark_every=0.001)
    assert await audited(filled, 1) == []


@pytest.mark.parametrize("table", ["queuestats.deltas", "queuestats.counters"])
async def test_counts_changed_by_hand_are_found(filled: Any, table: str) -> None:
    await filled.execute(f"UPDATE {table} SET new = new + 1 WHERE sender_id = 1")
    found = await audited(filled)

    assert found
    assert all(each["kept_new"] != each["counted_new"] for each in found)
    await fold(filled)
    assert await audited(filled) != []
    await filled.execute("SELECT queuestats.rebuild()")
    assert await audited(filled) == []


async def test_a_count_below_zero_is_a_difference(filled: Any) -> None:
    """A count below zero is a difference until it is repaired."""
    await fold(filled)
    await unseen(filled, "INSERT INTO messages (sender_id, recipient) VALUES (3, 'x'), (3, 'x')", "USER")
    await filled.execute("DELETE FROM messages WHERE sender_id = 3")
    await fold(filled)

    assert [each["kept_new"] for each in await audited(filled)] == [-2] * 8
    assert await row_count(filled, "queuestats.counters WHERE new < 0") == 8


@pytest.mark.slow
@pytest.mark.parametrize("sender_id", [1, None])
async def test_drift_is_repaired_during_writes_and_folds(connect: Connect, sender_id: int | None) -> None:
    repairing, done = await connect(), asyncio.Event()
    await insert(repairing, QUEUE * 50)
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(write_until(done, await connect(), (insert_many, take), random.Random(number)))
        group.create_task(fold_until(done, await connect(), random.Random(3)))
        for _ in range(10):
            await unseen(repairing, "DELETE FROM messages WHERE sender_id = 1 AND id % 7 = 0", "USER")
            await unseen(repairing, "INSERT INTO messages (sender_id, recipient) VALUES (1, 'x')", "USER")
            assert {each["sender_id"] for each in await audited(repairing)} == {1}
            await repairing.execute("SELECT queuestats.rebuild($1)", sender_id)
            assert await audited(repairing) == []
        done.set()

    assert await audited(repairing) == []


async def test_messages_of_a_status_without_a_column_are_a_difference(filled: Any) -> None:
    await filled.execute("ALTER TYPE message_status ADD VALUE 'sent'")
    await filled.execute(
        "INSERT INTO messages (sender_id, status, recipient) VALUES (1, 'sent', 'x'), (9, 'sent', 'x')"
    )
    found = await find_differences(filled, None)

    assert {(each.sender_id, each.status, each.counted, each.kept) for each in found} == {
        (1, "other", 1, 0),
        (9, "other", 1, 0),
    }
    await filled.execute("DELETE FROM messages WHERE status = 'sent'")
    assert await audited(filled) == []


async def test_a_report_that_differs_from_its_definition_is_listed_even_if_counters_are_correct(
    filled: Any, superuser: Any
) -> None:
    assert await find_differences(filled, None) == []
    await superuser.execute(
        "CREATE OR REPLACE FUNCTION queuestats.pending_deltas("
        " of_sender bigint, of_account bigint, of_campaign bigint, of_isp text"
        ") RETURNS SETOF queuestats.deltas LANGUAGE sql STABLE AS 'SELECT * FROM queuestats.deltas WHERE false'"
    )
    assert await audited(filled) == []
    # Sender 2 has only pending deltas, so no fold has processed it.
    for sender_id in (None, 1):
        found = {
            (each.sender_id, each.grouping_set, each.status, each.counted, each.kept)
            for each in (await find_differences(filled, sender_id))
            if each.grouping_set != "oldest"
        }
        assert found == {
            (1, "total", "new", 2, 1),
            (1, "account", "new", 1, 0),
            (1, "account_campaign", "new", 1, 0),
            (1, "isp", "new", 1, 0),
        }


@pytest.fixture
async def policy(filled: Any, superuser: Any) -> AsyncIterator[None]:
    """Hides all messages from their owner. Policies do not apply to superusers, so the owner is another role."""
    functions = ("rebuild", "remember_proof", "take_fold_lock", "fold", "raise_bounds")
    await superuser.execute(
        "CREATE ROLE plain_owner; GRANT USAGE ON SCHEMA queuestats TO plain_owner;"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA queuestats TO plain_owner;"
        " GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA queuestats TO plain_owner;"
        " GRANT CREATE ON SCHEMA public, queuestats TO plain_owner;"
        " ALTER TABLE messages OWNER TO plain_owner; ALTER VIEW queuestats.queued_messages OWNER TO plain_owner;"
        " ALTER TABLE queuestats.fold_lock OWNER TO plain_owner;"
        " ALTER TABLE messages ENABLE ROW LEVEL SECURITY; ALTER TABLE messages FORCE ROW LEVEL SECURITY;"
        + "".join(f"ALTER FUNCTION queuestats.{name} OWNER TO plain_owner;" for name in functions)
    )
    yield
    await superuser.execute("REASSIGN OWNED BY plain_owner TO CURRENT_USER; DROP OWNED BY plain_owner")
    await superuser.execute("DROP ROLE plain_owner")


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize("work", ["SELECT queuestats.rebuild()", "SELECT * FROM queuestats.audit()"])
async def test_counting_is_an_error_if_a_policy_hides_messages_from_their_owner(superuser: Any, work: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await superuser.fetch(work)
    await superuser.execute("ALTER TABLE messages NO FORCE ROW LEVEL SECURITY")
    assert await superuser.fetch("SELECT * FROM queuestats.audit()") == []


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize("row_security", ["on", "off"])
async def test_folds_continue_and_raise_no_bound_if_a_policy_hides_messages_from_their_owner(
    filled: Any, superuser: Any, row_security: str
) -> None:
    await filled.execute("DELETE FROM messages WHERE id % 2 = 0")
    await superuser.execute(f"SET row_security = {row_security}")
    assert (await fold(superuser, mark_every=0.0))["folded"] > 0
    assert await superuser.fetchval("SELECT raised FROM queuestats.raise_bounds('total', NULL, 0, 100)") == 0
    await superuser.execute("ALTER TABLE messages NO FORCE ROW LEVEL SECURITY; RESET row_security")
    assert await drift(superuser) == []

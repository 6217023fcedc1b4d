"""Plain SQL on the table that mail transfer agents write: as its owner, and with rights only on `messages`."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from service.model import StatsQuery
from service.queue.stats import fetch_report
from tests.conftest import TestDatabase, open_pool, url_of
from tests.oracle import Message, expected_rows

INSERT = """
INSERT INTO messages (sender_id, account_id, campaign_id, isp, status, recipient)
VALUES (119, 306, 4591, 'Gmail', 'new', 'someone@example.com')
"""
TAKE = "UPDATE messages SET status = 'proc', attempts = attempts + 1 WHERE id = 1"
FINISH = "DELETE FROM messages WHERE id = 1"


@pytest.fixture(params=["owner", "agent", "agent with an odd search_path"])
async def writer(database: TestDatabase, owner: Any, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A connection that may write messages: of the owner, or of a mail transfer agent with only the needed rights."""
    if request.param == "owner":
        yield owner
        return
    name = f"agent_{uuid.uuid4().hex[:12]}"
    await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'service'")
    await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON messages TO {name}")
    connection = await asyncpg.connect(url_of(database.owner_url, database.name, name))
    if "search_path" in request.param:
        await owner.execute("CREATE SCHEMA elsewhere")
        await owner.execute(f"GRANT ALL ON SCHEMA elsewhere TO {name}")
        await owner.execute("CREATE TABLE elsewhere.deltas (mine integer)")
        await connection.execute("SET search_path = elsewhere, public")
    yield connection
    await connection.close()
    for statement in ("GRANT {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
        await owner.execute(statement.format(name))


async def test_a_message_is_inserted_taken_and_deleted_as_documented(writer: Any, owner: Any) -> None:
    await writer.execute(INSERT)
    new = dict(await owner.fetchrow("SELECT * FROM messages"))
    await writer.execute(TAKE)
    taken = dict(await owner.fetchrow("SELECT * FROM messages"))
    await writer.execute(FINISH)

    assert {name: new[name] for name in ("id", "sender_id", "account_id", "campaign_id", "isp", "status")} == {
        "id": 1, "sender_id": 119, "account_id": 306, "campaign_id": 4591, "isp": "Gmail", "status": "new",
    }  # fmt: skip
    assert {name for name in new if new[name] != taken[name]} == {"status", "attempts"}
    assert (taken["status"], new["attempts"], taken["attempts"]) == ("proc", 0, 1)
    assert await owner.fetchval("SELECT count(*) FROM messages") == 0


async def test_columns_that_are_left_out_have_defaults(writer: Any) -> None:
    await writer.execute("INSERT INTO messages (sender_id, recipient) VALUES (119, 'someone@example.com')")
    (row,) = await writer.fetch("SELECT * FROM messages")

    assert (row["account_id"], row["campaign_id"], row["isp"], row["status"], row["attempts"]) == (0, 0, "", "new", 0)
    for moment in (row["created_at"], row["next_attempt_at"]):
        assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)


async def test_ids_are_assigned_in_order_or_chosen_by_the_writer(writer: Any) -> None:
    await writer.execute(INSERT)
    await writer.execute("INSERT INTO messages (id, sender_id, recipient) VALUES (1000, 119, 'x')")
    await writer.execute(INSERT)
    assert await writer.fetchval("SELECT array_agg(id ORDER BY id) FROM messages") == [1, 2, 1000]


async def test_the_service_counts_messages_of_copy(database: TestDatabase, writer: Any) -> None:
    messages = [Message(119, number % 3, number % 2, ("", "Gmail")[number % 2], "retry") for number in range(100)]
    lines = [f"{each.sender_id}\t{each.account_id}\t{each.campaign_id}\t{each.isp}\tretry\tx" for each in messages]
    columns = ["sender_id", "account_id", "campaign_id", "isp", "status", "recipient"]
    await writer.copy_to_table("messages", source=lines_of(lines), columns=columns, schema_name="public")

    async with open_pool(database.service_url, pool_size=2) as opened:
        assert list((await fetch_report(opened, StatsQuery(119))).rows) == expected_rows(messages, StatsQuery(119))


async def lines_of(lines: list[str]) -> AsyncIterator[bytes]:
    for line in lines:
        yield f"{line}\n".encode()


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("sender_id", 0, "messages_sender_id_positive"),
        ("sender_id", -1, "messages_sender_id_positive"),
        ("account_id", -1, "messages_account_id_not_negative"),
        ("campaign_id", -1, "messages_campaign_id_not_negative"),
        ("isp", "x" * 256, "messages_isp_short"),
        ("isp", "é" * 128, "messages_isp_short"),
    ],
)
async def test_keys_that_no_request_can_name_are_refused_by_a_named_constraint(
    owner: Any, column: str, value: Any, constraint: str
) -> None:
    row = {"sender_id": 119, "recipient": "x", column: value}
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await insert_row(owner, row)
    assert caught.value.constraint_name == constraint


@pytest.mark.parametrize(
    "column", ["sender_id", "account_id", "campaign_id", "isp", "status", "attempts", "recipient", "next_attempt_at"]
)
async def test_nothing_may_be_null(owner: Any, column: str) -> None:
    with pytest.raises(asyncpg.NotNullViolationError) as caught:
        await insert_row(owner, {"sender_id": 119, "recipient": "x", column: None})
    assert caught.value.column_name == column


@pytest.mark.parametrize("status", ["sent", "NEW", "", "delivered"])
async def test_an_unknown_status_is_refused(owner: Any, status: str) -> None:
    with pytest.raises(asyncpg.InvalidTextRepresentationError, match="message_status"):
        await owner.execute(f"INSERT INTO messages (sender_id, status, recipient) VALUES (119, '{status}', 'x')")


@pytest.mark.parametrize(
    "row",
    [
        {"sender_id": 2**63 - 1, "account_id": 2**63 - 1, "campaign_id": 2**63 - 1},
        {"sender_id": 1, "isp": "x" * 255},
        {"sender_id": 1, "isp": "\x01\x1f\u2028'\"<&>\\"},
    ],
)
async def test_the_largest_and_most_unusual_values_are_stored_unchanged(owner: Any, row: dict[str, Any]) -> None:
    await insert_row(owner, {"recipient": "x"} | row)
    assert dict(await owner.fetchrow(f"SELECT {', '.join(row)} FROM messages")) == row


async def insert_row(connection: Any, row: dict[str, Any]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO messages ({', '.join(row)}) VALUES ({places})", *row.values())


async def test_one_message_is_found_by_its_id_with_the_index(owner: Any) -> None:
    await owner.execute(
        "INSERT INTO messages (sender_id, recipient) SELECT 1 + n % 50, 'x' FROM generate_series(1, 5000) AS n"
    )
    await owner.execute("ANALYZE messages")
    plan = await owner.fetch("EXPLAIN " + FINISH)
    assert any("Index Scan using messages_pkey" in line[0] for line in plan)

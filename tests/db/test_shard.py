"""The text that a node of a Citus cluster has for its shards, run for one shard on a server without Citus."""

from typing import Any

from service.cluster.distribute import SHARD
from service.schema.columns import grouping_set
from service.schema.files import newer_columns, table_definitions
from tests.conftest import TestDatabase


async def test_the_text_for_a_shard_creates_a_separate_queue(database: TestDatabase, owner: Any) -> None:
    await owner.execute("CREATE TABLE messages_7 (LIKE messages INCLUDING ALL); CREATE SCHEMA queuestats_7")
    once = table_definitions(SHARD.schema, [grouping_set])
    repeatable = [*newer_columns(SHARD.schema), *(file.text for file in SHARD.files())]
    for text in (*once, *repeatable, *repeatable):
        await put_into_place(owner, text)
    await owner.execute(
        "DROP VIEW queuestats_7.queued_messages CASCADE;"
        "CREATE VIEW queuestats_7.queued_messages AS SELECT recipient FROM messages_7;"
        "DROP FUNCTION queuestats_7.is_holdable; CREATE FUNCTION queuestats_7.is_holdable() RETURNS int RETURN 1"
    )
    for text in repeatable:
        await put_into_place(owner, text)
    await owner.execute("SELECT queuestats_7.rebuild()")
    await owner.execute(
        "INSERT INTO messages_7 (sender_id, recipient) SELECT n % 3 + 1, 'x' FROM generate_series(1, 9) n"
    )
    await owner.execute("SELECT queuestats_7.fold()")

    assert await owner.fetchval("SELECT sum(new) FROM queuestats_7.counters WHERE grouping_set = 'total'") == 9
    assert await owner.fetchval("SELECT count(*) FROM queuestats_7.audit()") == 0
    assert await owner.fetchval("SELECT count(*) FROM queuestats.counters") == 0


async def put_into_place(owner: Any, text: str) -> None:
    """The same as settle() of sql/citus/node.sql."""
    await owner.execute("SELECT queuestats.create_or_replace($1, 'queuestats_7')", text.replace("{shard}", "7"))

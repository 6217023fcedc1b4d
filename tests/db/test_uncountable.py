"""If triggers can't count the table of messages, no request gets a number."""

from typing import Any

import asyncpg
import pytest

from service.counters.health import examine
from service.counters.verify import find_differences
from service.db import connect
from service.errors import CommandError, Unavailable
from service.model import StatsQuery
from service.queue.stats import fetch_report
from service.schema import migrate
from tests.conftest import TestDatabase, open_pool

SERVICE = "queuestats_service"
MOVE_AWAY = "ALTER TABLE messages RENAME TO kept; "
COLUMNS = "sender_id bigint, account_id bigint, campaign_id bigint, isp text, status message_status"
HARMS = {
    "a view": MOVE_AWAY + "CREATE VIEW messages AS SELECT * FROM kept",
    "a foreign table": MOVE_AWAY
    + "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;"
    + f" CREATE FOREIGN TABLE messages ({COLUMNS}) SERVER elsewhere",
    "a partition without triggers": MOVE_AWAY
    + "CREATE TABLE messages (LIKE kept INCLUDING ALL) PARTITION BY HASH (sender_id);"
    + " CREATE TABLE part PARTITION OF messages FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    "a child that inherits": "CREATE TABLE child () INHERITS (messages)",
    "a parent to inherit from": "CREATE TABLE parent (LIKE messages); ALTER TABLE messages INHERIT parent",
    # Replaces the catalog of Citus.
    "distributed": "SET allow_system_table_mods = on;"
    " CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass);"
    " INSERT INTO pg_catalog.pg_dist_partition VALUES ('messages');"
    " GRANT SELECT ON pg_catalog.pg_dist_partition TO PUBLIC",
}


@pytest.mark.parametrize("harm", HARMS)
async def test_a_table_that_can_not_be_counted_is_reported_and_has_no_reports(
    database: TestDatabase, owner: Any, harm: str
) -> None:
    if not await owner.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        pytest.skip("only a superuser can create all these tables")
    await owner.execute(HARMS[harm])

    service = open_pool(database.service_url)
    async with service:
        with pytest.raises(Unavailable):
            await fetch_report(service, StatsQuery(1))
    if harm != "distributed":  # the command `migrate` counts these: tests/citus
        with pytest.raises(CommandError, match="can't be counted"):
            await migrate(database.owner_url, database.service_url)
    async with connect(database.owner_url) as connection:
        with pytest.raises(CommandError, match="can't be counted"):
            await find_differences(connection, None)
        assert "uncountable" in {each.condition for each in await examine(connection, SERVICE)}


async def test_a_partitioned_table_is_counted_once_it_has_triggers_beside_those_of_its_partitions(
    database: TestDatabase, owner: Any
) -> None:
    """A statement on the table fires no statement trigger of its partitions."""
    await owner.execute(HARMS["a partition without triggers"])
    new, old = "NEW TABLE AS new_rows", "OLD TABLE AS old_rows"
    for event, tables in (("insert", new), ("update", f"{old} {new}"), ("delete", old)):
        await owner.execute(
            f"CREATE TRIGGER counts_{event} AFTER {event} ON part REFERENCING {tables}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_{event}()"
        )
    service = open_pool(database.service_url)
    async with service:
        with pytest.raises(Unavailable):
            await fetch_report(service, StatsQuery(1))
        await migrate(database.owner_url, database.service_url)
        assert await owner.fetch("SELECT queuestats.uncountable_messages()") == []
        for table, ids in (("messages", (1, 2)), ("part", (3, 4))):
            await owner.execute(
                f"INSERT INTO {table} (id, sender_id, status, recipient)"
                f" VALUES ({ids[0]}, 1, 'new', 'x'), ({ids[1]}, 1, 'retry', 'x')"
            )
        await owner.execute("UPDATE messages SET status = 'hold' WHERE status = 'retry'")
        await owner.execute("DELETE FROM part WHERE status = 'new'")
        (row,) = (await fetch_report(service, StatsQuery(1))).rows
        assert (row.hold, row.total) == (2, 2)
    async with connect(database.owner_url) as connection:
        assert await find_differences(connection, None) == []


async def test_the_service_needs_no_right_on_the_table_for_its_reports(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.service_url)
    try:
        assert await connection.fetch("SELECT queuestats.uncountable_messages()") == []
    finally:
        await connection.close()

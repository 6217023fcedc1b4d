"""`with=oldest` of an adopted table whose mapping has the time of arrival."""

import random
from typing import Any

import pytest

from service.adoption.attach import detach
from service.errors import BadRequest, CommandError
from service.model import StatsQuery
from service.queue.stats import fetch_report
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase, open_pool
from tests.counters.observing import drift, fold
from tests.db.adoption import adopt, differences
from tests.db.lookup3 import key_id
from tests.db.test_adopt import dump

PLAIN = "CREATE TABLE queue (number bigint PRIMARY KEY, who integer, state text, since integer)"
PARTITIONED = """
CREATE TABLE queue (number bigint PRIMARY KEY, who uuid, state varchar(9), since integer) PARTITION BY HASH (number);
CREATE TABLE queue_0 PARTITION OF queue FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE queue_1 PARTITION OF queue FOR VALUES WITH (MODULUS 2, REMAINDER 1)
"""
MAPPING = QueueMapping(
    table="queue",
    sender="who",
    status="state",
    where="state <> 'gone'",
    created="to_timestamp(since::double precision)",
)
SENDERS = {
    PLAIN: {"1": 1, "2": 2, "3": 3},
    PARTITIONED: {uuid: key_id(uuid) for uuid in (f"00000000-0000-0000-0000-00000000000{i}" for i in (1, 2, 3))},
}
STATES = ("new", "proc", "retry", "hold", "gone")


@pytest.mark.parametrize("table", [PLAIN, PARTITIONED], ids=["plain", "partitioned"])
async def test_the_oldest_messages_are_found_by_their_own_index(
    empty_database: TestDatabase, admin: Any, table: str
) -> None:
    await admin.execute(table)
    before = dump(empty_database.owner_url)
    output = await adopt(empty_database, MAPPING)
    assert any("Index queuestats_arrival" in line for line in output)
    chosen = random.Random(1)
    async with open_pool(empty_database.service_url, pool_size=1) as database:
        for step in range(60):
            await _write(admin, chosen, list(SENDERS[table]))
            if step % 7 == 3:
                await fold(admin, mark_every=chosen.choice((0.0, 1e9)))
            assert await drift(admin) == []
            for sender_id in SENDERS[table].values():
                query = StatsQuery(sender_id, has_oldest=True)
                counted = await fetch_report(database, query)
                assert counted.rows == (await fetch_report(database, query, is_from_messages=True)).rows
    assert await differences(empty_database) == []
    await admin.execute("SELECT pg_stat_force_next_flush()")
    used = "SELECT sum(idx_scan) > 0 FROM pg_stat_user_indexes WHERE starts_with(indexrelname, 'queuestats_arrival')"
    assert await admin.fetchval(used)
    await admin.execute("TRUNCATE queue")
    await detach(empty_database.owner_url, lambda what: None)
    assert dump(empty_database.owner_url) == before


async def _write(connection: Any, chosen: random.Random, senders: list[str]) -> None:
    sender, state, since = chosen.choice(senders), chosen.choice(STATES), chosen.choice((None, *range(9)))
    kind = chosen.random()
    if kind < 0.5:
        numbers = [chosen.randrange(1_000_000_000) for _ in range(chosen.choice((1, 4)))]
        values = ", ".join(f"({number}, '{sender}', '{state}', {since or 'NULL'})" for number in numbers)
        await connection.execute(f"INSERT INTO queue (number, who, state, since) VALUES {values}")
    elif kind < 0.8:
        change = chosen.choice((f"state = '{state}'", f"since = {since or 'NULL'}", f"who = '{sender}'"))
        await connection.execute(f"UPDATE queue SET {change} WHERE number % 3 = {chosen.randrange(3)}")
    else:
        await connection.execute(f"DELETE FROM queue WHERE number % 4 = {chosen.randrange(4)}")


async def test_a_mapping_without_a_time_of_arrival_has_no_oldest_messages(
    empty_database: TestDatabase, admin: Any
) -> None:
    await admin.execute(PLAIN)
    await adopt(empty_database, QueueMapping(table="queue", sender="who", status="state"))
    query = StatsQuery(1, has_oldest=True)
    async with open_pool(empty_database.service_url, pool_size=1) as database:
        for is_from_messages in (False, True):
            with pytest.raises(BadRequest, match="does not name the time of arrival"):
                await fetch_report(database, query, is_from_messages=is_from_messages)
    await admin.execute("INSERT INTO queue VALUES (1, 1, 'new', 1)")
    assert await differences(empty_database) == []


@pytest.mark.parametrize(
    ("created", "fault"),
    [
        ("since", "created is of the type int4; it must be a timestamp with time zone"),
        ("now()", "depends on more than the row"),
        ("when", "created does not compile"),
    ],
)
async def test_another_time_of_arrival_is_refused(
    empty_database: TestDatabase, admin: Any, created: str, fault: str
) -> None:
    await admin.execute(PLAIN)
    with pytest.raises(CommandError, match=fault):
        await adopt(empty_database, QueueMapping(table="queue", sender="who", status="state", created=created))

"""The plans of scans: a query for a small sender uses the index, independent of earlier queries."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from service.cluster.topology import from_messages
from service.db import Database, Statement
from service.model import Grouping, StatsQuery
from tests.conftest import TestDatabase, open_pool

# One sender has nearly all messages, so reading the whole table is best for its queries.
WIDE_SENDER, WIDE_MESSAGES = 1, 30_000
NARROW_SENDER, NARROW_MESSAGES = 2, 20
INDEX = "messages_by_arrival"
# The server may use a generic plan from the sixth call on.
CALLS_BEFORE_A_GENERIC_PLAN = 6

FILL = """
INSERT INTO messages (sender_id, account_id, campaign_id, isp, status, recipient)
SELECT $1, n % 7, n % 11, 'isp ' || n % 5, (enum_range(NULL::message_status))[1 + n % 4], 'someone@example.com'
FROM generate_series(1, $2::integer) AS n
"""


@pytest.fixture
async def filled(database: TestDatabase, owner: Any) -> TestDatabase:
    await owner.execute(FILL, WIDE_SENDER, WIDE_MESSAGES)
    await owner.execute(FILL, NARROW_SENDER, NARROW_MESSAGES)
    await owner.execute("ANALYZE messages")
    return database


@pytest.fixture
async def service(filled: TestDatabase) -> AsyncIterator[Database]:
    """One connection, so that all calls share its prepared statements."""
    async with open_pool(filled.service_url) as opened:
        yield opened


def question(query: StatsQuery) -> tuple[Statement, dict[str, Any]]:
    """The scan of a query."""
    return from_messages(query)


async def scan(service: Database, query: StatsQuery) -> int:
    """The number of messages that the scan counted."""
    asked, parameters = question(query)
    return sum(row["total"] for row in await service.fetch_scan(asked, **parameters))


async def whole_table_scans(service: Database, owner: Any) -> int:
    async with service.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    found: int = await owner.fetchval("SELECT seq_scan FROM pg_stat_all_tables WHERE relname = 'messages'")
    return found


async def plans_of(service: Database, query: StatsQuery) -> dict[str, int]:
    """How many generic and custom plans the server made for the query."""
    found = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1"
    async with service.connection() as connection:
        (row,) = await connection.fetch(found, question(query)[0].sql)
    return dict(row)


@pytest.mark.parametrize("grouping", Grouping)
async def test_after_wide_calls_on_the_same_connection_a_narrow_one_still_uses_the_index(
    service: Database, owner: Any, grouping: Grouping
) -> None:
    narrow = StatsQuery(NARROW_SENDER, grouping=grouping)
    for _ in range(CALLS_BEFORE_A_GENERIC_PLAN):
        await scan(service, StatsQuery(WIDE_SENDER, grouping=grouping))
    before = await whole_table_scans(service, owner)
    counted = await scan(service, narrow)

    assert before == CALLS_BEFORE_A_GENERIC_PLAN
    assert await whole_table_scans(service, owner) == before
    assert counted == NARROW_MESSAGES
    assert await plans_of(service, narrow) == {"generic_plans": 0, "custom_plans": CALLS_BEFORE_A_GENERIC_PLAN + 1}


async def test_fetch_without_this_setting_uses_generic_plans_as_for_look_ups(service: Database) -> None:
    """Without `fetch_scan`, the server uses generic plans."""
    asked, parameters = question(StatsQuery(WIDE_SENDER))
    for _ in range(3):
        await service.fetch(asked, **parameters)

    assert await plans_of(service, StatsQuery(WIDE_SENDER)) == {"generic_plans": 3, "custom_plans": 0}


async def test_the_setting_does_not_stay_on_the_pooled_connection(service: Database) -> None:
    await scan(service, StatsQuery(NARROW_SENDER))

    async with service.connection() as connection:
        assert await connection.fetchval("SHOW plan_cache_mode") == "force_generic_plan"


@pytest.mark.parametrize("grouping", Grouping)
@pytest.mark.parametrize("filters", [{}, {"account_id": 1}, {"campaign_id": 2, "isp": "isp 3"}])
async def test_the_plan_of_a_narrow_query_uses_the_index_with_a_correct_estimate(
    filled: TestDatabase, owner: Any, grouping: Grouping, filters: dict[str, Any]
) -> None:
    asked, parameters = question(StatsQuery(NARROW_SENDER, grouping=grouping, **filters))
    answer = await owner.fetchval("EXPLAIN (FORMAT JSON) " + asked.sql, *asked.bind(parameters))
    nodes = list(nodes_of(json.loads(answer)[0]["Plan"]))

    assert INDEX in [node.get("Index Name") for node in nodes]
    assert "Seq Scan" not in [node["Node Type"] for node in nodes]
    (scan,) = [node for node in nodes if node.get("Relation Name") == "messages"]
    assert scan["Plan Rows"] <= 10 * NARROW_MESSAGES


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)

"""Counters are read by index, for any contents of the tables, any earlier queries, and with an old snapshot."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.db import Database, load_statement
from service.model import Grouping, StatsQuery
from service.queue.stats import fetch_report
from service.resources import sql_path
from tests.conftest import TestDatabase
from tests.counters.conftest import Connect
from tests.counters.observing import fold

WIDE_SENDER, NARROW_SENDER = 1, 2
# The server may use a generic plan from the sixth call on.
CALLS_BEFORE_A_GENERIC_PLAN = 6
FILL = """
INSERT INTO messages (sender_id, account_id, campaign_id, isp, recipient)
SELECT $1, n % 50, n % 997, 'isp ' || n % 7, 'x' FROM generate_series(1, $2::integer) AS n
"""
VALUES = {"bigint[]": "'{2, 1}'", "text[]": "'{isp 3, isp 4}'"}
SCALARS = {
    "sender_id": "1",
    "row_limit": "10",
    "largest_by": "'total'",
    "oldest_in": "'total'",
    "grouping_set": "'isp'",
    "has_rates": "'{true, false}'",
    "is_by_isp": "true",
    "isp": "'isp 3'",
    "step": "600",
    "since": "'2026-01-01Z'",
    "until": "NULL",
    "is_wide": "true",
    "search": "NULL",
    **dict.fromkeys(("by_sender", "by_account", "by_campaign", "by_isp", "has_count"), "true"),
    **dict.fromkeys(("after_sender", "after_account", "after_campaign"), "0"),
    "status": "'new'",
    "sort_by": "'key'",
    "after_rank": "NULL",
    "after_isp": "''",
    "read_limit": "1000",
}
READING = [
    path
    for path in sorted(sql_path("queries").rglob("*.sql"))
    if '"{schema}".current_counters(' in path.read_text("utf-8")
]


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


async def explain(connection: Any, name: str, values: list[str], options: str = "") -> dict[str, Any]:
    """The plan for these values, or the generic plan if the settings of the session require it."""
    asked = load_statement(name)
    types = ", ".join(asked.types[each] for each in asked.order)
    await connection.execute(f"PREPARE asked ({types}) AS {asked.sql}")
    answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON{options}) EXECUTE asked ({', '.join(values)})")
    await connection.execute("DEALLOCATE asked")
    plan: dict[str, Any] = json.loads(answer)[0]["Plan"]
    return plan


def literals(name: str, is_filtered: bool) -> list[str]:
    """Values for the parameters of a statement, with or without the optional filters."""
    asked = load_statement(name)
    needed = {"sender_id", *(("isp",) if "of_isp" in name else ())}
    types = [(each, asked.types[each]) for each in asked.order]
    return [
        SCALARS[each] if type_ not in VALUES else VALUES[type_] if is_filtered or each in needed else "'{NULL, NULL}'"
        for each, type_ in types
    ]


@pytest.mark.parametrize("path", READING, ids=lambda path: str(path.relative_to(sql_path("queries"))))
@pytest.mark.parametrize("state", ["empty", "filled", "analysed", "analysed when empty"])
async def test_no_plan_reads_a_whole_table_of_counts(
    connect: Connect, database: TestDatabase, path: Path, state: str
) -> None:
    connection = await connect()
    name = str(path.relative_to(sql_path()).with_suffix(""))
    if state == "analysed when empty":
        await connection.execute("ANALYZE queuestats.counters, queuestats.deltas, queuestats.watermarks")
    if state != "empty":
        await connection.execute(FILL, WIDE_SENDER, 5000)
        await fold(connection, mark_every=0.001)
        await connection.execute(FILL, NARROW_SENDER, 50)
    if state == "analysed":
        await connection.execute("VACUUM ANALYZE queuestats.counters, queuestats.deltas, queuestats.watermarks")
    # The settings of the service affect the plan.
    service = await asyncpg.connect(database.service_url)
    for mode in ("force_custom_plan", "force_generic_plan"):
        await service.execute(f"SET plan_cache_mode = {mode}")
        for is_filtered in (True, False):
            plan = await explain(service, name, literals(name, is_filtered))
            scans = {(node["Node Type"], node["Relation Name"]) for node in nodes_of(plan) if "Relation Name" in node}
            assert {table for _, table in scans} >= {"counters", "deltas"}
            assert scans & {("Seq Scan", "counters"), ("Seq Scan", "deltas")} == set(), (mode, is_filtered)
            assert {node.get("Function Name") for node in nodes_of(plan)} & {"changing_senders"} == set()
            # A condition only on xid would read the whole index by sender.
            by_sender = [node for node in nodes_of(plan) if node.get("Index Name") == "deltas_sender_id_xid"]
            assert [node for node in by_sender if "sender_id = " not in node.get("Index Cond", "")] == [], mode
    await service.close()


@pytest.fixture
async def filled(database: TestDatabase, connect: Connect) -> Any:
    connection = await connect()
    await connection.execute(FILL, WIDE_SENDER, 20_000)
    while (await fold(connection, mark_every=0.001))["is_more"]:
        pass
    await connection.execute(FILL, WIDE_SENDER, 1000)
    await connection.execute(FILL, NARROW_SENDER, 20)
    await connection.execute("VACUUM ANALYZE queuestats.counters, queuestats.deltas, queuestats.watermarks, messages")
    return connection


async def scans_of(service: Database, observer: Any) -> dict[str, int]:
    async with service.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    found = await observer.fetch("SELECT relname, seq_scan FROM pg_stat_all_tables WHERE schemaname = 'queuestats'")
    return {each["relname"]: each["seq_scan"] for each in found if each["relname"] in ("counters", "deltas")}


@pytest.mark.parametrize("grouping", Grouping)
async def test_after_wide_calls_on_the_same_connection_a_narrow_one_uses_the_index(
    filled: Any, service: Database, grouping: Grouping
) -> None:
    before = await scans_of(service, filled)
    for _ in range(CALLS_BEFORE_A_GENERIC_PLAN):
        await fetch_report(service, StatsQuery(WIDE_SENDER, grouping=grouping))
    for account_id, campaign_id, isp in itertools.product((None, 1), (None, 2), (None, "isp 3")):
        await fetch_report(service, StatsQuery(NARROW_SENDER, account_id, campaign_id, isp, grouping))

    assert await scans_of(service, filled) == before


def blocks(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("queries/from_counters/total", ["'{1}'", "'{NULL}'", "'{NULL}'", "'{NULL}'"]),
        ("queries/from_counters/total", ["'{1}'", "'{NULL}'", "'{2}'", "'{NULL}'"]),
        ("queries/from_counters/total", ["'{1}'", "'{3}'", "'{3}'", "'{isp 3}'"]),
        ("queries/from_counters/account", ["'{1}'", "'{2}'", "'{NULL}'"]),
        ("queries/from_counters/isp", ["'{1}'", "'{NULL}'", "'{2}'"]),
        ("queries/from_counters/isp", ["'{1}'", "'{NULL}'", "'{NULL}'"]),
    ],
)
async def test_a_short_report_reads_few_pages_for_any_number_of_counters_of_the_sender(
    filled: Any, database: TestDatabase, name: str, values: list[str]
) -> None:
    await fold(filled, mark_every=0.001)
    await filled.execute("VACUUM queuestats.counters, queuestats.deltas, queuestats.watermarks")
    # The settings of the service affect the plan.
    service = await asyncpg.connect(database.service_url)
    for mode in ("force_custom_plan", "force_generic_plan"):
        await service.execute(f"SET plan_cache_mode = {mode}")
        asked = load_statement(name)
        given = [values[list(asked.types).index(each)] for each in asked.order]
        # The first call of a connection fills its catalog caches.
        await explain(service, name, given, ", ANALYZE")
        assert blocks(await explain(service, name, given, ", ANALYZE, BUFFERS")) < 120
    await service.close()


async def test_readers_skip_dead_deltas_and_counters_that_an_old_snapshot_retains(
    connect: Connect, database: TestDatabase
) -> None:
    old, connection = await connect(), await connect()
    # The settings of the service affect the plan.
    service = await asyncpg.connect(database.service_url)
    values = ["'{1}'", "'{NULL}'", "'{NULL}'", "'{NULL}'"]
    await connection.execute(FILL, WIDE_SENDER, 100)
    await fold(connection, mark_every=0.001)
    async with old.transaction(isolation="repeatable_read"):
        await old.fetch("SELECT FROM queuestats.counters, queuestats.deltas, queuestats.watermarks LIMIT 1")
        before = blocks(await explain(service, "queries/from_counters/total", values, ", ANALYZE, BUFFERS"))
        dead_deltas = 0
        for number in range(40):
            await connection.execute(FILL, WIDE_SENDER, 500)
            await connection.execute("DELETE FROM messages WHERE sender_id = 1 AND id % 2 = 0")
            dead_deltas += (await fold(connection, mark_every=0.001, is_compacting=number % 10 == 0))["folded"]
        # Autovacuum may do this at any time.
        await connection.execute("ANALYZE queuestats.counters, queuestats.deltas, queuestats.watermarks")
        # The first reader may mark dead index entries that no snapshot needs. The second reader is measured.
        await explain(service, "queries/from_counters/total", values, ", ANALYZE, BUFFERS")
        after = blocks(await explain(service, "queries/from_counters/total", values, ", ANALYZE, BUFFERS"))
    await service.close()

    # The statement reads the versions of the few rows of the sender since the last compact, not the thousands of dead
    # deltas. It may read those of one or two folds, if other databases run more transactions than a watermark lists.
    assert before + 10 * after < dead_deltas

"""The plans of every statement with every combination of filters, as the service gets them, on a queue with realistic
skew: they use the intended indexes, read no whole table, estimate correctly, and stay within a budget of pages."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from service.cluster.topology import from_counters
from service.db import Database, load_statement
from service.model import KEYS, Dimension, Grouping, Order, ReportQuery, StatsQuery
from service.queue.explain import Plan, nodes_of, plan_of, warnings
from service.queue.report import report_parameters
from service.resources import sql_path
from tests.conftest import TestDatabase, _on, drop_database, open_pool, url_of
from tests.db.seeded import EXAMPLE_SENDER, LARGE_SENDER, MIDDLE_SENDER, PATIENCE_SECONDS, SENDERS, churn, fill
from tests.oracle import Message, insert

pytestmark = pytest.mark.xdist_group("seeded plans")

FILTERS = [each for size in range(4) for each in itertools.combinations(KEYS, size)]


def shapes() -> dict[str, list[tuple[str, ...]]]:
    """The filters that each statement on the counters runs with, besides the sender; the most of them last."""
    values: dict[str, Any] = {"account_id": 1, "campaign_id": 1, "isp": "x"}
    found: dict[str, set[tuple[str, ...]]] = {}
    for grouping, filters in itertools.product(Grouping, FILTERS):
        statement, _ = from_counters([StatsQuery(1, grouping=grouping, **{key: values[key] for key in filters})])
        own = tuple(key for key in filters if key in statement.types)
        found.setdefault(statement.name.rpartition("/")[2], set()).add(own)
    found |= {name: {()} for name in ("total_with_oldest", "total_with_rates", "isp_with_rates")}
    return {name: sorted(own, key=lambda filters: (len(filters), filters)) for name, own in found.items()}


SHAPES = shapes()
LOOK_UPS = [(name, filters) for name, shapes in SHAPES.items() for filters in shapes]
SCANS = [(grouping, filters) for grouping in Grouping for filters in FILTERS if len(filters) != 2]
# The server may use a generic plan from the sixth call on.
WIDE_CALLS = 8
ASKERS = range(101, 121)
# The counters of campaigns of one ISP are between those of other ISPs: the statement reads more rows than it returns.
READS_MORE = [("campaign", filters) for filters in SHAPES["campaign"] if "isp" in filters]


@pytest.fixture(scope="module", params=["fresh", "churned"])
def seeded(server_url: str, template: str, request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    name = f"{template}_{request.param}"
    database = TestDatabase(name, url_of(server_url, name), url_of(server_url, name, "queuestats_service"))

    async def prepare() -> None:
        await _on(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
        await fill(database)
        if request.param == "churned":
            await churn(database)

    asyncio.run(prepare())
    yield database
    asyncio.run(drop_database(server_url, name))


@pytest.fixture
async def service(seeded: TestDatabase) -> AsyncIterator[Database]:
    """One connection, so that all calls share its prepared statements."""
    async with open_pool(seeded.service_url) as opened:
        yield opened


async def parameters(database: Database, sender_id: int, name: str, filters: tuple[str, ...]) -> dict[str, Any]:
    """Parameters for the account and the campaign with most messages; arrays if the statement has them."""
    async with database.connection() as connection:
        ((account_id, campaign_id),) = await connection.fetch(
            "SELECT account_id, campaign_id FROM queuestats.queued_messages WHERE sender_id = $1"
            " GROUP BY 1, 2 ORDER BY count(*) DESC LIMIT 1",
            sender_id,
        )
    values = {"sender_id": sender_id, "account_id": account_id, "campaign_id": campaign_id, "isp": "Gmail"}
    given = {each: values[each] if each in ("sender_id", *filters) else None for each in load_statement(name).types}
    return {
        each: [given[each]] if type_.endswith("[]") else given[each]
        for each, type_ in load_statement(name).types.items()
    }


async def judge(database: Database, name: str, plan: Plan) -> list[str]:
    (tables,) = await database.fetch(load_statement("explain/tables"))
    return warnings(
        load_statement(name).text, plan.tree, dict(tables), is_scan=name.startswith("queries/from_messages/")
    )


def pages(plan: Plan) -> int:
    top = plan.tree["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def rows_read(plan: Plan, table: str) -> int:
    """The number of rows of a table that the indexes returned in all loops."""
    nodes = [node for node in nodes_of(plan.tree["Plan"]) if node.get("Relation Name") == table]
    by_node = (node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in nodes)
    total: int = round(sum(by_node))
    return total


def budget(plan: Plan, askers: int = 1) -> int:
    """In pages: a descent of each index for each query, a page for each row, and pages with dead entries.

    The oldest message of each status needs another descent.
    """
    return 80 + 20 * askers + rows_read(plan, "counters") + rows_read(plan, "deltas") + 4 * rows_read(plan, "messages")


async def plan_within_budget(database: Database, name: str, given: dict[str, Any], askers: int = 1) -> Plan:
    """The plan of a statement, read again until its pages are within the budget.

    The first reads after many changes read dead index entries, and all of them while a database of the server has an
    old transaction. A plan that reads a whole table is never within the budget.
    """
    is_scan = name.startswith("queries/from_messages/")
    # Steps of one minute and of ten minutes that are not rolled up are looked up.
    of_rates = 80 * askers if name.endswith("_with_rates") else 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            plan = await plan_of(database, load_statement(name), given, analyze=True, is_scan=is_scan)
            if pages(plan) <= (20 + rows_read(plan, "messages") // 2 if is_scan else budget(plan, askers) + of_rates):
                return plan
            async with database.connection() as connection:
                # The server searches for the oldest open transaction again when a newer one has begun.
                await connection.execute("SELECT pg_current_xact_id()")
            await asyncio.sleep(0.1)


def test_every_statement_on_the_counters_has_combinations_of_filters() -> None:
    files = (sql_path() / "queries/from_counters").glob("*.sql")
    assert sorted(SHAPES) == sorted(path.stem for path in files)


@pytest.mark.parametrize("sender_id", [LARGE_SENDER, EXAMPLE_SENDER])
@pytest.mark.parametrize(("row_set", "filters"), LOOK_UPS)
async def test_a_look_up_uses_its_indexes_and_reads_few_pages(
    service: Database, row_set: str, filters: tuple[str, ...], sender_id: int
) -> None:
    """The estimates are not checked, because the same plan is used for senders with 1 row and with 1,000. Instead the
    number of read counters is limited: at most that of the returned rows, in each of two epochs."""
    name = f"queries/from_counters/{row_set}"
    given = await parameters(service, sender_id, name, filters)
    plan = await plan_within_budget(service, name, given)

    assert await judge(service, name, plan) == []
    if (row_set, filters) not in READS_MORE:
        assert rows_read(plan, "counters") <= 2 * plan.tree["Plan"]["Actual Rows"]


@pytest.mark.parametrize("row_set", SHAPES)
async def test_many_look_ups_in_one_statement_use_the_same_indexes(service: Database, row_set: str) -> None:
    name, filters = f"queries/from_counters/{row_set}", SHAPES[row_set][-1]
    each = [await parameters(service, sender_id, name, filters) for sender_id in ASKERS]
    given = {column: [one[column][0] for one in each] for column in load_statement(name).types}
    plan = await plan_within_budget(service, name, given, len(ASKERS))

    assert await judge(service, name, plan) == []


BY_SENDER, BY_ISP = (Dimension.SENDER,), (Dimension.SENDER, Dimension.ISP)
REPORTS = {
    "senders": ReportQuery(BY_SENDER, tuple(ASKERS)),
    "a few senders": ReportQuery(BY_SENDER, tuple(ASKERS)[:3]),
    "all senders": ReportQuery(BY_SENDER),
    "all senders by isp": ReportQuery(BY_ISP),
    "a page": ReportQuery(BY_ISP, limit=20),
    "one isp": ReportQuery(BY_SENDER, tuple(ASKERS), isps=("Gmail",)),
    "accounts of one isp": ReportQuery((Dimension.ACCOUNT,), tuple(ASKERS), isps=("Gmail",)),
    "accounts": ReportQuery((Dimension.ACCOUNT,), tuple(ASKERS)),
    "isps of two accounts": ReportQuery(BY_ISP, tuple(ASKERS), account_ids=(306, 307)),
    "one campaign": ReportQuery(BY_SENDER, tuple(ASKERS), campaign_ids=(4591,)),
    "accounts and isps of one campaign": ReportQuery(
        (Dimension.ACCOUNT, Dimension.ISP), tuple(range(1, 21)), campaign_ids=(4591,)
    ),
    "far campaigns": ReportQuery(BY_SENDER, tuple(ASKERS), campaign_ids=(1, 2**62)),
    "far campaigns of accounts": ReportQuery((Dimension.ACCOUNT,), tuple(ASKERS), campaign_ids=(1, 2**62)),
    "isps of two accounts and two campaigns": ReportQuery(BY_ISP, tuple(ASKERS), (306, 307), (1, 2**62), ("Gmail",)),
    "largest": ReportQuery(BY_SENDER, tuple(ASKERS), order=Order.RETRY),
    "grand total": ReportQuery(()),
}


@pytest.mark.parametrize("query", REPORTS.values(), ids=REPORTS)
async def test_a_report_uses_its_indexes_and_reads_the_counters_of_its_rows(
    service: Database, query: ReportQuery
) -> None:
    name, most = "queries/report/from_counters", query.limit + 200
    parameters = report_parameters(query, None, most)
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}
    look_ups = len(given["sender_ids"] or range(SENDERS)) * len(given["slice_isps"])
    # All pending deltas are read to find the senders that have some.
    plan = await plan_within_budget(service, name, given, look_ups)

    assert await judge(service, name, plan) == []
    assert rows_read(plan, "counters") <= 2 * most
    if Dimension.SENDER in query.by and query.limit >= SENDERS:
        assert rows_read(plan, "counters") <= 2 * plan.tree["Plan"]["Actual Rows"]


async def test_a_report_on_many_isps_reads_the_pending_deltas_of_a_sender_once(
    database: TestDatabase, owner: Any
) -> None:
    isps = [f"isp {number:02}" for number in range(20)]
    await insert(owner, [Message(isp=isp) for isp in isps])
    query = ReportQuery(BY_ISP, (119,), isps=tuple(isps))
    given = {
        name: list(each) if isinstance(each, tuple) else each
        for name, each in report_parameters(query, None, 1000).items()
    }
    async with open_pool(database.service_url) as opened:
        statement = load_statement("queries/report/from_counters")
        plan = await plan_of(opened, statement, given, analyze=True, is_scan=False)
    assert plan.tree["Plan"]["Actual Rows"] == len(isps)
    assert rows_read(plan, "deltas") == len(isps)


@pytest.mark.parametrize("sender_id", [MIDDLE_SENDER, EXAMPLE_SENDER])
@pytest.mark.parametrize(("row_set", "filters"), SCANS)
async def test_a_scan_of_a_small_sender_uses_the_index_and_estimates_its_rows(
    service: Database, row_set: str, filters: tuple[str, ...], sender_id: int
) -> None:
    name = f"queries/from_messages/{row_set}"
    given = await parameters(service, sender_id, name, filters)
    plan = await plan_within_budget(service, name, given)

    assert await judge(service, name, plan) == []


async def whole_scans(service: Database, tables: tuple[str, ...]) -> dict[str, int]:
    """How often any session has read each whole table."""
    found = "SELECT relname, seq_scan FROM pg_stat_all_tables WHERE relname = ANY($1) AND schemaname = 'public'"
    async with service.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return {row["relname"]: row["seq_scan"] for row in await connection.fetch(found, tables)}


async def generic_plans(service: Database, sql: str) -> int:
    async with service.connection() as connection:
        used: int = await connection.fetchval(
            "SELECT generic_plans FROM pg_prepared_statements WHERE statement = $1", sql
        )
        return used


async def test_after_wide_look_ups_on_the_same_connection_a_narrow_one_reads_no_table_as_a_whole(
    service: Database,
) -> None:
    tables = ("counters", "deltas", "watermarks")
    before = await whole_scans(service, tables)
    for row_set, filters in LOOK_UPS:
        asked = load_statement(f"queries/from_counters/{row_set}")
        wide, narrow = [await parameters(service, each, asked.name, filters) for each in (LARGE_SENDER, EXAMPLE_SENDER)]
        for given in (*[wide] * WIDE_CALLS, narrow):
            assert await service.fetch(asked, **given)
        assert await generic_plans(service, asked.sql) > 0

    assert await whole_scans(service, tables) == before


async def test_after_wide_scans_on_the_same_connection_a_narrow_one_uses_the_index(service: Database) -> None:
    for row_set, filters in SCANS:
        asked = load_statement(f"queries/from_messages/{row_set}")
        wide, narrow = [await parameters(service, each, asked.name, filters) for each in (LARGE_SENDER, EXAMPLE_SENDER)]
        for _ in range(WIDE_CALLS):
            await service.fetch_scan(asked, **wide)
        before = await whole_scans(service, ("messages",))
        assert await service.fetch_scan(asked, **narrow)
        assert await whole_scans(service, ("messages",)) == before
        assert await generic_plans(service, asked.sql) == 0

"""Everything that reads, on a cluster: the same numbers as from the messages, added up in Python."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from typing import Any

import asyncpg
import msgspec
import pytest

from service.db import Database
from service.errors import ServiceError, Unavailable
from service.model import Dimension, Grouping, HistoryQuery, Measure, Order, ReportQuery, StatsQuery, TopQuery
from service.queue.explain import explain
from service.queue.history import fetch_history
from service.queue.report import fetch_definition, fetch_page
from service.queue.stats import fetch_report
from service.queue.top import fetch_top
from tests.citus.conftest import Distributed
from tests.citus.test_citus import PATIENCE_SECONDS, move_shard_of, serving, truth, until, writers
from tests.citus.test_nodes import PROBED, stopped
from tests.conftest import open_pool
from tests.oracle import STATUSES, Message, insert

# Of every key some messages are on each of the two nodes.
MESSAGES = [
    Message(1 + n % 30, n % 3, n % 2 * 7, ("", "Gmail", "\u00e9")[n % 5 % 3], STATUSES[n % 7 % 4]) for n in range(600)
]


async def write(database: Distributed, messages: Sequence[Message]) -> None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        await insert(connection, messages)
    finally:
        await connection.close()


async def pages(service: Database, query: ReportQuery) -> list[dict[str, Any]]:
    """The rows of all pages. Those of a shard that has just moved are waited for."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(Unavailable):
                page = await fetch_page(service, query)
                rows = [*page.rows]
                while page.more["next"]:
                    page = await fetch_page(service, msgspec.structs.replace(query, after=page.more["next"]))
                    rows += page.rows
                return [dict(row) for row in rows]
            await asyncio.sleep(0.1)


def expected_report(messages: Sequence[Message], query: ReportQuery) -> list[dict[str, Any]]:
    rows: dict[tuple[int | str, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys(sorted(Measure), 0))
    for message in messages:
        filters = (("sender_ids", "sender_id"), ("account_ids", "account_id"), ("isps", "isp"))
        if all(getattr(query, name) is None or getattr(message, key) in getattr(query, name) for name, key in filters):
            row = rows[tuple(getattr(message, dimension.column) for dimension in query.by)]
            row[message.status] += 1
            row["total"] += 1
    listed = [(key, row) for key, row in rows.items() if row[query.status or Measure.TOTAL]]
    listed.sort(key=lambda row: (0 if query.order is Order.KEY else -row[1][query.order], row[0]))
    return [dict(zip([each.column for each in query.by], key, strict=True)) | row for key, row in listed]


async def _are_more(answers: Sequence[int], before: int) -> bool:
    return len(answers) > before + 5


QUERIES = [
    msgspec.structs.replace(query, by=by, order=order)
    for size in range(1, 4)
    for by in combinations(Dimension, size)
    for order in (Order.KEY, Order.RETRY)
    for query in (ReportQuery(limit=40), ReportQuery(sender_ids=(1, 2, 3, 5, 8, 99), limit=3))
] + [
    ReportQuery((Dimension.ISP,), isps=("", "\u00e9"), status=Measure.HOLD),
    ReportQuery((Dimension.SENDER,), account_ids=(1, 2), is_limited=True, limit=7),
    ReportQuery((), sender_ids=(7, 8)),
    ReportQuery(has_count=True, limit=4),
]


async def test_the_report_of_many_nodes_is_that_of_one(distributed: Distributed) -> None:
    await write(distributed, MESSAGES[:400])
    async with serving(distributed) as service:
        for query in QUERIES:
            assert await pages(service, query) == expected_report(MESSAGES[:400], query), query
        await move_shard_of(7, distributed)
        await write(distributed, MESSAGES[400:])
        for query in QUERIES:
            assert await pages(service, query) == expected_report(MESSAGES, query), query
        counted = await fetch_page(service, ReportQuery((Dimension.ACCOUNT,), has_count=True, limit=1))
        assert (counted.more["count"], len(counted.rows)) == (3, 1)
        listed = ReportQuery((Dimension.CAMPAIGN,), sender_ids=(1, 2, 3, 4), status=Measure.HOLD)
        for query in (listed, ReportQuery((Dimension.SENDER, Dimension.ISP), order=Order.NEW)):
            recounted = await fetch_definition(service, query)
            assert [dict(row) for row in recounted.rows] == expected_report(MESSAGES, query)
        await distributed.run("TRUNCATE messages")
        assert await pages(service, ReportQuery((Dimension.ISP,))) == []
        (total,) = await pages(service, ReportQuery(()))
        assert total["total"] == 0


async def test_a_report_of_all_senders_counts_no_message_twice_while_shards_move(distributed: Distributed) -> None:
    """Snapshots of nodes differ: each shard is read on one of them, or there is no report."""
    await write(distributed, MESSAGES)
    is_over, answers = False, list[int]()

    async def ask_on() -> None:
        while not is_over:
            for query in (ReportQuery(()), ReportQuery((Dimension.ISP,), isps=("Gmail",))):
                with suppress(ServiceError):
                    (row,) = (await fetch_page(service, query)).rows
                    answers.append(row["total"] - expected_report(MESSAGES, query)[0]["total"])
            await asyncio.sleep(0)

    async with serving(distributed) as service:
        asking = asyncio.create_task(ask_on())
        try:
            for sender_id in (1, 2, 3, 4, 1, 2):
                await move_shard_of(sender_id, distributed)
                await pages(service, ReportQuery(()))
                await until(partial(_are_more, answers, len(answers)))
        finally:
            is_over = True
        await asking
    assert len(answers) > 20
    assert set(answers) == {0}


async def test_a_node_that_does_not_respond_is_named_and_reports_of_other_senders_are_there(
    distributed: Distributed,
) -> None:
    await write(distributed, MESSAGES)
    async with open_pool(distributed.service_url, pool_size=3, **PROBED) as service:
        by_port = await distributed.run("SELECT json_object_agg(nodeport, true) FROM citus_shards")
        assert by_port
        await pages(service, ReportQuery(()))
        here = await distributed.run(
            "SELECT array_agg(sender) FROM generate_series(1, 30) AS sender, citus_shards"
            " WHERE shardid = get_shard_id_for_distribution_column('messages', sender)"
            f" AND nodeport = {distributed.nodes[1].port}"
        )
        query = ReportQuery(sender_ids=tuple(here))
        with stopped(distributed.nodes[2]):
            with pytest.raises(ServiceError):
                await fetch_page(service, ReportQuery(()))
            assert await pages(service, query) == expected_report(MESSAGES, query)
            with pytest.raises(Unavailable) as error:
                await fetch_page(service, ReportQuery(()))
            assert f":{distributed.nodes[2].port} does not respond" in error.value.said
        assert await pages(service, ReportQuery((Dimension.ISP,))) == expected_report(
            MESSAGES, ReportQuery((Dimension.ISP,))
        )


class Time:
    """The time by which the nodes record the history, and their folds and steps of counting, in the hands of a test."""

    def __init__(self, connections: Sequence[Any]) -> None:
        self._connections = connections
        # After the shards were counted, which went by the clock of the server.
        self.now = datetime(2100, 3, 1, 12, tzinfo=UTC)
        self.total, self.minutes = 0, dict[datetime, dict[str, int]]()

    async def run(self, minutes: int) -> None:
        """Lets time go by, with folds. Notes what the history must say of it."""
        for _ in range(minutes):
            noted = self._minute()
            for _ in range(15):
                self.now += timedelta(seconds=4)
                await self.set(self.now - timedelta(seconds=1))
                await self.everywhere("SELECT queuestats_local.fold()")
            noted["total"] = self.total

    async def set(self, now: datetime) -> None:
        await self.everywhere(
            "CREATE OR REPLACE FUNCTION queuestats_local.history_clock() RETURNS timestamp with time zone"
            f" LANGUAGE sql STABLE AS $$ SELECT timestamptz '{now}' $$"
        )

    def note(self, arrived: int, left: int) -> None:
        """Messages of SENDER arrive and leave in this minute."""
        self.total += arrived - left
        self._minute()["arrived"] += arrived
        self._minute()["left"] += left

    def _minute(self) -> dict[str, int]:
        return self.minutes.setdefault(self.now + timedelta(minutes=1), {"total": self.total, "arrived": 0, "left": 0})

    async def settle(self) -> None:
        for connection in self._connections:
            while await connection.fetchval("SELECT queuestats_local.settle()"):
                pass

    async def everywhere(self, statement: str) -> None:
        for connection in self._connections:
            await connection.execute(statement)


@asynccontextmanager
async def time_of(database: Distributed) -> AsyncIterator[Time]:
    connections = [await asyncpg.connect(database.at(node)) for node in database.nodes[1:]]
    try:
        time = Time(connections)
        await time.everywhere("SET citus.enable_ddl_propagation = off")
        await time.run(1)
        yield time
    finally:
        for connection in connections:
            await connection.close()


SENDER = 7


async def check_history(service: Database, time: Time, minutes: int) -> None:
    """The history has the last so many minutes, and no earlier one. The last is the current one."""
    query = HistoryQuery(SENDER, None, is_by_isp=False, step_seconds=60, since=time.now - timedelta(hours=2))
    rows = [
        {name: row[name] for name in ("at", "total", "arrived", "left")}
        for row in (await fetch_history(service, query)).rows
    ]
    (report,) = (await fetch_report(service, StatsQuery(SENDER, has_rates=True))).rows
    rates = msgspec.to_builtins(report, builtin_types=(datetime,))
    assert report.total == time.total
    if not minutes:
        assert rows == [{"at": time.now, "total": time.total, "arrived": None, "left": None}]
        assert (rates["arrived"], rates["left"], rates["last_left"]) == (None, None, None)
        return
    known: list[dict[str, Any]] = [{"at": at, **minute} for at, minute in time.minutes.items() if at <= time.now][
        -minutes:
    ]
    assert rows == known
    window = known[-6:-1] if minutes >= 6 else []
    expected = [sum(each[name] for each in window) if window else None for name in ("arrived", "left")]
    assert [rates["arrived"], rates["left"]] == expected
    last_left = max((each["at"] - timedelta(minutes=1) for each in known if each["left"]), default=None)
    assert rates["last_left"] == last_left


async def test_the_history_goes_on_where_the_shard_is_and_has_no_row_for_the_time_elsewhere(
    distributed: Distributed,
) -> None:
    insert = f"INSERT INTO messages (sender_id, recipient) SELECT {SENDER}, 'x' FROM generate_series(1, {{}})"
    delete = (
        f"DELETE FROM messages WHERE sender_id = {SENDER} AND id IN (SELECT id FROM messages WHERE sender_id = {SENDER}"
        " ORDER BY id LIMIT {})"
    )

    async def change(arrived: int, left: int) -> None:
        time.note(arrived, left)
        for statement, number in ((insert, arrived), (delete, left)):
            await distributed.run(statement.format(number))

    async with open_pool(distributed.service_url) as service, time_of(distributed) as time:
        for arrived, left in ((3, 0), (2, 1), (0, 2)):
            await change(arrived, left)
            await time.run(2)
        await check_history(service, time, 6)
        for is_settled_between in (True, False):
            await move_shard_of(SENDER, distributed)
            await change(4, 1)
            await time.run(1)
            if is_settled_between:
                await time.settle()
                # What the shard had when it was counted is no arrival.
                await check_history(service, time, 0)
                # Not in the next minute either, before it is folded.
                await time.set(time.now + timedelta(seconds=1))
                query = HistoryQuery(SENDER, None, is_by_isp=False, step_seconds=60, since=time.now)
                (current,) = (await fetch_history(service, query)).rows
                assert (current["total"], current["arrived"], current["left"]) == (time.total, 0, 0)
                await time.run(1)
                await check_history(service, time, 1)
            await change(1, 2)
            if not is_settled_between:
                await time.run(1)
                await move_shard_of(SENDER, distributed)
                await time.settle()
            await time.run(2)
            await check_history(service, time, 3 if is_settled_between else 2)
        for arrived, left in ((3, 0), (2, 1), (0, 0)):
            await change(arrived, left)
            await time.run(2)
        await check_history(service, time, 8)
        await distributed.run("TRUNCATE messages")
        time.note(0, time.total)
        await time.settle()
        await time.run(1)
        await check_history(service, time, 9)
        rolled_up = "SELECT queuestats_local.roll_up_history(1000, '1 day', '7 days', '90 days')"
        for _ in range(50):
            await time.everywhere(rolled_up)
        await check_history(service, time, 9)


async def first_arrivals(database: Distributed) -> dict[int, dict[str, str]]:
    """By sender and status, when the oldest message came: added up by Citus from the messages."""
    connection = await asyncpg.connect(database.owner_url)
    try:
        rows = await connection.fetch("SELECT sender_id, status, min(created_at) FROM messages GROUP BY 1, 2")
    finally:
        await connection.close()
    found: dict[int, dict[str, str]] = {sender_id: {} for sender_id in range(1, 32)}
    for sender_id, status, at in rows:
        found[sender_id][status] = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {sender: {**times, **({"total": min(times.values())} if times else {})} for sender, times in found.items()}


async def check_oldest(database: Distributed, service: Database) -> None:
    expected = await first_arrivals(database)
    for sender_id, times in expected.items():
        (row,) = (await fetch_report(service, StatsQuery(sender_id, has_oldest=True))).rows
        assert _known(msgspec.to_builtins(row)["oldest"]) == times, sender_id
    for measure in (Measure.TOTAL, Measure.RETRY):
        first = sorted((times[measure], sender_id) for sender_id, times in expected.items() if measure in times)
        rows = (await fetch_top(service, TopQuery(Dimension.SENDER, measure, 12, by_age=True))).rows
        assert [(row["oldest"][measure], row["sender_id"]) for row in rows] == first[:12]
    for node in (1, 2):
        assert await database.run("SELECT count(*) FROM queuestats_local.bound_differences(NULL)", node) == 0


def _known(oldest: dict[str, str | None]) -> dict[str, str]:
    return {status: at for status, at in oldest.items() if at}


AGED = (
    "INSERT INTO messages (sender_id, status, recipient, created_at)"
    " SELECT 1 + n % 30, (ARRAY['new', 'proc', 'retry', 'hold'])[1 + n % 7 % 4]::message_status, 'x',"
    " timestamptz '2026-01-01Z' + (n * 7919 % 1000 + {}) * interval '1 minute' FROM generate_series(1, 600) AS n"
)


async def test_the_oldest_messages_are_found_through_moves_splits_and_a_truncate(distributed: Distributed) -> None:
    async with open_pool(distributed.service_url) as service, time_of(distributed) as time:
        await distributed.run(AGED.format(1000))
        await check_oldest(distributed, service)
        await time.run(1)
        await check_oldest(distributed, service)
        # Older than the bounds, while nothing is recorded.
        for older in (500, 0):
            await move_shard_of(SENDER, distributed)
            await distributed.run(AGED.format(older))
            (row,) = (await fetch_report(service, StatsQuery(SENDER, has_oldest=True))).rows
            assert _known(msgspec.to_builtins(row)["oldest"]) == (await first_arrivals(distributed))[SENDER]
            await time.settle()
            await check_oldest(distributed, service)
            await time.run(1)
            await check_oldest(distributed, service)
        await distributed.run(
            f"SELECT isolate_tenant_to_new_shard('messages', {SENDER}, shard_transfer_mode => 'block_writes')"
        )
        await distributed.run("DELETE FROM messages WHERE created_at < '2026-01-01 12:00Z'")
        # The table of the shard that was split is still there, with these messages.
        await time.settle()
        await check_oldest(distributed, service)
        await distributed.run("UPDATE messages SET status = 'retry' WHERE status = 'proc' AND id % 3 = 0")
        await time.run(1)
        await check_oldest(distributed, service)
        await distributed.run("TRUNCATE messages")
        await time.settle()
        await distributed.run(AGED.format(2000))
        await time.run(1)
        await check_oldest(distributed, service)


async def test_the_oldest_messages_of_a_sender_are_there_while_shards_move_under_load(distributed: Distributed) -> None:
    still = 31
    await distributed.run(
        f"INSERT INTO messages (sender_id, recipient, created_at) VALUES ({still}, 'x', '2026-01-01 12:34:56Z')"
    )
    is_over, answers = False, list[int]()

    async def ask_on() -> None:
        while not is_over:
            with suppress(ServiceError):
                (row,) = (await fetch_report(service, StatsQuery(still, has_oldest=True))).rows
                assert msgspec.to_builtins(row)["oldest"]["new"] == "2026-01-01T12:34:56.000000Z"
                answers.append(row.total)

    async with serving(distributed) as service:
        asking = asyncio.create_task(ask_on())
        try:
            async with writers(distributed):
                for sender_id in (still, 2, still, 4):
                    await move_shard_of(sender_id, distributed)
                    await until(partial(_are_more, answers, len(answers)))
        finally:
            is_over = True
        await asking
        assert set(answers) == {1}
        for node in (1, 2):
            await until(partial(_is_counted, distributed, node))
        await check_oldest(distributed, service)
        (total,) = await pages(service, ReportQuery(()))
        assert total["total"] == sum((await truth(distributed)).values())


async def test_a_truncate_and_look_ups_in_all_shards_of_a_node_do_not_end_each_other(distributed: Distributed) -> None:
    is_over, answers = False, list[int]()

    async def ask_on(sender_id: int) -> None:
        while not is_over:
            with suppress(ServiceError):
                (row,) = (await fetch_report(service, StatsQuery(sender_id, has_oldest=True))).rows
                assert bool(_known(msgspec.to_builtins(row)["oldest"])) == (row.total > 0)
                answers.append(row.total)
            with suppress(ServiceError):
                await fetch_top(service, TopQuery(Dimension.SENDER, Measure.TOTAL, 5, by_age=True))

    async with serving(distributed) as service:
        asking = [asyncio.create_task(ask_on(sender_id)) for sender_id in (1, 2, 3)]
        try:
            for _ in range(8):
                await distributed.run(AGED.format(0))
                await until(partial(_are_more, answers, len(answers)))
                await distributed.run("TRUNCATE messages")
        finally:
            is_over = True
        await asyncio.gather(*asking)
    assert {0, 20} <= set(answers)


async def _is_counted(distributed: Distributed, node: int) -> bool:
    return await distributed.unproved(node) == []


async def test_explain_shows_the_statement_that_runs_on_the_node_of_the_sender(distributed: Distributed) -> None:
    await write(distributed, MESSAGES)
    async with open_pool(distributed.service_url) as service:
        for grouping in Grouping:
            found = await explain(service, StatsQuery(SENDER, grouping=grouping), analyze=True, is_batched=True)
            assert found.statement == f"sql/queries/from_counters/{grouping}.sql"
            assert "unproved" in found.sql
            assert "counters_by_" in "".join(found.lines)
            assert found.warnings == []
        await move_shard_of(SENDER, distributed)
        scanned = await explain(service, StatsQuery(SENDER), analyze=True)
        assert scanned.statement == "sql/queries/from_messages/total.sql"
        assert any("messages_here" in line for line in scanned.lines)
        assert scanned.warnings == []

"""Everything that reads, on a cluster: the same numbers as from the messages, added up in Python."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any

import asyncpg
import msgspec
import pytest

from service.db import Database
from service.errors import ServiceError, Unavailable
from service.model import Dimension, Measure, Order, ReportQuery
from service.queue.report import fetch_page
from tests.citus.conftest import Distributed
from tests.citus.test_citus import PATIENCE_SECONDS, move_shard_of, serving
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
        await distributed.run("TRUNCATE messages")
        assert await pages(service, ReportQuery((Dimension.ISP,))) == []
        (total,) = await pages(service, ReportQuery(()))
        assert total["total"] == 0


async def test_a_report_of_all_senders_counts_no_message_twice_while_shards_move(distributed: Distributed) -> None:
    """Snapshots of nodes differ: each shard is read on one of them, or there is no report."""
    await write(distributed, MESSAGES)
    is_over, answers = False, 0

    async def ask_on() -> None:
        nonlocal answers
        while not is_over:
            for query in (ReportQuery(()), ReportQuery((Dimension.ISP,), isps=("Gmail",))):
                with suppress(ServiceError):
                    (row,) = (await fetch_page(service, query)).rows
                    assert row["total"] == expected_report(MESSAGES, query)[0]["total"]
                    answers += 1
            await asyncio.sleep(0)

    async with serving(distributed) as service:
        asking = asyncio.create_task(ask_on())
        try:
            for sender_id in (1, 2, 3, 4, 1, 2):
                await move_shard_of(sender_id, distributed)
                before, _ = answers, await pages(service, ReportQuery(()))
                while answers < before + 5 and not asking.done():
                    await asyncio.sleep(0.05)
        finally:
            is_over = True
        await asking
    assert answers > 20


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

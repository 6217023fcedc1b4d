"""During writes of every kind, folds and rebuilds, counters and messages are equal in every snapshot."""

import asyncio
import os
import random
from typing import Any

import pytest

from service.cluster.topology import statement_name
from service.model import Grouping, StatsQuery
from service.reports import StatsRow
from tests.counters.conftest import Connect
from tests.counters.load import SENDERS, WRITERS, fold_until, write_until
from tests.counters.observing import answer, answers, drift, fold, on, scanned, snapshot

# For a longer run: TEST_TIMES=20
TIMES = int(os.environ.get("TEST_TIMES", "1"))
COMPARISONS = 300 * TIMES
FILTERS = [(None, None, None), (1, None, None), (None, 2, None), (None, None, "Gmail"), (1, 1, None), (2, 2, "gmail")]


class Comparisons:
    """The number of compared snapshots, and their differences."""

    def __init__(self) -> None:
        self.made = 0
        self.nonempty = 0
        self.differences: list[Any] = []

    async def compare(self, connection: Any, chance: random.Random) -> None:
        query = StatsQuery(chance.choice(SENDERS), *chance.choice(FILTERS), chance.choice(list(Grouping)))
        async with snapshot(connection):
            audited = [dict(row) for row in await connection.fetch("SELECT * FROM queuestats.audit()")]
            answered, truth = await answer(connection, query), await scanned(connection, query)
        self.made += 1
        self.nonempty += any(row.total for row in truth)
        if audited or answered != truth:
            self.differences.append((query, audited, answered, truth))

    async def sum_up(self, connection: Any, chance: random.Random) -> None:
        """Compares all groups of every sender, in batches and one by one, in one snapshot."""
        queries = [StatsQuery(sender_id, grouping=grouping) for sender_id in SENDERS for grouping in Grouping]
        async with connection.transaction(isolation="repeatable_read"):
            together = await answers(on(connection), queries)
            one_by_one = [await answer(connection, query) for query in queries]
        totals = [_sum(rows) for rows in together]
        of_senders = [set(totals[start : start + len(Grouping)]) for start in range(0, len(totals), len(Grouping))]
        if together != one_by_one or any(len(different) != 1 for different in of_senders):
            self.differences.append((queries, together, one_by_one))


def _sum(rows: list[StatsRow]) -> tuple[int, ...]:
    return tuple(sum(getattr(row, column) for row in rows) for column in ("new", "proc", "retry", "hold", "total"))


async def compare_until_enough(done: asyncio.Event, connection: Any, made: Comparisons, chance: random.Random) -> None:
    try:
        while made.made < COMPARISONS and not made.differences:
            await made.compare(connection, chance)
            if chance.random() < 0.2:
                await made.sum_up(connection, chance)
    finally:
        done.set()


async def rebuild_until(done: asyncio.Event, connection: Any, chance: random.Random) -> None:
    while not done.is_set():
        await connection.execute("SELECT queuestats.rebuild($1)", chance.choice([None, *SENDERS]))
        await asyncio.sleep(chance.random())


@pytest.mark.slow
@pytest.mark.timeout(600 + 100 * TIMES)
async def test_hundreds_of_snapshots_taken_under_full_load_are_all_exact(connect: Connect) -> None:
    done, made = asyncio.Event(), Comparisons()
    async with asyncio.TaskGroup() as group:
        writers = [
            group.create_task(write_until(done, await connect(), kinds, random.Random(number)))
            for number, kinds in enumerate(WRITERS)
        ]
        folders = [group.create_task(fold_until(done, await connect(), random.Random(n))) for n in range(2)]
        group.create_task(rebuild_until(done, await connect(), random.Random()))
        for number in range(2):
            group.create_task(compare_until_enough(done, await connect(), made, random.Random(number)))

    assert made.differences == []
    assert made.made >= COMPARISONS
    # The load was effective: all writers wrote, all folds folded, and there were messages.
    assert min(writer.result() for writer in writers) > 0
    assert sum(folder.result() for folder in folders) > COMPARISONS
    assert made.nonempty > made.made / 4
    await check_at_rest(await connect())


async def check_at_rest(connection: Any) -> None:
    """After all deltas are folded, the counters have all counts."""
    while (await fold(connection, is_compacting=True))["is_more"]:
        pass
    assert await connection.fetchval("SELECT count(*) FROM queuestats.deltas") == 0
    assert await drift(connection) == []


@pytest.mark.slow
async def test_sixteen_writers_on_four_hot_keys_have_no_deadlock_and_lose_no_count(connect: Connect) -> None:
    done, inserted = asyncio.Event(), 250

    async def insert(connection: Any) -> None:
        for number in range(inserted):
            async with connection.transaction():
                for campaign_id in (number % 4, (number + 1) % 4):
                    await connection.execute(
                        "INSERT INTO messages (sender_id, campaign_id, recipient) VALUES (1, $1, 'x')", campaign_id
                    )

    connections = [await connect() for _ in range(16)]
    folder = asyncio.create_task(fold_until(done, await connect(), random.Random(1)))
    await asyncio.gather(*(insert(connection) for connection in connections))
    done.set()

    assert await folder > 0
    (total,) = await answer(connections[0], StatsQuery(1))
    assert total.new == total.total == 16 * 2 * inserted
    assert await drift(connections[0]) == []


def test_the_load_runs_every_kind_of_statement() -> None:
    """Otherwise, a statement of sql/queries would not be tested under load."""
    queries = [StatsQuery(1, *filters, grouping) for filters in FILTERS for grouping in Grouping]
    assert {statement_name(query) for query in queries} == {
        *("total", "account", "isp", "account_campaign", "campaign", "account_campaign_of_isp"),
    }

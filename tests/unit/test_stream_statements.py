"""How many statements all streams of a process run, with a database that does not respond."""

import asyncio
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace
from prometheus_client import REGISTRY

from service.db import Database
from service.model import Grouping, StatsQuery
from service.queue.live import open_statistics
from service.settings import load_settings

# Only for requests: streams have their own.
SETTINGS = replace(
    load_settings(None, {}, Path("/nonexistent/.env")), pool_size=10, batch_queries=1, waiting_requests=1
)


class SilentDatabase:
    """One machine. It never responds to a statement that counts, and records the number of its queries."""

    def __init__(self) -> None:
        self.topology: Any = None
        self.in_flight: list[tuple[str, int]] = []

    async def fetch(self, statement: Any, **parameters: Any) -> list[dict[str, Any]]:
        if statement.name == "queries/baseline":
            return [{"is_distributed": False}]
        self.in_flight.append((statement.name, len(parameters["sender_id"])))
        await asyncio.Event().wait()
        return []


async def test_streams_have_a_statement_for_totals_and_one_for_listings_of_25_queries_each() -> None:
    before = REGISTRY.get_sample_value("queuestats_waiting_requests")
    database = SilentDatabase()
    statistics = open_statistics(cast(Database, database), SETTINGS)
    groupings = (Grouping.TOTAL, Grouping.ACCOUNT, Grouping.ISP)
    queries = [StatsQuery(sender_id, grouping=grouping) for sender_id in range(30) for grouping in groupings]
    reading = [asyncio.create_task(statistics.run(query)) for query in queries]
    for _ in range(20):
        await asyncio.sleep(0)
    assert database.in_flight == [("queries/from_counters/total", 25), ("queries/from_counters/account", 25)]
    assert not any(task.done() for task in reading), "all others wait"
    assert REGISTRY.get_sample_value("queuestats_waiting_requests") == before, "they do not count as requests"
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)

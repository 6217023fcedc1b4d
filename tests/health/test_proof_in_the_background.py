"""The service recounts a sample of senders, and repairs the differences."""

import asyncio
from pathlib import Path
from typing import Any

from service.access.admin import create_token
from service.db import fetch
from service.model import Scope
from service.settings import Settings
from tests.api.wire import STATS, client_of, serving
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

PROVED = "SELECT succeeded_at FROM queuestats.background_tasks WHERE name = 'proof'"


async def test_drift_is_found_and_repaired_and_reports_are_scans_until_then(database: TestDatabase, owner: Any) -> None:
    await insert(owner, [Message(sender_id=119)] * 3)
    await owner.execute("DELETE FROM queuestats.deltas")
    token = await create_token(database.owner_url, "all", list(Scope))
    settings = Settings(
        database_url=database.service_url, admin_database_url=database.owner_url, data_dir=Path("/nonexistent")
    )
    async with serving(settings) as url, client_of(url) as client:
        body = {"token": token, "id": 119}
        # Until a sample includes this sender, reports come from the counters.
        while (await client.post(STATS, json=body)).json().get("data", [{}])[0].get("new") != 3:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while await owner.fetchval("SELECT count(*) FROM queuestats.drift"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        scraped = (await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})).text
    assert await owner.fetchval(PROVED)
    assert "queuestats_verified_at " in scraped
    assert "queuestats_proved_senders_total 0.0" not in scraped
    assert await owner.fetchval("SELECT new FROM queuestats.counters WHERE grouping_set = 'total'") == 3


async def test_a_scrape_has_the_differences_that_are_not_repaired(owner: Any) -> None:
    await owner.execute("SELECT queuestats.record_drift(ARRAY[119, 7], ARRAY[2, 1])")
    assert (await fetch(owner, "queries/metrics"))[0]["drift"] == 3


async def test_the_pause_before_a_recount_depends_on_the_share(owner: Any) -> None:
    await insert(owner, [Message()])
    first = await owner.fetch("SELECT * FROM queuestats.prove_sample(0.01)")
    second = await owner.fetch("SELECT * FROM queuestats.prove_sample(0.01)")
    assert (len(first), len(second)) == (1, 0)
    pause = "SELECT extract(epoch FROM due_at - succeeded_at) FROM queuestats.background_tasks WHERE name = 'proof'"
    assert await owner.fetchval(pause) > 9

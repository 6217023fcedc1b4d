"""`queuestats bench write` in its smallest size: writers write, the counters stay exact, and all is as it was."""

import asyncio
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from service.bench.pages import write_pages
from service.bench.writers import Load, write
from tests.load.test_bench_http import settings_of

from service.bench.write import WritePlan, measure_write
from service.errors import CommandError
from tests.conftest import TestDatabase

SMALL = WritePlan(pairs=1, seconds=1, batches=(1, 50), index_rounds=1, seed_rounds=1, seed_messages=2000, messages=1000)


@pytest.mark.slow
async def test_writers_write_in_every_way_and_all_is_as_it_was(
    database: TestDatabase, owner: Any, tmp_path: Path
) -> None:
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    shape = await owner.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'messages' ORDER BY indexdef")
    report = json.loads(json.dumps(await asyncio.to_thread(measure_write, settings_of(database), SMALL)))

    rates = [each for each in report["figures"] if each["unit"] == "messages/s"]
    assert len({each["labels"]["load"] for each in rates}) == 3
    assert all(each["least"] > 0 for each in rates)
    # No deadlock, and nothing else that fails.
    assert [each for each in report["figures"] if each["unit"] == "transactions" and each["greatest"]] == []
    bars = {each["bar"] for each in report["figures"] if each["bar"]}
    assert bars == {0.9, 0.75, 0.8}

    for path in write_pages(report, tmp_path):
        assert path.suffix == ".md" or ElementTree.parse(path).getroot().tag.endswith("svg")
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1000
    assert await owner.fetchval("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'messages'::regclass"
                                " AND NOT tgisinternal AND tgenabled <> 'O'") == 0  # fmt: skip
    assert await owner.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'messages' ORDER BY indexdef") == shape
    assert await owner.fetchval("SELECT to_regclass('bench_messages')") is None


async def test_a_database_that_is_not_marked_disposable_is_left_alone(database: TestDatabase, owner: Any) -> None:
    await owner.execute("INSERT INTO messages (sender_id, recipient) VALUES (7, 'someone@example.com')")
    with pytest.raises(CommandError, match="not marked disposable"):
        await asyncio.to_thread(measure_write, settings_of(database), SMALL)
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1


async def test_writers_that_fail_are_an_error_in_a_sentence(database: TestDatabase, owner: Any) -> None:
    await owner.execute("DROP TABLE messages CASCADE")
    with pytest.raises(CommandError, match="pgbench failed"):
        await write(database.owner_url, Load("hot", "hot_keys", 1, 2, {}), 1)

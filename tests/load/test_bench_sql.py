"""`queuestats bench sql` in its smallest size: everybody takes part and agrees, and nothing is left behind."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from service.bench.candidates import CANDIDATES, INDEXED, index_files
from service.bench.pages import write_pages
from tests.load.test_bench_http import settings_of

from service.bench.sql import SqlPlan, measure_sql
from service.errors import CommandError
from service.model import Grouping
from service.resources import sql_path
from service.settings import Settings
from tests.conftest import TestDatabase

SMALL = SqlPlan(sizes=(200, 2000), rounds=1, pending=(0, 20), ask_seconds=0.01)
# What an operator may have set, and a figure must not depend on.
OPERATORS_OWN = {"work_mem": "64MB", "jit": "on"}
STATES_AND_SIZES = 2 * 2


async def indexes(owner: Any) -> set[str]:
    rows = await owner.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'messages'")
    return {row["indexname"] for row in rows}


@pytest.mark.slow
async def test_all_take_part_and_nothing_is_left_behind(database: TestDatabase, owner: Any, tmp_path: Path) -> None:
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    before = await indexes(owner)
    plan = replace(SMALL, set_for_all=OPERATORS_OWN)
    kept: list[Any] = []
    measured = await asyncio.to_thread(measure_sql, settings_of(database), plan, keep=kept.append)
    report = json.loads(json.dumps(measured))

    states = [{figure["labels"]["state"] for figure in each["figures"]} for each in kept]
    assert states == [{"fresh"}, {"fresh", "churned"}, {"fresh", "churned", "pending"}]
    assert [each["complete"] for each in (*kept, report)] == [False, False, False, True]
    assert report["circumstances"]["server_settings"].items() >= OPERATORS_OWN.items()
    assert report["circumstances"]["data_set"]["queues"] == [2000, 200]
    for candidate in CANDIDATES:
        of_it = [each["labels"] for each in report["figures"] if each["labels"].get("contestant") == candidate.name]
        times = [each for each in of_it if each["seen"] == "client" and each["state"] in ("fresh", "churned")]
        assert len(times) == STATES_AND_SIZES * len(candidate.groupings())
    assert {each["labels"]["deltas"] for each in report["figures"] if each["labels"]["state"] == "pending"} >= {0, 20}

    for path in write_pages(report, tmp_path):
        assert path.suffix == ".md" or ElementTree.parse(path).getroot().tag.endswith("svg")
    assert await indexes(owner) == before
    assert await owner.fetchval("SELECT reloptions FROM pg_class WHERE relname = 'messages'") is None
    assert await owner.fetch("SELECT FROM pg_db_role_setting AS kept JOIN pg_database ON setdatabase = pg_database.oid"
                             " WHERE datname = current_database()") == []  # fmt: skip
    assert await owner.fetch("SELECT * FROM audit(NULL)") == []


async def test_a_database_that_is_not_marked_disposable_is_left_alone(database: TestDatabase, owner: Any) -> None:
    await owner.execute("INSERT INTO messages (sender_id, recipient) VALUES (7, 'someone@example.com')")
    with pytest.raises(CommandError, match="not marked disposable"):
        await asyncio.to_thread(measure_sql, settings_of(database), SMALL)
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1


async def test_a_server_that_is_not_ours_is_not_restarted(database: TestDatabase, owner: Any) -> None:
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    with pytest.raises(CommandError, match="Only the scratch server can be restarted"):
        await asyncio.to_thread(measure_sql, settings_of(database), replace(SMALL, cold=True))


@pytest.mark.slow
async def test_the_scratch_server_is_restarted_for_a_cold_answer_and_gone_afterwards() -> None:
    plan = replace(SMALL, sizes=(100,), pending=(0,), groupings=(Grouping.TOTAL,), cold=True)
    report = await asyncio.to_thread(measure_sql, Settings(), plan)
    cold = [each for each in report["figures"] if each["labels"]["state"] == "cold" and each["unit"] == "ms"]
    assert {each["labels"]["contestant"] for each in cold} == {each.name for each in CANDIDATES}
    assert report["circumstances"]["server_settings"]["fsync"] == "on"


def test_each_candidate_with_indexes_can_take_them_away_again() -> None:
    assert INDEXED
    for file in (*index_files("create"), *index_files("drop")):
        assert sql_path(f"{file}.sql").is_file()

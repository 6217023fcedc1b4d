"""Old rows are deleted in small steps, and rows that are still needed are kept."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.control.actor import Actor
from service.control.jobs import Control
from service.control.retention import LEAST_DAYS, count_prunable, prune, prune_forever
from service.model import Action, ControlRequest, StatsQuery
from tests.conftest import TestDatabase, open_pool
from tests.counters.observing import drift

ACTOR = Actor("token", "test")
OLD = timedelta(days=90)


@pytest.fixture
async def history(database: TestDatabase, owner: Any) -> Any:
    """Rows that are a hundred days old: a released hold of sender 1, with a message that was deleted later; an active
    hold of sender 2; an open job of sender 3; a chunk without a job; three results of verify."""
    message = "INSERT INTO messages (sender_id, recipient) VALUES ($1, 'x')"
    await owner.executemany(message, [(sender_id,) for sender_id in (1, 2) * 4])
    async with open_pool(database.service_url, pool_size=2) as service:
        control = Control(service, service, 1000)
        for sender_id in (1, 2):
            await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(sender_id)), ACTOR, "1")
        await owner.execute("DELETE FROM messages WHERE id = (SELECT min(id) FROM messages WHERE sender_id = 1)")
        await control.carry_out(ControlRequest(Action.RELEASE, StatsQuery(1)), ACTOR, "2")
        while await owner.fetch("SELECT * FROM queuestats.step_job()"):
            pass
        await control.begin(ControlRequest(Action.PURGE, StatsQuery(3)), ACTOR, "3")
    await owner.execute(
        "INSERT INTO queuestats.audit_log (action, sender_id, request_id, messages)"
        " SELECT 'verify', 0, '', n FROM generate_series(1, 3) AS n;"
        "INSERT INTO queuestats.job_chunks SELECT id, 1, '{}', '{}' FROM queuestats.jobs WHERE sender_id < 3;"
        "UPDATE queuestats.audit_log SET at = at - interval '100 days';"
        "UPDATE queuestats.jobs SET finished_at = finished_at - interval '100 days'"
    )
    return owner


async def counts(owner: Any) -> dict[str, int]:
    tables = ("jobs", "job_chunks", "audit_log")
    return {table: await owner.fetchval(f"SELECT count(*) FROM queuestats.{table}") for table in tables}


async def test_open_jobs_active_holds_and_the_newest_verify_are_kept(history: Any) -> None:
    before = await counts(history)
    expected = {"jobs": 2, "job_chunks": 2, "audit_log": 4 + 2}
    assert await count_prunable(history, timedelta(days=101)) == dict.fromkeys(expected, 0)
    assert await count_prunable(history, OLD) == expected
    assert await counts(history) == before

    assert await prune(history, OLD) == expected
    assert await counts(history) == {table: before[table] - expected[table] for table in before}
    assert await history.fetchval("SELECT array_agg(sender_id ORDER BY id) FROM queuestats.jobs") == [2, 3]
    assert await history.fetchval("SELECT messages FROM queuestats.audit_log WHERE action = 'verify'") == 3
    assert await drift(history) == []


async def test_a_step_deletes_at_most_the_given_number_of_rows_of_a_table(history: Any) -> None:
    step = "SELECT jobs, job_chunks, audit_log FROM queuestats.prune('90 days', 2)"
    assert [await history.fetchrow(step) for _ in range(4)] == [(0, 2, 2), (2, 0, 2), (0, 0, 2), (0, 0, 0)]


async def test_only_one_prune_runs_at_a_time(history: Any, database: TestDatabase) -> None:
    other = await asyncpg.connect(database.owner_url)
    async with history.transaction():
        await history.execute("SELECT queuestats.prune('90 days')")
        assert await other.fetch("SELECT queuestats.prune('90 days')") == []
    await other.close()


async def test_the_service_deletes_nothing_younger_than_thirty_days(history: Any, database: TestDatabase) -> None:
    service = await asyncpg.connect(database.service_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="younger than 30 days"):
        await service.execute("SELECT queuestats.prune('29 days')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await service.execute("DELETE FROM queuestats.audit_log")
    allowed = f"SELECT jobs FROM queuestats.prune('{LEAST_DAYS} days')"
    assert [await service.fetchval(allowed) for _ in range(2)] == [0, 2]
    await service.close()


async def test_a_retention_of_zero_days_keeps_everything(history: Any, database: TestDatabase) -> None:
    before = await counts(history)
    async with open_pool(database.service_url) as service:
        await prune_forever(service, 0)
    assert await counts(history) == before

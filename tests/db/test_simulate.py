"""The simulated mail transfer agent: its changes of a queue, and when it is refused."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from service.errors import CommandError
from service.workbench.seed import SeedPlan, seed
from service.workbench.simulate import SimulationPlan, Totals, simulate
from tests.conftest import TestDatabase

LONG = SimulationPlan(rate=2000, seconds=60, batch_messages=20, senders=10)


@pytest.fixture
async def filled(owner: Any, database: TestDatabase) -> str:
    """The address of a disposable database with 2,000 messages of 10 senders."""
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    await seed(owner, SeedPlan(2000, 10))
    return database.owner_url


async def statuses(connection: Any) -> Counter[str]:
    return Counter(row["status"] for row in await connection.fetch("SELECT status FROM messages"))


async def play(database_url: str, plan: SimulationPlan) -> Totals:
    """The counts of work when the time of the plan is over."""
    totals = Totals()
    await simulate(database_url, plan, totals, asyncio.Event())
    return totals


async def until(condition: Callable[[], bool], playing: asyncio.Task[float]) -> None:
    """Waits for an effect of the agents while they run."""
    while not condition():
        assert not playing.done()
        await asyncio.sleep(0.02)


async def test_every_message_is_accounted_for_and_none_remains_in_delivery(filled: str, owner: Any) -> None:
    before = await statuses(owner)
    plan = SimulationPlan(rate=1000, seconds=1.5, batch_messages=50, senders=10)
    totals = await play(filled, plan)
    after = await statuses(owner)
    assert after["new"] - before["new"] == totals.enqueued - totals.taken
    assert after["retry"] - before["retry"] == totals.retried - totals.retaken
    assert after["proc"] == before["proc"]
    assert after["hold"] == before["hold"]
    assert totals.taken + totals.retaken == totals.finished + totals.retried
    assert min(totals.enqueued, totals.taken, totals.retaken, totals.retried, totals.finished) > 0


async def test_the_size_of_the_queue_is_about_constant(filled: str, owner: Any) -> None:
    totals = await play(filled, SimulationPlan(rate=1000, seconds=2, batch_messages=20, senders=10))
    assert totals.enqueued > 0
    # The messages that two agents have in delivery, and those that wait for a retry.
    assert abs(totals.enqueued - totals.finished) < max(0.25 * totals.enqueued, 4 * 20)


async def test_the_rate_is_not_exceeded(filled: str) -> None:
    totals = Totals()
    plan = SimulationPlan(rate=200, seconds=2, batch_messages=10, senders=10)
    took_seconds = await simulate(filled, plan, totals, asyncio.Event())
    # Each of two agents may begin one more burst than its share.
    assert 0 < totals.enqueued <= 400 + 2 * 10
    assert took_seconds > 1.9


async def test_it_stops_on_request(filled: str, owner: Any) -> None:
    before = await statuses(owner)
    stop, running = asyncio.Event(), Totals()
    task = asyncio.create_task(simulate(filled, LONG, running, stop))
    await until(lambda: running.finished > 0, task)
    stop.set()
    await task
    assert (await statuses(owner))["proc"] == before["proc"]


async def test_it_continues_after_its_connections_were_closed(filled: str, owner: Any) -> None:
    before = await statuses(owner)
    stop, running = asyncio.Event(), Totals()
    task = asyncio.create_task(simulate(filled, LONG, running, stop))
    await until(lambda: running.finished > 0, task)
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    await until(lambda: running.reconnects >= 2, task)
    finished = running.finished
    await until(lambda: running.finished > finished + 100, task)
    stop.set()
    await task
    # A take without a response may have been committed. At most one batch of an agent remains in delivery.
    assert before["proc"] <= (await statuses(owner))["proc"] <= before["proc"] + 2 * 20


async def test_agents_skip_messages_that_another_agent_has_locked(filled: str, database: TestDatabase) -> None:
    other = await asyncpg.connect(database.owner_url)
    async with other.transaction():
        await other.execute("SELECT FROM messages FOR UPDATE")
        totals = await play(filled, SimulationPlan(rate=500, seconds=1, batch_messages=10, senders=10))
    await other.close()
    # Only the messages that they enqueued were available.
    assert 0 < totals.taken <= totals.enqueued
    assert totals.retaken == 0


async def test_a_database_that_is_not_marked_is_refused(database: TestDatabase, owner: Any) -> None:
    with pytest.raises(CommandError, match="is not marked disposable"):
        await play(database.owner_url, LONG)
    assert await statuses(owner) == {}


async def test_a_refused_statement_ends_it_with_a_sentence(filled: str, owner: Any) -> None:
    await owner.execute("ALTER TABLE messages ADD CHECK (campaign_id < 1000000) NOT VALID")
    with pytest.raises(CommandError, match="The database refuses"):
        await play(filled, LONG)

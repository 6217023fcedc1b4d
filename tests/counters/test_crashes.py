"""A backend, the whole PostgreSQL or a folding client is killed under load. No committed change is lost."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import pytest

from service.model import Grouping, StatsQuery
from service.schema import migrate
from tests.conftest import PATIENCE_SECONDS
from tests.counters.clock import hurry
from tests.counters.crashing import DURABLE, CrashableServer, crashable_server
from tests.counters.load import hold_and_release
from tests.counters.observing import answer, drift, fold, roll_up, row_count
from tests.oracle import Message, expected_rows

# For a longer run: TEST_TIMES=20
TIMES = int(os.environ.get("TEST_TIMES", "1"))
CRASHES = 3 * TIMES
WRITERS = 4
# The driver raises these after it has read the last message of the server, but not the end of the connection.
OUT_OF_STEP = (asyncpg.InterfaceError, asyncpg.InternalClientError)
GONE = (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, *OUT_OF_STEP)
LATEST_FOLD = "SELECT max(written_by::text::bigint) FROM queuestats.watermarks"
NUMBERS = itertools.count(1)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 90 * TIMES), pytest.mark.xdist_group("crashes")]


class Ledger:
    """The messages of one writer: those in the table, and those of a transaction with an unknown outcome."""

    def __init__(self, sender_id: int) -> None:
        self.sender_id = sender_id
        self.known: set[int] = set()
        self.open: set[int] = set()
        self.commits = 0

    async def write(self, connection: Any, chance: random.Random) -> None:
        coming = {next(NUMBERS) for _ in range(chance.choice([1, 10]))}
        going = set(random.Random(1).sample(sorted(self.known), k=len(self.known) // 3))
        self.open = coming | going
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO messages (id, sender_id, campaign_id, recipient)"
                " SELECT id, $2, id % 5, 'x' FROM unnest($1::bigint[]) AS id",
                coming,
                self.sender_id,
            )
            await connection.execute("DELETE FROM messages WHERE id = ANY ($1::bigint[])", going)
            await connection.execute("UPDATE messages SET status = 'proc' WHERE sender_id = $1", self.sender_id)
        self.known = self.known - going | coming
        self.open = set()
        self.commits += 1

    def check(self, found: set[int]) -> None:
        """Checks that all earlier transactions are complete, and the last one is complete or absent."""
        assert found - self.open == self.known - self.open
        self.known, self.open = found, set()


@pytest.fixture(scope="module")
def server() -> Iterator[CrashableServer]:
    with crashable_server() as started:
        yield started


@pytest.fixture
async def crashing(server: CrashableServer, request: pytest.FixtureRequest) -> str:
    """The name of a migrated database on the server that will crash."""
    name = f"crashing_{next(NUMBERS)}"
    connection = await asyncpg.connect(server.address("postgres"))
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    await migrate(server.address(name), server.address(name, "queuestats_service"))
    connection = await asyncpg.connect(server.address(name))
    await hurry(connection)
    await connection.close()
    return name


class Client:
    """Repeats a step on one connection until the connection breaks. `turns` counts the steps."""

    def __init__(self, step: Callable[[Any], Awaitable[Any]]) -> None:
        self._step = step
        self.turns = 0

    async def run(self, url: str) -> None:
        with suppress(*GONE):
            await self._repeat(await asyncpg.connect(url))

    async def _repeat(self, connection: Any) -> None:
        try:
            while True:
                await self._step(connection)
                self.turns += 1
        finally:
            connection.terminate()


async def fold_some(connection: Any, chance: random.Random) -> None:
    await fold(connection, chance.choice([3, 20_000]), 0.001, is_compacting=chance.random() < 0.3)
    await roll_up(connection, chance.choice([1, 20_000]))


async def crash(server: CrashableServer, name: str, how: str) -> None:
    if how == "the whole PostgreSQL":
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start, DURABLE)
        return
    connection = await reconnect(server.address(name))
    # A backend with a running statement, or any other. The server ends all others itself.
    what = "fold(" if how == "a folding backend" else "messages"
    pid = await connection.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        " ORDER BY strpos(query, $2) > 0 DESC, state = 'active' DESC LIMIT 1",
        name,
        what,
    )
    os.kill(pid, signal.SIGKILL)
    connection.terminate()


async def reconnect(url: str) -> Any:
    """Waits for the server to have recovered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await asyncpg.connect(url)
            except GONE:
                await asyncio.sleep(0.05)


async def check(connection: Any, ledgers: list[Ledger]) -> None:
    assert await drift(connection) == []
    rows = await connection.fetch("SELECT id, sender_id, campaign_id, status FROM messages")
    for ledger in ledgers:
        ledger.check({row["id"] for row in rows if row["sender_id"] == ledger.sender_id})
        mine = [Message(row["sender_id"], 0, row["campaign_id"], "", row["status"]) for row in rows]
        for grouping in Grouping:
            query = StatsQuery(ledger.sender_id, grouping=grouping)
            assert await answer(connection, query) == expected_rows(mine, query)


async def wait_for_turns(clients: list[Client], turns: int, working: asyncio.Future[Any]) -> None:
    """Waits until every client has done this number of steps. A later client would not notice the crash."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not working.done() and min(client.turns for client in clients) < turns:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["a writing backend", "a folding backend", "the whole PostgreSQL"])
async def test_after_a_kill_nothing_is_lost_and_the_counts_are_exact(
    server: CrashableServer, crashing: str, how: str
) -> None:
    url, ledgers = server.address(crashing), [Ledger(number) for number in range(1, WRITERS + 1)]
    for number in range(CRASHES):
        chance = random.Random(number)
        steps = [*(ledger.write for ledger in ledgers), fold_some, fold_some, hold_and_release]
        clients = [Client(partial(step, chance=chance)) for step in steps]
        working = asyncio.gather(*(client.run(url) for client in clients))
        await wait_for_turns(clients, chance.randrange(2, 10), working)
        await crash(server, crashing, how)
        await asyncio.wait_for(working, PATIENCE_SECONDS)
        connection = await reconnect(url)
        await check(connection, ledgers)
        await connection.close()

    assert min(ledger.commits for ledger in ledgers) > CRASHES
    connection = await reconnect(url)
    while (await fold(connection, is_compacting=True))["is_more"]:
        pass
    await check(connection, ledgers)
    assert await row_count(connection, "queuestats.deltas") == 0
    assert await row_count(connection, "queuestats.history") > 0
    await connection.close()


async def test_a_folding_client_may_be_killed_at_any_moment(server: CrashableServer, crashing: str) -> None:
    url, ledger = server.address(crashing), Ledger(1)
    writer = await asyncpg.connect(url)
    for number in range(CRASHES):
        chance, client = random.Random(number), server.psql(crashing)
        assert client.stdin is not None
        client.stdin.write(
            b"BEGIN; SELECT * FROM queuestats.compact(5, '0');"
            b" SELECT * FROM queuestats.fold(5, 0.001); SELECT pg_sleep(0.002);"
            b" SELECT * FROM queuestats.roll_up_history(2, '1 day', '7 days', '90 days'); COMMIT;\n" * 500
        )
        client.stdin.flush()
        before = await writer.fetchval(LATEST_FOLD)
        while await writer.fetchval(LATEST_FOLD) == before:
            await ledger.write(writer, chance)
        for _ in range(chance.randrange(20)):
            await ledger.write(writer, chance)
        client.kill()
        await asyncio.to_thread(client.wait)
        client.stdin.close()
        await check(writer, [ledger])

    # Its backend ends and releases the lock of folds.
    for _ in range(300):
        found = await fold(writer, is_compacting=True)
        if found and not found["is_more"]:
            break
        await asyncio.sleep(0.05)
    assert await row_count(writer, "queuestats.deltas") == 0
    await check(writer, [ledger])
    await writer.close()


async def test_a_job_continues_after_a_crash_where_it_had_stopped(server: CrashableServer, crashing: str) -> None:
    url = server.address(crashing)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO messages (sender_id, isp, recipient) SELECT 7, n % 9, 'x' FROM generate_series(1, 20000) AS n"
    )
    before = await connection.fetchval("SELECT count(*) FROM messages WHERE sender_id = 7")
    await connection.execute("SELECT queuestats.start_job('purge', 7, NULL, NULL, NULL, 'crash', '', '', NULL)")
    step: Any = None
    for _ in range(3):
        step = await connection.fetchrow("SELECT * FROM queuestats.step_job(NULL, 1000000)")
    await crash(server, crashing, "the whole PostgreSQL")
    with suppress(*GONE):
        await connection.close()
    connection = await reconnect(url)
    left = await connection.fetchval("SELECT count(*) FROM messages WHERE sender_id = 7")
    assert left == before - step["changed"] == 10_000
    while step["state"] != "done":
        step = await connection.fetchrow("SELECT * FROM queuestats.step_job(NULL, 1000000)") or step
    assert step["changed"] == before
    assert await drift(connection) == []
    await connection.close()

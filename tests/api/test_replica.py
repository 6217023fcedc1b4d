"""Answers from a streaming replica: exact in their snapshot, and honest about how old that may be."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.db import connect, migrate
from service.embedded.accounts import server_account
from service.embedded.binaries import reachable_binaries
from service.model import Format
from service.settings import Settings
from service.tokens import create_token
from service.verify import find_differences
from tests.api.wire import STATS, body_of, client_of, serving
from tests.clusters import Cluster, running
from tests.conftest import url_of
from tests.servers import scratch_folder
from tests.unit.test_render import read_json_report

pytestmark = pytest.mark.slow

LAG = "Replica-Lag-Ms"
# Beyond the pause between two looks at the primary, on a machine that has other things to do.
SOON_MS = 5000
INSERT = "INSERT INTO messages (sender_id, recipient) VALUES (119, 'someone@example.com')"


@dataclass(frozen=True)
class Pair:
    primary: Cluster
    replica: Cluster

    @property
    def settings(self) -> Settings:
        return Settings(
            database_url=service_url(self.primary),
            replica_database_url=service_url(self.replica),
            data_dir=Path("/nonexistent"),
        )


def service_url(cluster: Cluster) -> str:
    return url_of(cluster.url, "postgres", "queuestats_service")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary whose commits wait for its log, and a replica of it that streams; migrated."""
    with scratch_folder() as folder:
        binaries = reachable_binaries(18, server_account(), folder)
        # A port each: the copy brings the primary's socket lock along.
        primary, replica = Cluster(binaries, folder / "primary", 5432), Cluster(binaries, folder / "replica", 5433)
        primary.initialise()
        with running(primary, {"synchronous_commit": "on"}):
            asyncio.run(migrate(primary.url, service_url(primary)))
            source = ("-h", primary.folder, "-p", primary.port, "-U", "postgres")
            primary.run("pg_basebackup", *source, "-D", replica.folder, "-R", "--checkpoint=fast", "--no-sync")
            with running(replica):
                yield Pair(primary, replica)


@asynccontextmanager
async def asking(settings: Settings, pair: Pair) -> AsyncIterator["Asker"]:
    token = await create_token(pair.primary.url, "tests")
    async with serving(settings) as url, client_of(url) as client:
        yield Asker(client, token)


@dataclass(frozen=True)
class Asker:
    client: httpx.AsyncClient
    token: str

    async def total(self) -> tuple[int, int | None]:
        """The messages of the queue, and the lag in milliseconds where the answer tells one."""
        response = await self.client.post(STATS, content=body_of(Format.JSON, token=self.token, id=119))
        assert response.status_code == 200, response.text
        (row,) = read_json_report(response.content)
        return row.total, int(response.headers[LAG]) if LAG in response.headers else None

    async def until(self, total: int | None = None, *, is_from_replica: bool = True) -> None:
        async with asyncio.timeout(20):
            while True:
                found, lag_ms = await self.total()
                if total in (None, found) and (lag_ms is not None) == is_from_replica:
                    return
                await asyncio.sleep(0.05)


async def test_an_answer_holds_all_that_was_committed_longer_ago_than_it_says(pair: Pair) -> None:
    committed: list[float] = []

    async def write(seconds: float) -> None:
        until = time.monotonic() + seconds
        async with connect(pair.primary.url) as primary:
            while time.monotonic() < until:
                await primary.execute(INSERT)
                committed.append(time.monotonic())
                await asyncio.sleep(0.005)

    from_replica = 0
    async with asking(pair.settings, pair) as asker, connect(service_url(pair.replica)) as replica:
        writing = asyncio.create_task(write(4))
        while not writing.done():
            sent = time.monotonic()
            total, lag_ms = await asker.total()
            # On a machine that is busy with other tests the replica may be late; then the primary answers, without lag.
            from_replica += lag_ms is not None
            lag_ms = lag_ms or 0
            assert lag_ms < SOON_MS
            assert sum(at < sent - lag_ms / 1000 for at in committed) <= total
            # The counters agree with the messages in any snapshot, while the primary folds and its log is replayed.
            assert await find_differences(replica, None) == []
        await writing
        assert from_replica > 0
        await asker.until(len(committed))
    log = pair.replica.log.read_text()
    assert "ERROR" not in log, log


async def test_a_replica_that_stands_still_tells_so_and_an_idle_primary_is_no_lag(pair: Pair) -> None:
    async with (
        asking(pair.settings, pair) as asker,
        connect(pair.primary.url) as primary,
        connect(pair.replica.url) as replica,
    ):
        await primary.execute(INSERT)
        await asker.until(1)
        await replica.execute("SELECT pg_wal_replay_pause()")
        await primary.execute(INSERT)
        committed = time.monotonic()
        await asyncio.sleep(1.5)
        least_ms = (time.monotonic() - committed) * 1000
        total, lag_ms = await asker.total()
        assert total == 1
        assert lag_ms is not None
        assert lag_ms >= least_ms

        await replica.execute("SELECT pg_wal_replay_resume()")
        await asker.until(2)
        # Nothing is committed any more: what the last transaction's age would say grows, and the lag does not.
        await asyncio.sleep(1.5)
        async with asyncio.timeout(20):
            while ((await asker.total())[1] or 0) > 1000:  # noqa: ASYNC110 - it can only be asked
                await asyncio.sleep(0.05)


async def test_the_primary_answers_where_the_replica_is_out_of_reach_or_none(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(pair.settings, pair) as asker, connect(pair.primary.url) as primary:
        await asker.until(0)
        pair.replica.stop()
        await primary.execute(INSERT)
        assert await asker.total() == (1, None)
        assert "replica out of reach: the primary answers" in caplog.text
        pair.replica.start()
        await asker.until(1)

        async with connect(pair.replica.url) as replica:
            await replica.execute("SELECT pg_promote()")
        await asker.until(is_from_replica=False)

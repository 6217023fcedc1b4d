"""A standby lags behind its primary, so the service sends no reports from a standby."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from service.access.admin import create_token
from service.control.actor import Actor
from service.control.jobs import Control
from service.counters.readiness import Readiness
from service.errors import Unavailable
from service.model import (
    Action,
    ControlRequest,
    Dimension,
    Grouping,
    HistoryQuery,
    Measure,
    Scope,
    StatsQuery,
    TopQuery,
)
from service.queue.history import fetch_history
from service.queue.stats import CounterReader, Statistics, fetch_report
from service.queue.top import fetch_top
from service.schema import migrate
from service.settings import Settings
from tests.api.wire import STATS, client_of, serving
from tests.clusters import Cluster, binaries, running
from tests.conftest import PATIENCE_SECONDS, open_pool
from tests.oracle import Message, insert
from tests.servers import scratch_folder

pytestmark = pytest.mark.slow


@dataclass
class Pair:
    """A primary with a migrated queue, and its standby."""

    primary: Cluster
    standby: Cluster

    def address(self, *servers: Cluster, user: str = "queuestats_service") -> str:
        hosts = ",".join(str(each.folder) for each in servers or (self.standby,))
        return f"postgresql://{user}@/postgres?host={hosts}"


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    with scratch_folder() as folder:
        programs = binaries(folder)
        primary, standby = (Cluster(programs, folder / name) for name in ("primary", "standby"))
        primary.initialise()
        with running(primary, {"wal_level": "replica"}):
            standby.run(
                "pg_basebackup", "-h", primary.folder, "-U", "postgres", "-D", standby.folder, "-R", "-c", "fast"
            )
            # A copy of the lock file of the primary, whose socket is in its data folder.
            (standby.folder / ".s.PGSQL.5432.lock").unlink()
            with running(standby):
                yield Pair(primary, standby)


@pytest.fixture
async def pair(servers: Pair) -> Pair:
    await migrate(servers.address(servers.primary, user="postgres"), servers.address(servers.primary))
    connection = await asyncpg.connect(servers.address(servers.primary, user="postgres"))
    await connection.execute("TRUNCATE messages")
    await insert(connection, [Message()] * 3)
    await until_replayed(servers, await connection.fetchval("SELECT pg_current_wal_lsn()::text"))
    await connection.close()
    return servers


async def until_replayed(pair: Pair, position: str) -> None:
    connection = await asyncpg.connect(pair.address(user="postgres"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        while not await connection.fetchval(replayed, position):  # noqa: ASYNC110 the server sends no event
            await asyncio.sleep(0.02)
    await connection.close()


async def test_a_service_with_the_address_of_a_standby_is_not_ready_and_503_names_the_reason(
    pair: Pair, settings: Settings
) -> None:
    token = await create_token(
        pair.address(pair.primary, user="postgres"), "t", (Scope.STATS, Scope.CONTROL), replace=True
    )
    async with serving(replace(settings, database_url=pair.address())) as url, client_of(url) as client:
        paths = [STATS.replace("stats", each) for each in ("stats", "hold", "holds")]
        answers = [await client.post(path, json={"token": token, "id": 119}) for path in paths]
        answers.append(await client.get("/readyz"))
    assert [(each.status_code, each.json()["error_text"]) for each in answers] == [
        (503, "Service unavailable: the database is a standby")
    ] * 4


@pytest.mark.parametrize("wanted", ["", "&target_session_attrs=any"])
async def test_doctor_detects_a_standby(pair: Pair, wanted: str) -> None:
    async with open_pool(f"{pair.address()}{wanted}") as service:
        found = {
            finding.condition
            for finding in await Readiness(service, 1, Statistics(service, Settings()).warm_up).findings()
        }
    assert "standby" in found


async def test_the_primary_of_two_hosts_is_used_in_either_order(pair: Pair) -> None:
    owner = await asyncpg.connect(pair.address(pair.primary, user="postgres"))
    for hosts in ((pair.standby, pair.primary), (pair.primary, pair.standby)):
        async with open_pool(pair.address(*hosts)) as service:
            before = (await fetch_report(service, StatsQuery(119))).rows[0].total
            await insert(owner, [Message()])
            assert (await fetch_report(service, StatsQuery(119))).rows[0].total == before + 1
    await owner.close()


async def test_a_connection_that_reaches_a_standby_returns_no_report(pair: Pair) -> None:
    """A pooler may connect to another server."""
    query = StatsQuery(119)

    def begin(control: Control) -> Any:
        return control.begin(ControlRequest(Action.HOLD, query), Actor("token", "test"), "")

    async with open_pool(f"{pair.address()}&target_session_attrs=any") as service:
        for question in (
            CounterReader(service).read([query]),
            CounterReader(service).scan([query]),
            CounterReader(service).read([replace(query, has_oldest=True, has_rates=True)]),
            CounterReader(service).read([replace(query, grouping=Grouping.ISP, has_rates=True)]),
            fetch_top(service, TopQuery(Dimension.SENDER, Measure.TOTAL, 10)),
            fetch_top(service, TopQuery(Dimension.SENDER, Measure.TOTAL, 10, by_age=True)),
            fetch_history(service, HistoryQuery(119, None, False, 60, datetime.now(UTC) - timedelta(hours=1))),
        ):
            with pytest.raises(Unavailable, match="the database is a standby"):
                await question
        with pytest.raises(Unavailable, match="the database is a standby"):
            await begin(Control(service, service, 1000))

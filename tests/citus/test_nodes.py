"""A fault of a node stays on that node, and the senders of other nodes do not notice it."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from service.cluster.places import hash_of
from service.control.jobs import Control
from service.counters.readiness import Readiness
from service.errors import ServiceError, Unavailable
from service.model import Dimension, Grouping, Measure, StatsQuery, TopQuery
from service.queue.stats import Statistics
from service.queue.top import fetch_top
from service.settings import Settings
from tests.citus.conftest import Distributed
from tests.citus.test_citus import INSERT, SENDERS, clients, move_shard_of, until
from tests.clusters import Cluster, free_port
from tests.conftest import open_pool

TOP = TopQuery(Dimension.SENDER, Measure.TOTAL, 5)
# So long may a node take to accept a connection.
PROBED = {"connect_timeout_ms": 5000}


@contextmanager
def stopped(server: Cluster) -> Iterator[None]:
    """It has connections and accepts new ones, and does not respond on any."""
    postmaster = int((server.folder / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    family = [postmaster, *map(int, children)]
    for process in family:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(family):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


async def senders_at(distributed: Distributed, node: int) -> list[int]:
    found: list[int] = await distributed.run(
        "SELECT array_agg(sender) FROM generate_series(1, 30) AS sender, citus_shards"
        " WHERE shardid = get_shard_id_for_distribution_column('messages', sender)"
        f" AND nodeport = {distributed.nodes[node].port}"
    )
    return found


async def test_a_sender_has_the_hash_that_the_server_computes(distributed: Distributed) -> None:
    senders = [0, 1, -1, 2**31, 2**32, 2**63 - 1, -(2**63), *range(10**12, 10**12 + 100)]
    connection = await asyncpg.connect(distributed.owner_url)
    rows = await connection.fetch("SELECT hashint8(id) FROM unnest($1::bigint[]) AS id", senders)
    await connection.close()
    assert [row[0] for row in rows] == [hash_of(each) for each in senders]


@pytest.mark.parametrize("grouping", [Grouping.TOTAL, Grouping.ISP])
async def test_a_node_that_does_not_respond_is_asked_no_more_and_the_others_answer(
    distributed: Distributed, grouping: Grouping, caplog: pytest.LogCaptureFixture
) -> None:
    await distributed.run(INSERT.format(300))
    healthy, silent = [await senders_at(distributed, node) for node in (1, 2)]
    settings = Settings(database_url=distributed.service_url)
    async with open_pool(distributed.service_url, pool_size=3, **PROBED) as service:
        statistics = Statistics(service, settings)

        async def ask(sender_id: int) -> int:
            report = (await statistics.run(StatsQuery(sender_id, grouping=grouping))).result
            return sum(row.total for row in report.rows)

        assert [await ask(each) for each in SENDERS] == [10] * len(SENDERS)
        with stopped(distributed.nodes[2]):
            waiting = [asyncio.create_task(ask(each)) for each in silent]
            # The batches of the silent node are still in flight when these answers are there.
            for _ in range(3):
                assert [await ask(each) for each in healthy] == [10] * len(healthy)
            assert not any(task.done() for task in waiting)

            refused = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(each) for each in refused} == {Unavailable}
            with pytest.raises(Unavailable, match="a node does not respond"):
                await ask(silent[0])
            with pytest.raises(Unavailable) as error:
                await fetch_top(service, TOP)
            assert f":{distributed.nodes[2].port} does not respond" in error.value.said
            assert (await Control(service, service, 1000).measure())["silent_nodes"] == 1
            assert [await ask(each) for each in healthy] == [10] * len(healthy)

        async def is_back() -> bool:
            with suppress(ServiceError):
                return await ask(silent[0]) == 10
            return False

        await until(is_back)
        assert [await ask(each) for each in SENDERS] == [10] * len(SENDERS)
        assert (await fetch_top(service, TOP)).rows[0]["total"] == 10
    said = [record.message for record in caplog.records if record.name == "service.cluster.breaker"]
    assert [each.partition(" node=")[0] for each in said] == [
        "a node does not respond, its requests are refused",
        "a node responds again",
    ]


async def test_a_service_that_is_ready_has_connections_to_each_node_that_responds(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    settings = Settings(database_url=distributed.service_url)
    async with (
        open_pool(distributed.service_url, pool_size=4, **PROBED) as service,
        open_pool(distributed.service_url) as ready,
    ):
        statistics = Statistics(service, settings)
        readiness = Readiness(ready, settings.connections, statistics.warm_up)
        with stopped(distributed.nodes[2]):
            assert await readiness.obstacles() == []
            assert await service_sessions(distributed, 1) > 0

        async def is_warm() -> bool:
            assert await readiness.obstacles() == []
            return await service_sessions(distributed, 2) > 0

        await until(is_warm)


async def service_sessions(distributed: Distributed, node: int) -> int:
    sessions: int = await distributed.run(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'queuestats_service' AND datname = current_database()",
        node,
    )
    return sessions


async def test_the_role_of_the_service_sees_shards_so_that_a_first_statement_is_fast(distributed: Distributed) -> None:
    for node in (0, 1, 2):
        connection = await asyncpg.connect(distributed.at(distributed.nodes[node], "queuestats_service"))
        shown = await connection.fetchval("SHOW citus.show_shards_for_app_name_prefixes")
        await connection.close()
        assert shown == "*"


async def test_moves_splits_and_isolated_tenants_are_no_news(
    distributed: Distributed, caplog: pytest.LogCaptureFixture
) -> None:
    await distributed.run(INSERT.format(300))
    nodes = await distributed.run("SELECT array_agg(nodeid) FROM pg_dist_node WHERE groupid <> 0")
    split = (
        "SELECT citus_split_shard_by_split_points(shardid,"
        f" ARRAY[((shardminvalue::bigint + shardmaxvalue::bigint) / 2)::text], ARRAY{nodes}, 'block_writes')"
        " FROM pg_dist_shard WHERE shardid = get_shard_id_for_distribution_column('messages', 8)"
    )
    isolate = "SELECT isolate_tenant_to_new_shard('messages', 7, shard_transfer_mode => 'block_writes')"
    async with open_pool(distributed.service_url, pool_size=3, **PROBED) as service:
        statistics = Statistics(service, Settings(database_url=distributed.service_url))
        for change in (
            partial(move_shard_of, 7, distributed),
            *(partial(distributed.run, sql) for sql in (isolate, split)),
        ):
            async with clients(distributed) as answers:
                await change()
                await until(partial(_has_more, answers, answers[0] + 20))
            outcomes = await asyncio.gather(*(statistics.run(StatsQuery(each)) for each in SENDERS))
            assert [each.result.rows[0].total for each in outcomes] == [10] * len(SENDERS)
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [each for each in said if not each.startswith("slow statement")] == []


async def _has_more(answers: list[int], than: int) -> bool:
    return answers[0] > than


async def test_an_address_that_the_coordinator_has_replaced_is_not_used_for_longer_than_a_moment(
    distributed: Distributed,
) -> None:
    """As after a failover that did not stop the former primary."""
    await distributed.run(INSERT.format(300))
    (sender, *_) = await senders_at(distributed, 2)
    node = await distributed.run(f"SELECT nodeid FROM pg_dist_node WHERE nodeport = {distributed.nodes[2].port}")
    async with open_pool(distributed.service_url, pool_size=3, **PROBED) as service:
        statistics = Statistics(service, Settings(database_url=distributed.service_url))
        assert (await statistics.run(StatsQuery(sender))).result.rows[0].total == 10
        await distributed.run(f"UPDATE pg_dist_node SET nodeport = {free_port()} WHERE nodeid = {node}")

        async def is_refused() -> bool:
            try:
                await statistics.run(StatsQuery(sender))
            except ServiceError:
                return True
            return False

        await until(is_refused)
        await distributed.run(f"UPDATE pg_dist_node SET nodeport = {distributed.nodes[2].port} WHERE nodeid = {node}")

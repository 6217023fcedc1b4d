"""Checks of a cluster: what is wrong on a node or a shard is found, and what was not compared is said."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import asyncpg
import pytest

from service.cluster.distribute import bring_up_nodes
from service.counters.doctor import diagnose
from service.counters.health import OF_NODE, SHARDS, Finding
from service.counters.readiness import Readiness
from service.counters.verify import Verified, keep_result, verify_database
from service.db import connect
from service.model import StatsQuery
from service.queue.stats import Statistics
from service.settings import Settings
from tests.citus.conftest import Distributed
from tests.citus.test_citus import INSERT, differences, move_shard_of, serving, until
from tests.citus.test_nodes import PROBED, senders_at, stopped
from tests.cli.programs import queuestats, sentence
from tests.conftest import open_pool

SENDER = 7


async def verified(distributed: Distributed, sender_id: int | None = None, **options: Any) -> Verified:
    async with connect(distributed.owner_url) as connection:
        return await verify_database(connection, distributed.owner_url, sender_id, **options)


async def diagnosed(distributed: Distributed, *, is_quick: bool = False) -> list[Finding]:
    settings = Settings(database_url=distributed.service_url, admin_database_url=distributed.owner_url)
    async with connect(distributed.owner_url) as connection:
        return await diagnose(connection, distributed.owner_url, settings, is_quick=is_quick)


async def shard_of(sender_id: int, distributed: Distributed) -> tuple[int, int]:
    """The shard, and the number of its node."""
    shard = await distributed.run(f"SELECT get_shard_id_for_distribution_column('messages', {sender_id})")
    port = await distributed.run(f"SELECT nodeport FROM citus_shards WHERE shardid = {shard}")
    return shard, [each.port for each in distributed.nodes].index(port)


async def test_nothing_is_found_on_a_healthy_cluster(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    assert await diagnosed(distributed) == []
    assert await verified(distributed) == ([], [], [])

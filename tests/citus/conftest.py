"""A real Citus cluster of three servers on this machine, where the extension is installed."""

import contextlib
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.cluster.distribute import bring_up_nodes, distribute
from service.schema import migrate
from tests.clusters import Cluster, free_port

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_preload_libraries": "citus",
    "wal_level": "logical",
    "max_prepared_transactions": "100",
    "max_worker_processes": "20",
}
SHARDS = 6


def with_citus() -> Path | None:
    """The programs of a PostgreSQL that Citus is installed for: those of QUEUESTATS_TEST_CITUS, or the newest."""
    if chosen := os.environ.get("QUEUESTATS_TEST_CITUS"):
        return Path(chosen)
    for version in (18, 17, 16, 15):
        if Path(f"/usr/share/postgresql/{version}/extension/citus.control").exists():
            return Path(f"/usr/lib/postgresql/{version}/bin")
    return None


@pytest.fixture(scope="session")
def nodes() -> Iterator[list[Cluster]]:
    """The coordinator and two workers."""
    binaries = with_citus()
    if binaries is None:
        pytest.skip("Citus is not installed for a PostgreSQL of this machine")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queuestats-citus-")))
        folder.chmod(0o711)
        servers = [Cluster(binaries, folder / name, free_port()) for name in ("coordinator", "one", "two")]
        for each in servers:
            each.initialise()
            each.start(SETTINGS)
            stack.callback(each.stop)
        yield servers


@dataclass
class Distributed:
    """A database of the cluster. `owner_url` and `service_url` are those of the coordinator."""

    name: str
    nodes: list[Cluster]

    @property
    def owner_url(self) -> str:
        return self.at(self.nodes[0])

    @property
    def service_url(self) -> str:
        return self.at(self.nodes[0], "queuestats_service")

    def at(self, node: Cluster, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{node.port}/{self.name}"

    async def execute(self, sql: str, node: int = 0) -> None:
        """Several statements, in one session."""
        connection = await asyncpg.connect(self.at(self.nodes[node]))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def run(self, sql: str, node: int = 0) -> Any:
        """The first value of the last statement."""
        connection = await asyncpg.connect(self.at(self.nodes[node]))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def unproved(self, node: int) -> list[str]:
        """Why shards of a node can't be read from its counters."""
        states = "SELECT array_agg(state) FROM queuestats_local.unproved(queuestats_local.known())"
        return await self.run(states, node) or []


@pytest.fixture
async def unmigrated(nodes: list[Cluster]) -> AsyncIterator[Distributed]:
    """With Citus on each node, and nothing of ours."""
    database = Distributed(f"queue_{uuid.uuid4().hex[:8]}", nodes)
    for each in nodes:
        server = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{each.port}/postgres")
        await server.execute(f"CREATE DATABASE {database.name}")
        await server.close()
        connection = await asyncpg.connect(database.at(each))
        await connection.execute("CREATE EXTENSION citus")
        await connection.close()
    await database.run(f"SELECT citus_set_coordinator_host('127.0.0.1', {nodes[0].port})")
    for each in nodes[1:]:
        await database.run(f"SELECT citus_add_node('127.0.0.1', {each.port})")
    yield database
    for each in nodes:
        server = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{each.port}/postgres")
        await server.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
        await server.close()


@pytest.fixture
async def undistributed(unmigrated: Distributed) -> Distributed:
    """Migrated, and not distributed yet."""
    await migrate(unmigrated.owner_url, unmigrated.service_url)
    return unmigrated


@pytest.fixture
async def distributed(undistributed: Distributed) -> Distributed:
    await distribute(undistributed.owner_url, SHARDS, lambda what: None)
    await bring_up_nodes(undistributed.owner_url, undistributed.service_url, lambda what: None)
    return undistributed

"""The same on a Citus cluster of a coordinator and two workers: faults of nodes, and moves of shards."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import asyncpg

from service.cluster.distribute import bring_up_nodes, distribute
from tests.citus.conftest import SETTINGS, with_citus
from tests.clusters import free_port, running
from tests.counters.crashing import CrashableServer
from tests.servers import processes_below, scratch_folder
from tests.soak.faults import SERVER, World, execute, is_running, postmaster

SHARDS = 12
# A worker that was killed has prepared transactions of the coordinator until this time after its start.
CITUS = {**SERVER, **SETTINGS, "citus.recover_2pc_interval": "1s", "max_connections": "120"}
MOVE = """
SELECT citus_move_shard_placement(shard.shardid, shard.nodename, shard.nodeport, node.nodename, node.nodeport, '{}')
FROM citus_shards AS shard
  INNER JOIN pg_dist_node AS node ON node.nodeport <> shard.nodeport AND node.shouldhaveshards
WHERE shard.table_name = 'messages'::regclass
ORDER BY random() LIMIT 1
"""
SPLIT = """
SELECT citus_split_shard_by_split_points(
  shardid, ARRAY[((shardminvalue::bigint + shardmaxvalue::bigint) / 2)::text],
  ARRAY(SELECT nodeid FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid), 'block_writes'
)
FROM pg_dist_shard WHERE logicalrelid = 'messages'::regclass ORDER BY random() LIMIT 1
"""
REBALANCE = "SELECT rebalance_table_shards('messages', shard_transfer_mode => 'block_writes')"
DIFFERENT = "SELECT * FROM queuestats_local.audit_shards(NULL) WHERE sender_id IS NOT NULL"
HELD_DIFFERENT = "SELECT * FROM queuestats_local.held_differences(NULL)"
UNPROVED = "SELECT count(*) FROM queuestats_local.unproved(queuestats_local.known())"


class Node(CrashableServer):
    """Reached over TCP, as nodes reach each other."""

    def address(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"


class ClusterWorld(World):
    """`server` is the coordinator."""

    settings = CITUS
    shards_move = True
    locked_tables = ("queuestats_local.counters", "queuestats_local.deltas", "queuestats_local.shards")
    workers: list[Node]

    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            *(self.worker_killed, self.instance_killed, self.backend_killed, self.worker_stopped),
            *(self.postmaster_killed, self.server_stopped, self.node_killed, self.node_stopped, self.node_locked),
            *(self.shard_moved, self.shard_moved_by_replication, self.shard_split, self.transaction_left_open),
            *(self.rebalanced, self.connections_used_up),
        ]

    async def prepare(self) -> None:
        for node in (self.server, *self.workers):
            await execute(node.address("postgres"), "CREATE EXTENSION citus")
        await execute(
            self.owner_url,
            f"SELECT citus_set_coordinator_host('127.0.0.1', {self.server.port})",
            *(f"SELECT citus_add_node('127.0.0.1', {node.port})" for node in self.workers),
        )
        await super().prepare()
        await distribute(self.owner_url, SHARDS, lambda what: None)
        await bring_up_nodes(self.owner_url, self.service_url, lambda what: None)
        # A transaction then writes on one node only.
        colocate = "SELECT create_distributed_table('soak_transactions', 'sender_id', colocate_with => 'messages')"
        await execute(self.owner_url, colocate)

    async def differences(self) -> list[Any]:
        found: list[Any] = []
        for node in self.workers:
            owner = await asyncpg.connect(node.address("postgres"))
            try:
                while await owner.fetchval(UNPROVED):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                found += await owner.fetch(DIFFERENT)
                found += await owner.fetch(HELD_DIFFERENT)
            finally:
                await owner.close()
        return found

    async def until_answered(self, statement: str) -> Any:
        for node in self.workers:
            if not is_running(node):
                await asyncio.to_thread(node.start, self.settings)
        return await super().until_answered(statement)

    async def node_killed(self) -> None:
        await self._kill(self._node())

    async def node_stopped(self) -> None:
        await self._stop(processes_below(postmaster(self._node())))

    async def node_locked(self) -> None:
        coordinator, self.server = self.server, self._node()
        try:
            await self.tables_locked()
        finally:
            self.server = coordinator

    async def shard_moved(self) -> None:
        await execute(self.owner_url, MOVE.format("block_writes"))

    async def shard_moved_by_replication(self) -> None:
        await execute(self.owner_url, MOVE.format("force_logical"))

    async def shard_split(self) -> None:
        await execute(self.owner_url, SPLIT)

    async def rebalanced(self) -> None:
        await execute(self.owner_url, REBALANCE)

    def _node(self) -> Node:
        return self.random.choice(self.workers)


@contextmanager
def cluster(seed: int, kind: type[ClusterWorld]) -> Iterator[ClusterWorld]:
    """Running servers, without instances."""
    programs = with_citus()
    if programs is None:
        raise SystemExit("Citus is not installed: set QUEUESTATS_TEST_CITUS")
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        coordinator, *workers = (Node(programs, folder / name, free_port()) for name in ("coordinator", "one", "two"))
        for node in (coordinator, *workers):
            node.initialise()
            stack.enter_context(running(node, CITUS))
        world = kind(coordinator, seed, None)
        world.workers = workers
        yield world

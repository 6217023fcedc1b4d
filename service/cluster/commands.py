"""The nodes of a queue for commands, which open a connection to each node."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from service.cluster.node import TABLE
from service.db import AS_A_SCAN, Connection, TooManyConnectionsError, connect, fetch
from service.db.address import at_host
from service.errors import CommandError
from service.schema.migrate import require_countable

# While a statement runs on a node, the pause between two probes of the node.
PROBE_SECONDS = 1.0
# The reason why a shard can't be compared, for each state of unproved() in sql/citus/node.sql.
REASONS = {
    "unattached": "its table lacks triggers that count, or one was disabled",
    "uncounted": "it is not counted yet",
}
MOVED = "it was moved or split during the comparison"

# `folder` and `control_folder` of a CountedNode that is a node of a cluster.
FOLDERS = ("queries/citus", "queries/citus")


@dataclass(frozen=True)
class CountedNode:
    """A server whose counters are compared and repaired: the single machine, or, with `url`, a node of a cluster."""

    url: str = ""
    name: str = ""
    # The folders of the statements differences and rebuild, and of the statements on held messages.
    folder: str = "queries"
    control_folder: str = "queries/control"
    # The named places for statements that run both on one machine and on a node.
    places: Mapping[str, str] | None = None

    @asynccontextmanager
    async def connect(self, connection: Connection) -> AsyncIterator[Connection]:
        """A connection to the node. `connection` is the connection of the command.

        Statements have no time limit. But if the node of a cluster stops accepting new connections, its connection is
        closed, and the statement ends. Raises CommandError with the reason.
        """
        if not self.url:
            yield connection
            return
        silence = asyncio.create_task(_silence(self.url))
        try:
            async with connect(self.url) as at_node:
                silence.add_done_callback(lambda task: task.cancelled() or at_node.terminate())
                yield at_node
        except CommandError as error:
            raise CommandError(silence.result() if silence.done() else str(error)) from error
        finally:
            silence.cancel()

    @asynccontextmanager
    async def comparing(self, connection: Connection) -> AsyncIterator[bool]:
        """A transaction in which counters are compared with messages: in one snapshot, or one for each shard.

        Yields whether a TRUNCATE waits until it ends. Raises CommandError if the triggers can't count the table.
        """
        # Read before the transaction, because the snapshot of the transaction must not be older than the lock.
        messages = await fetch(connection, "queries/adopt/messages_name") if not self.url else []
        async with connection.transaction(isolation="read_committed" if self.url else "repeatable_read"):
            await connection.execute("SET LOCAL statement_timeout = 0")
            if not self.url:
                await connection.execute(AS_A_SCAN)
                # A TRUNCATE between the snapshot and the recount would look like drift, so it has to wait.
                for row in messages:
                    if row["name"]:
                        await fetch(connection, "migrate/lock_messages", {"messages": row["name"]})
                await require_countable(connection)
            yield all(row["name"] for row in messages)

    async def uncounted(self, connection: Connection) -> Sequence[Any]:
        """The rows of sql/queries/uncounted.sql; empty on a node, because the service counts its uncounted shards."""
        return [] if self.url else await fetch(connection, "queries/uncounted")

    async def count(self, connection: Connection) -> None:
        """Counts the uncounted shards of a node of a cluster. `connection` has the role of the owner."""
        while self.url and (await fetch(connection, "queries/citus/settle"))[0]["done"]:
            continue

    async def comparable_senders(self, connection: Connection, sender_id: int | None) -> list[int]:
        """Senders whose answers can be compared with their definitions: `sender_id`, or a random sample."""
        # The service returns no answers from counters that are not trusted.
        if self.url or await self.uncounted(connection):
            return []
        return [sender_id] if sender_id else [row[0] for row in await fetch(connection, "queries/some_senders")]


async def _silence(url: str) -> str:
    """Waits until the node accepts no new connection, and returns the reason."""
    while True:
        await asyncio.sleep(PROBE_SECONDS)
        try:
            async with connect(url):
                pass
        except CommandError as error:
            # A server that has no free connection still responds.
            if not isinstance(error.__cause__, TooManyConnectionsError):
                return str(error)


@dataclass(frozen=True)
class NotCompared:
    """A part of the queue that was not compared. `node` and `shard` are empty and None on one machine."""

    reason: str
    node: str = ""
    shard: int | None = None

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.node, f"shard {self.shard}" if self.shard else "")))
        return f"{place}: {self.reason}" if place else self.reason


async def counted_nodes(connection: Connection, url: str) -> list[CountedNode]:
    """The nodes that have the counters of the queue. `connection` is a connection to the database at `url`."""
    (state,) = await fetch(connection, "queries/citus/state")
    if not state["is_distributed"]:
        return [CountedNode()]
    nodes = await fetch(connection, "queries/citus/primaries")
    return [CountedNode(at_host(url, host, port), _name(host, port), *FOLDERS) for host, port in nodes]


async def keepers(connection: Connection, url: str) -> list[CountedNode]:
    """The servers that have jobs and entries of the audit log: the result of `counted_nodes`, and the coordinator."""
    nodes = [node for node in await counted_nodes(connection, url) if node.url]
    return [CountedNode(), *(replace(node, places=TABLE.places) for node in nodes)]


def _name(host: str, port: int) -> str:
    return f"{host}:{port}"


async def not_compared(
    connection: Connection, sender_id: int | None, states: Mapping[int, str], silent: Mapping[str, str]
) -> list[NotCompared]:
    """The shards of a cluster, or the shard of a sender, that no node has compared, and why; empty on one machine.

    `states`: the reported states of shards, `here` for a compared one. `silent`: why nodes compared nothing, by name.
    """
    if (await fetch(connection, "queries/citus/state"))[0]["is_distributed"]:
        shards = await fetch(connection, "queries/citus/placements", sender_id=sender_id)
        left = [row for row in shards if states.get(row["shard"]) != "here"]
        names = {row["shard"]: _name(row["host"], row["port"]) if row["host"] else "no node" for row in left}
        # A node that does not respond is listed once, without its shards.
        of_nodes = [NotCompared(silent[name], name) for name in dict.fromkeys(names.values()) if name in silent]
        return of_nodes + [
            NotCompared(REASONS.get(states.get(shard, ""), MOVED), name, shard)
            for shard, name in names.items()
            if name not in silent
        ]
    return []


async def require_table_of_one_machine(connection: Connection, table: str) -> None:
    """Raises CommandError if Citus distributes the table: only `messages` can be counted on several nodes."""
    # Checked first, because the statement reads a catalog that exists only in databases with Citus.
    if not await connection.fetchval("SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"):
        return
    if (await fetch(connection, "queries/citus/distributed", table_name=table))[0]["is_distributed"]:
        raise CommandError(
            f"{table} is distributed by Citus, and adopt counts tables of one machine only: a distributed queue is the"
            " table messages of `queuestats migrate --distribute`."
        )

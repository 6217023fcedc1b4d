"""The nodes of a queue as commands reach them: over a connection to each."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from service.db import AS_A_SCAN, Connection, connect, fetch
from service.db.address import at_host
from service.errors import CommandError
from service.schema.migrate import require_countable


@dataclass(frozen=True)
class CountedNode:
    """A server whose counters are compared and repaired: the one machine, or, with `url`, a node of a cluster."""

    url: str = ""
    name: str = ""
    # Of the statements differences and rebuild, and of those on held messages.
    folder: str = "queries"
    control_folder: str = "queries/control"

    @asynccontextmanager
    async def connect(self, connection: Connection) -> AsyncIterator[Connection]:
        """A connection to the node. `connection` is the one that the command has. An error names the node."""
        try:
            async with connect(self.url) if self.url else nullcontext(connection) as at_node:
                yield at_node
        except CommandError as error:
            raise CommandError(f"{self.name}: {error}" if self.name else str(error)) from error

    @asynccontextmanager
    async def comparing(self, connection: Connection) -> AsyncIterator[bool]:
        """A transaction in which counters are compared with messages: in one snapshot, or one for each shard.

        Yields whether a TRUNCATE waits until it ends. Raises CommandError where the table can't be counted at all.
        """
        # Before the transaction, whose snapshot must not be older than the lock.
        messages = await fetch(connection, "queries/adopt/messages_name") if not self.url else []
        async with connection.transaction(isolation="read_committed" if self.url else "repeatable_read"):
            await connection.execute("SET LOCAL statement_timeout = 0")
            if not self.url:
                await connection.execute(AS_A_SCAN)
                # A TRUNCATE between the snapshot and the recount would look like drift: it has to wait.
                for row in messages:
                    if row["name"]:
                        await fetch(connection, "migrate/lock_messages", {"messages": row["name"]})
                await require_countable(connection)
            yield all(row["name"] for row in messages)

    async def uncounted(self, connection: Connection) -> Sequence[Any]:
        """The rows of sql/queries/uncounted.sql. Shards that are not counted yet are counted by the service soon."""
        return [] if self.url else await fetch(connection, "queries/uncounted")

    async def findings(self, connection: Connection) -> list[str]:
        """What there is to mend on a node of a cluster, as words for a person."""
        names = ("queries/citus/uncounted", "queries/citus/arriving")
        return [row["finding"] for name in names for row in await fetch(connection, name)]

    async def comparable_senders(self, connection: Connection, sender_id: int | None) -> list[int]:
        """Senders whose answers can be compared with their definitions: `sender_id`, or some taken by chance."""
        # The service answers none from counters that are not trusted.
        if self.url or await self.uncounted(connection):
            return []
        return [sender_id] if sender_id else [row[0] for row in await fetch(connection, "queries/some_senders")]


async def counted_nodes(connection: Connection, url: str) -> list[CountedNode]:
    """The nodes that keep the counters of the queue. `connection` is one to the database at `url`."""
    (state,) = await fetch(connection, "queries/citus/state")
    if not state["is_distributed"]:
        return [CountedNode()]
    nodes = await fetch(connection, "queries/citus/nodes")
    folders = ("queries/citus", "queries/citus")
    return [CountedNode(at_host(url, host, port), f"{host}:{port}", *folders) for host, port, _ in nodes]


async def require_one_machine(connection: Connection, advice: str) -> None:
    """Raises CommandError, with the advice, on every node of a cluster."""
    if (await fetch(connection, "queries/disposable"))[0]["is_distributed"]:
        raise CommandError(f"This queue is distributed: {advice}.")

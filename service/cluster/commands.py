"""The nodes of a queue as commands reach them: over a connection to each, as the owner or as the service's role."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from service.db import AS_A_SCAN, Connection, connect, fetch
from service.db.address import at_host
from service.errors import CommandError
from service.schema.migrate import require_countable


class CountedMachine:
    """The one machine of a queue."""

    folder = "queries"
    """Of the statements that compare and repair its counters."""

    def connect(self, connection: Connection) -> AbstractAsyncContextManager[Connection]:
        """A connection to the node. `connection` is one to the database that the command was given."""
        return nullcontext(connection)

    @asynccontextmanager
    async def snapshot(self, connection: Connection) -> AsyncIterator[None]:
        """A transaction in which the counters may be compared with the messages, however long it takes.

        Raises CommandError where the table can't be counted at all.
        """
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute(AS_A_SCAN)
            # A TRUNCATE between the snapshot and the recount would look like drift: it has to wait.
            await fetch(connection, "queries/lock_messages")
            await require_countable(connection)
            yield

    async def comparable_senders(self, connection: Connection, sender_id: int | None) -> list[int]:
        """Senders whose answers can be compared with their definition: this one, or some taken by chance."""
        # The service answers none of them from the counters.
        if await self.uncounted(connection):
            return []
        return [sender_id] if sender_id else [row[0] for row in await fetch(connection, "queries/some_senders")]

    async def uncounted(self, connection: Connection) -> Sequence[Any]:
        """Why the counters of this node can't be used; no row if they can."""
        return await fetch(connection, "queries/uncounted")

    def checks(self, names: Sequence[str]) -> dict[str, str]:
        """The statement of each check of `doctor`, by the name of the check."""
        return {name: f"doctor/{name}" for name in names}


@dataclass(frozen=True)
class CountedShards(CountedMachine):
    """A node of a cluster: its shards, each in a snapshot of its own. The service counts them by itself."""

    folder = "queries/citus"

    url: str
    host: str
    port: int

    def connect(self, connection: Connection) -> AbstractAsyncContextManager[Connection]:
        return connect(at_host(self.url, self.host, self.port))

    @asynccontextmanager
    async def snapshot(self, connection: Connection) -> AsyncIterator[None]:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL statement_timeout = 0")
            yield

    async def comparable_senders(self, connection: Connection, sender_id: int | None) -> list[int]:
        return []

    async def uncounted(self, connection: Connection) -> Sequence[Any]:
        return []

    def checks(self, names: Sequence[str]) -> dict[str, str]:
        return {f"node {self.host}:{self.port}": "queries/citus/uncounted"}


ONE_MACHINE = CountedMachine()


async def counted_nodes(connection: Connection, url: str) -> Sequence[CountedMachine]:
    """The nodes that keep the counters of the queue. `connection` is one to the database at `url`."""
    (state,) = await fetch(connection, "queries/citus/state")
    if not state["is_distributed"]:
        return [ONE_MACHINE]
    return [CountedShards(url, *node) for node in await fetch(connection, "queries/citus/nodes")]


async def require_one_machine(connection: Connection, advice: str) -> None:
    """Raises CommandError, with the advice, on every node of a cluster. `connection` is the owner's."""
    if (await fetch(connection, "queries/disposable"))[0]["is_distributed"]:
        raise CommandError(f"This queue is distributed: {advice}.")

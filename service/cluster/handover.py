"""Brings the holds and jobs of a shard to the node that it was moved to: sql/citus/control.sql."""

from collections.abc import Awaitable, Callable, Sequence

from service.cluster.topology import Node
from service.db import WRITING, load_statement
from service.errors import ServiceError


async def bring_control(node: Node, others: Callable[[], Awaitable[Sequence[Node]]]) -> str | None:
    """Brings what `others` have of the shards that have come to a node. What was done; None if nothing could be done.

    Any number of processes may do it at the same time, and each may die at any time. A node that does not answer delays
    the shards until it does, or until it is removed from the cluster.
    """
    for shard, arrival, low, high in await node.fetch(load_statement("queries/citus/arrived")):
        try:
            for other in await others():
                await _bring_from(other, node, {"shard": shard, "low": low, "high": high}, arrival)
            done = {"shard": shard, "arrival": arrival}
            await node.fetch(load_statement("queries/citus/complete"), WRITING, **done)
        except ServiceError:
            continue
        return f"shard {shard} has its holds and jobs"
    return None


async def _bring_from(other: Node, node: Node, of_shard: dict[str, int], arrival: int) -> None:
    """Returns when the other node has nothing of the shard. Raises Moved where it takes the shard to be its own."""
    while parts := await other.fetch(load_statement("queries/citus/leaving"), WRITING, **of_shard):
        part = dict(parts[0])
        received = {"shard": of_shard["shard"], "arrival": arrival, **part}
        await node.fetch(load_statement("queries/citus/receive"), WRITING, **received)
        await other.fetch(load_statement("queries/citus/leave"), WRITING, **of_shard, **part)

"""Copies the holds and jobs of a shard to the node to which the shard was moved: sql/citus/control.sql."""

from collections.abc import Awaitable, Callable, Sequence

from service.cluster.topology import Node
from service.db import WRITING, load_statement
from service.errors import ServiceError


async def bring_control(node: Node, others: Callable[[], Awaitable[Sequence[Node]]]) -> str | None:
    """Copies the holds and jobs of one shard that has arrived on a node from the nodes that `others` returns.

    Returns a description; None if there is no such shard, or none could be completed. Several processes may call it at
    the same time, and a process may die at any time. A node that does not respond delays the shards until it responds,
    or until it is removed from the cluster.
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
    """Returns when the other node has no rows of the shard. Raises Moved if the shard is on the other node."""
    while parts := await other.fetch(load_statement("queries/citus/leaving"), WRITING, **of_shard):
        part = dict(parts[0])
        received = {"shard": of_shard["shard"], "arrival": arrival, **part}
        await node.fetch(load_statement("queries/citus/receive"), WRITING, **received)
        await other.fetch(load_statement("queries/citus/leave"), WRITING, **of_shard, **part)

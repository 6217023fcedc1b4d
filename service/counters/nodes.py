"""The conditions of health of one node of a cluster."""

from collections.abc import Iterable

from service.cluster.distribute import WHOLE_SCHEMA, node_changes
from service.cluster.node import condition_at_node
from service.counters.health import SCHEMA, SHARDS, Condition, Finding, Progress, examine
from service.db import Connection


async def examine_node(
    connection: Connection,
    node: str,
    service_role: str,
    connections: int,
    conditions: Iterable[Condition],
    progress: Progress = lambda condition, node: None,
) -> list[Finding]:
    """The findings of a node: those of `conditions` that apply to it, of its shards, and of its schema.

    `connection` is one to the node. The owner and the service's role may call it.
    """
    progress(SCHEMA.name, node)
    changes = await node_changes(connection)
    findings = [SCHEMA.found(f"to do: {', '.join(changes)}", node=node)] if changes else []
    if WHOLE_SCHEMA in changes:
        return findings
    own = (*SHARDS, *(condition for condition in conditions if condition.is_of_node))
    return findings + await examine(connection, service_role, connections, own, progress, condition_at_node, node)

"""One machine or Citus: the only package that depends on whether a queue is distributed."""

from service.cluster.citus import Citus
from service.cluster.topology import Node, Topology
from service.db import Database, load_statement

__all__ = ["Node", "Topology", "find_topology"]


async def find_topology(database: Database) -> Topology:
    """The current topology of the queue of this database; the same object until the topology changes.

    Raises Unavailable or TimedOut.
    """
    (queue,) = await database.fetch(load_statement("queries/baseline"))
    topology = Citus if queue["is_distributed"] else Topology
    if type(database.topology) is not topology:
        database.topology = topology(database)
    return database.topology

"""One machine or Citus: the only package that knows whether a queue is distributed."""

from service.cluster.citus import Citus
from service.cluster.topology import Node, Topology
from service.db import Database, load_statement

__all__ = ["Node", "Topology", "find_topology"]


async def find_topology(database: Database, former: Topology | None = None) -> Topology:
    """The topology of the queue of this database as it is now.

    `former` again if it still is that, since it remembers where senders are. Raises Unavailable or TimedOut.
    """
    (queue,) = await database.fetch(load_statement("queries/baseline"))
    topology = Citus if queue["is_distributed"] else Topology
    return former if type(former) is topology else topology(database)

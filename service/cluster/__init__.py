"""One machine or Citus: the only package that knows whether a queue is distributed."""

import time

from service.cluster.citus import Citus
from service.cluster.one_machine import OneMachine
from service.cluster.topology import Topology
from service.db import Database, load_statement

# The counters of one machine are dropped when its queue is distributed: until the next check nothing is answered.
RECHECK_SECONDS = 10.0


async def find_topology(database: Database) -> Topology:
    """The topology of the queue of this database as it is now. Raises Unavailable or TimedOut."""
    (queue,) = await database.fetch(load_statement("queries/baseline"))
    return Citus(database) if queue["is_distributed"] else OneMachine(database)


class LiveTopology:
    """The topology of a queue, looked up again while the service runs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._topology: Topology = OneMachine(database)
        self._checked_at = -float("inf")

    async def current(self) -> Topology:
        """As of at most `RECHECK_SECONDS` ago. Raises Unavailable or TimedOut."""
        if time.monotonic() - self._checked_at > RECHECK_SECONDS:
            found = await find_topology(self._database)
            # The former one remembers where senders are, unless its nodes have changed.
            if type(found) is not type(self._topology):
                self._topology = found
            await self._topology.nodes()
            self._checked_at = time.monotonic()
        return self._topology

"""Whether the service can answer, and the faults of its database that its role can detect."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from service.cluster import Topology, find_topology
from service.counters.health import (
    CHEAP,
    CONDITIONS,
    CONTRACT,
    NODE,
    POOLER,
    PROBE,
    SCHEMA,
    Condition,
    Finding,
    examine,
)
from service.counters.nodes import examine_node
from service.db import Connection, Database, in_words, load_statement
from service.errors import STANDBY, CommandError, ServiceError, Unavailable
from service.model import Grouping, StatsQuery
from service.queue.stats import fetch_report
from service.schema.contract import contract_mismatch
from service.schema.migrate import pending_changes

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

READINESS_SECONDS = 1.0
FINDINGS_SECONDS = 10.0
# The limit for each node of a cluster. A scrape of /metrics waits for the slowest.
NODE_SECONDS = 1.0
CHEAP_NAMES = {condition.name for condition in CHEAP}
(OF_STANDBY,) = (condition for condition in CONDITIONS if condition.name == "standby")
REFUSALS = tuple(condition for condition in CONDITIONS if condition.is_refusal)
REFUSAL_NAMES = {condition.name for condition in REFUSALS}


class Shared(Generic[Result]):
    """A look-up that all calls within some seconds share, so its cost does not depend on the number of calls."""

    def __init__(self, look_up: Callable[[], Awaitable[Result]], seconds: float) -> None:
        self._look_up, self._seconds = look_up, seconds
        self._began_at = -float("inf")
        self._task: asyncio.Task[Result] | None = None

    async def get(self) -> Result:
        is_old = time.monotonic() - self._began_at > self._seconds
        if self._task is None or (is_old and self._task.done()):
            self._began_at = time.monotonic()
            self._task = asyncio.ensure_future(self._look_up())
            # Its error is for the calls that wait for it, which may all have ended.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._task)


class Readiness:
    """One for each process, with a connection of its own. Methods raise Unavailable or TimedOut."""

    def __init__(self, database: Database, connections: int, warm_up: Callable[[Topology], Awaitable[None]]) -> None:
        """`warm_up`: of the connections that requests are answered on."""
        self._database, self._connections, self._warm_up = database, connections, warm_up
        self._obstacles = Shared(self._find_obstacles, READINESS_SECONDS)
        self._findings = Shared(self._find_all, FINDINGS_SECONDS)
        self._keeps_statements = False

    async def obstacles(self) -> list[Finding]:
        """The findings that prevent the service from answering; empty if it is ready. At most a second old."""
        return await self._obstacles.get()

    async def findings(self) -> list[Finding]:
        """The findings of all conditions that are not costly. At most ten seconds old."""
        return await self._findings.get()

    async def log(self) -> None:
        """Logs the findings that prevent the service from answering. Errors of the database are already logged."""
        with suppress(ServiceError):
            if obstacles := await self.obstacles():
                logger.warning("not ready pending=%s", "; ".join(obstacle.finding for obstacle in obstacles))

    async def _find_obstacles(self) -> list[Finding]:
        if not await self._has_statements():
            said = "the pooler in front of the database keeps no prepared statements"
            return [POOLER.found(f"{said}: set QUEUESTATS_PREPARED_STATEMENTS=off")]
        if mismatch := await self._database.run("queries/contract", contract_mismatch):
            return [CONTRACT.found(mismatch)]
        try:
            await self._warm_up(await probe(self._database))
        except ServiceError:
            found = await self._examine(REFUSALS)
            # Nodes of a cluster have others too.
            if not (refusing := [finding for finding in found if finding.condition in REFUSAL_NAMES]):
                raise
            return refusing
        return []

    async def _find_all(self) -> list[Finding]:
        try:
            changes = await self._database.run("queries/applied_migrations", pending_changes)
        except Unavailable as error:
            if error.detail != STANDBY:
                raise
            return [OF_STANDBY.found(in_words(error))]
        tried = [SCHEMA.found(f"to do: {', '.join(changes)}")] if changes else []
        try:
            tried += [found for found in await self.obstacles() if found.condition not in CHEAP_NAMES]
        except ServiceError as error:
            tried.append(PROBE.found(in_words(error)))
        return tried + await self._examine(CHEAP)

    async def _has_statements(self) -> bool:
        """Whether the pooler in front of the database, if there is one, keeps prepared statements."""
        # If the database is unreachable, the following queries raise the error that clients get.
        with suppress(CommandError):
            self._keeps_statements = self._keeps_statements or await self._database.keeps_prepared_statements()
            return self._keeps_statements
        return True

    async def _examine(self, conditions: Sequence[Condition]) -> list[Finding]:
        async def work(connection: Connection) -> list[Finding]:
            role = await connection.fetchval("SELECT current_user")
            return await examine(connection, role, self._connections, conditions)

        async def work_at(connection: Connection, node: str) -> list[Finding]:
            role = await connection.fetchval("SELECT current_user")
            return await examine_node(connection, node, role, self._connections, conditions)

        found: list[Finding] = await self._database.run("conditions", work)
        try:
            topology = await find_topology(self._database)
            of_nodes = await topology.at_each_node("conditions", work_at, NODE_SECONDS)
        except ServiceError:
            # What keeps the database from naming its nodes may be a finding already.
            if not found:
                raise
            return found
        for node, result in of_nodes.items():
            found += [NODE.found(in_words(result), node=node)] if isinstance(result, ServiceError) else result
        return found


async def probe(database: Database) -> Topology:
    """Runs the statements of `stats`: the look-up of tokens, and each grouping. Raises Unavailable or TimedOut."""
    await database.fetch(load_statement("tokens/valid"))
    topology = await find_topology(database)
    for sender_id in topology.probed_senders:
        for grouping in Grouping:
            await fetch_report(database, StatsQuery(sender_id, grouping=grouping))
    return topology

"""A queue that Citus distributes by sender: each node counts the shards of `messages` that it has.

Each query is read where the shard of its sender is, on a connection to that very node. Through the coordinator an
answer takes 20 to 30 times the processor time (docs/scaling.md).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, TypeVar

from service.cluster.breaker import Breaker, breaker_of
from service.cluster.handover import bring_control
from service.cluster.node import at_node
from service.cluster.places import Address, Places
from service.cluster.topology import (
    Node,
    Result,
    Topology,
    filters_of,
    row_of,
    rows_by_query,
    statement_name,
    top_statement,
)
from service.db import WRITING, WRITING_WITHOUT_LIMIT, Database, Statement, load_statement
from service.errors import BadRequest, Moved, ServiceError
from service.model import HistoryQuery, StatsQuery, TopQuery
from service.reports import StatsRow

T = TypeVar("T")
# Runs at a node, for the shards of some senders by their positions; returns a result for each of them.
_RunAt: TypeAlias = Callable[[Database, Mapping[int, int]], Awaitable[Sequence[T | ServiceError]]]

logger = logging.getLogger(__name__)

# A shard that moves again and again while it is read is not found. The end of a move or a split reaches the nodes one
# after the other, so an attempt that fails is followed by a pause, each four times as long as the one before.
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class ShardNode(Node):
    """A node of a cluster: its statements do their work for all shards that are there."""

    keeps_notes = False

    breaker: Breaker = field(compare=False)
    # Those that may have holds and jobs of the shards of this one.
    others: Callable[[Node], Awaitable[Sequence[Node]]] = field(compare=False)

    def statement(self, name: str) -> Statement:
        return at_node(f"queries/{name}")

    async def fetch(self, statement: Statement, begin_with: str = "", /, **parameters: Any) -> list[Any]:
        return await self.breaker.run(partial(self.database.fetch, statement, begin_with, **parameters))

    async def prove(self, share: float) -> None:
        """Nothing: `verify` compares the shards."""

    async def count(self) -> bool:
        ((done,),) = await self.database.fetch(load_statement("queries/citus/settle"), WRITING_WITHOUT_LIMIT)
        done = done or await bring_control(self, partial(self.others, self))
        if done:
            logger.info("cluster: %s", done)
        return done is not None


class Citus(Topology):
    """A distributed queue. It remembers where senders are; `database` is the coordinator's."""

    # A node may be away: the others answer.
    probed_senders = ()

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._places = Places(database)
        self._nodes: dict[Address, ShardNode] = {}

    async def nodes(self) -> Sequence[Node]:
        await self._places.confirm()
        return [await self._node(address) for address in self._places.addresses]

    async def _node(self, address: Address) -> ShardNode:
        if address not in self._nodes:
            database = await self._database.at(*address)
            self._nodes[address] = ShardNode(database, breaker_of(database), self._others)
        return self._nodes[address]

    async def _others(self, node: Node) -> list[Node]:
        rows = await self._database.fetch(load_statement("queries/citus/holders"))
        return [other for row in rows if (other := await self._node(tuple(row))) != node]

    def queue_of(self, sender_id: int) -> Hashable:
        place = self._places.find(sender_id)
        if place and (node := self._nodes.get(place.address)):
            node.breaker.require_closed()
        return place and place.address

    async def sample_senders(self, known_nodes: Set[Hashable]) -> Mapping[Hashable, int | None]:
        await self._places.confirm()
        samples: dict[Hashable, int | None] = dict.fromkeys(set(self._places.addresses) - known_nodes)
        for sender_id in range(1, 20 * len(self._places.addresses) if samples else 0):
            place = self._places.find(sender_id)
            if place and place.address in samples:
                samples[place.address] = sender_id
        return samples

    async def read(self, queries: Sequence[StatsQuery]) -> Sequence[list[StatsRow] | ServiceError]:
        if queries[0].has_oldest or queries[0].has_rates:
            raise BadRequest("with is not available for a distributed queue")
        statement = at_node(f"queries/from_counters/{statement_name(queries[0])}", "proved")

        async def read_at(node: Database, shards: Mapping[int, int]) -> list[list[StatsRow] | ServiceError]:
            own = [queries[position] for position in shards]
            values = {name: [getattr(query, name) for query in own] for name in statement.types if name != "shards"}
            return await rows_by_query(await node.fetch(statement, shards=list(shards.values()), **values), own)

        return await self._at_places([query.sender_id for query in queries], read_at)

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        async def scan_at(node: Database, _: Mapping[int, int]) -> list[Any]:
            return [await node.fetch_scan(at_node(f"queries/from_messages/{query.grouping}"), **filters_of(query))]

        return [row_of(row) for row in await self._at_place(query.sender_id, scan_at)]

    async def top(self, query: TopQuery) -> Sequence[Any]:
        """Of all senders: the largest of each node, each node in a snapshot of its own."""
        if query.by_age:
            raise BadRequest("order=oldest is not available for a distributed queue")
        own, parameters = top_statement("queries/top/", query)
        statement = at_node(own.name, "required")

        async def top_at(node: Database, shards: Mapping[int, int]) -> list[Any]:
            return [await node.fetch(statement, shards=list(shards.values()), **parameters)]

        if query.sender_id is not None:
            rows = await self._at_place(query.sender_id, top_at)
        else:
            nodes = await self.nodes()
            of_nodes = await asyncio.gather(*(node.fetch(statement, shards=None, **parameters) for node in nodes))
            rows = list(chain.from_iterable(of_nodes))
        return sorted(rows, key=lambda row: (-row[query.order], row[query.by.column]))[: query.limit]

    async def report(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        raise BadRequest("this report is not available for a distributed queue")

    scan_report = report

    async def history(self, query: HistoryQuery) -> Sequence[Any]:
        raise BadRequest("the history is not available for a distributed queue")

    async def watch(self, most_deltas: int) -> dict[str, int | None]:
        rows, silent_nodes = await _of_answering(await self.nodes(), "watch", most_deltas=most_deltas)
        of_control, _ = await _of_answering(await self.nodes(), "control/measured")
        return {
            "pending_deltas": sum(row["pending_deltas"] for row in rows),
            "oldest_snapshot_transactions": max((row["oldest_snapshot_transactions"] for row in rows), default=None),
            "silent_nodes": silent_nodes,
            "job_wait_seconds": max((row["job_wait_seconds"] for row in of_control), default=0),
            **{name: sum(row[name] for row in of_control) for name in ("open_jobs", "holds", "held_messages")},
        }

    async def keepers(self) -> Sequence[Node]:
        """The coordinator has the entries of the log that are of no sender."""
        return [Node(self._database), *await self.nodes()]

    async def at_sender(self, sender_id: int, run: Callable[[Node], Awaitable[Result]]) -> Result:
        async def run_at(database: Database, shards: Mapping[int, int]) -> list[Result]:
            node = ShardNode(database, breaker_of(database), self._others)
            requiring = partial(node.fetch, load_statement("queries/citus/require_control"), shard=shards[0])
            try:
                await requiring()
            except Moved:
                # It may have come a moment ago.
                while await bring_control(node, partial(self._others, node)):
                    pass
                await requiring()
            return [await run(node)]

        result: Result = await self._at_place(sender_id, run_at)
        return result

    async def of_all_senders(self, name: str, order: Callable[[Any], Any], /, **parameters: Any) -> list[Any]:
        own = f"control/{name}"
        reads = (node.fetch(node.statement(own), **parameters) for node in await self.keepers())
        lists = await asyncio.gather(*reads)
        return sorted(chain.from_iterable(lists), key=order)[: parameters.get("row_limit")]

    async def used_elsewhere(self, sender_id: int, token: str) -> Mapping[str, int]:
        await self._places.confirm()
        place = self._places.find(sender_id)
        at_sender = place and await self._node(place.address)
        others = [node for node in await self.nodes() if node != at_sender]
        rows, _ = await _of_answering(others, "control/used", token=token)
        return {name: sum(row[name] for row in rows) for name in ("holds", "jobs")}

    async def cancel(self, **parameters: Any) -> bool:
        silent: ServiceError | None = None
        for node in await self.nodes():
            try:
                ((is_cancelled,),) = await node.fetch(node.statement("control/cancel"), WRITING, **parameters)
            except ServiceError as error:
                silent = error
            else:
                if is_cancelled:
                    return True
        if silent:
            raise silent
        return False

    async def budgets(self) -> Sequence[Any]:
        used: Counter[tuple[str, str]] = Counter()
        for row in (await _of_answering(await self.nodes(), "budgets"))[0]:
            used[row["resource"], row["token"]] += row["used"]
        return [{"resource": resource, "token": token, "used": number} for (resource, token), number in used.items()]

    async def is_explained_by_counters(self, sender_id: int) -> bool:
        await self._places.confirm()
        where = "no node has it now"
        if place := self._places.find(sender_id):
            where = f"{place.address[0]}:{place.address[1]}, table messages_{place.shard}"
        raise BadRequest(f"a distributed queue is explained on the sender's node, by its owner: {where}")

    async def _at_place(self, sender_id: int, run: _RunAt[Any]) -> Any:
        """The result of `run` at the node that has the shard of a sender. Raises what it has in place of one."""
        (found,) = await self._at_places([sender_id], run)
        if isinstance(found, ServiceError):
            raise found
        return found

    async def _at_places(self, sender_ids: Sequence[int], run: _RunAt[T]) -> list[T | ServiceError]:
        """The results of `run` at the nodes of some senders, in their order; an error at a node that is away."""
        nowhere = Moved(": its shard is on no node now")
        found: dict[int, T | ServiceError] = dict.fromkeys(range(len(sender_ids)), Moved())
        asked_at = -float("inf")
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 4 ** (attempt - 1))
            await self._places.confirm(asked_at)
            asked_at = time.monotonic()
            by_node: dict[Address, dict[int, int]] = {}
            for position, result in found.items():
                # A shard without a primary node has no place.
                if isinstance(result, Moved) and (place := self._places.find(sender_ids[position])):
                    by_node.setdefault(place.address, {})[position] = place.shard
            runs = (self._at_node(address, shards, run) for address, shards in by_node.items())
            for shards, results in zip(by_node.values(), await asyncio.gather(*runs), strict=True):
                found.update(zip(shards, results, strict=True))
            if not any(isinstance(result, Moved) for result in found.values()):
                break
        return [nowhere if isinstance(result, Moved) else result for result in found.values()]

    async def _at_node(self, address: Address, shards: Mapping[int, int], run: _RunAt[T]) -> Sequence[T | ServiceError]:
        try:
            node = await self._node(address)
            return await node.breaker.run(partial(run, node.database, shards))
        except ServiceError as error:
            return [error] * len(shards)


async def _of_answering(nodes: Sequence[Node], name: str, **parameters: Any) -> tuple[list[Any], int]:
    """The rows of a statement of the nodes that answer, and the number of the others."""
    reads = [node.fetch(node.statement(name), **parameters) for node in nodes]
    rows: list[Any] = []
    silent_nodes = 0
    for result in await asyncio.gather(*reads, return_exceptions=True):
        if not isinstance(result, BaseException):
            rows += result
        elif isinstance(result, ServiceError):
            silent_nodes += 1
        else:
            raise result
    return rows, silent_nodes

"""A queue that Citus distributes by sender: each node counts the shards of `messages` that it has.

Each query runs on the node that has the shard of its sender, on a direct connection to this node. An answer through the
coordinator takes 20 to 30 times the processor time (docs/scaling.md).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, TypeVar

from service.cluster.breaker import Breaker, breaker_of
from service.cluster.handover import bring_control
from service.cluster.merging import at_each_node, merged_page, merged_rows
from service.cluster.node import at_node
from service.cluster.places import Address, Places
from service.cluster.topology import (
    Explained,
    Node,
    Result,
    Topology,
    from_counters,
    from_messages,
    history_parameters,
    row_of,
    rows_by_query,
    statement_name,
    top_statement,
    with_oldest,
)
from service.db import AS_A_SCAN, WRITING, WRITING_WITHOUT_LIMIT, Connection, Database, Statement, load_statement
from service.errors import Moved, ServiceError, TimedOut, Unavailable, Uncounted
from service.model import HistoryQuery, StatsQuery, TopQuery
from service.reports import StatsRow

T = TypeVar("T")
# Runs on a node, for the shards of some senders by the positions of the senders; returns a result for each shard.
_RunAt: TypeAlias = Callable[[Database, Mapping[int, int]], Awaitable[Sequence[T | ServiceError]]]
# Returns the rows of a node for these shards and senders of the node.
_FetchAt: TypeAlias = Callable[["ShardNode", list[int], list[int]], Awaitable[Sequence[Any]]]

logger = logging.getLogger(__name__)

# If a shard moves during each of these attempts to read it, it is not found. A move or a split does not end on all
# nodes at the same time, so a pause follows a failed attempt, each four times as long as the last one.
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.005
# For statements that read all shards of a node. A TRUNCATE locks the shards in several sessions, so such a statement
# may wait for one session and block another one. The limit ends the statement before Citus ends the TRUNCATE.
THROUGH_PARENT = "SET LOCAL lock_timeout = '1s'"


@dataclass(frozen=True)
class ShardNode(Node):
    """A node of a cluster. Its statements apply to all shards of the node."""

    keeps_notes = False

    breaker: Breaker = field(compare=False)
    # The other nodes, which may have holds and jobs of the shards of this node.
    others: Callable[[Node], Awaitable[Sequence[Node]]] = field(compare=False)

    def statement(self, name: str) -> Statement:
        return at_node(f"queries/{name}")

    async def fetch(self, statement: Statement, begin_with: str = "", /, **parameters: Any) -> list[Any]:
        return await self.breaker.run(partial(self.database.fetch, statement, begin_with, **parameters))

    async def run(self, name: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The same as `Database.run`. Raises the same errors as `fetch`."""
        return await self.breaker.run(partial(self.database.run, name, work))

    async def prove(self, share: float) -> None:
        """Does nothing, because `verify` compares the shards."""

    async def count(self) -> bool:
        ((done,),) = await self.database.fetch(load_statement("queries/citus/settle"), WRITING_WITHOUT_LIMIT)
        done = done or await bring_control(self, partial(self.others, self))
        if done:
            logger.info("cluster: %s", done)
        return done is not None


class Citus(Topology):
    """A distributed queue. It caches the places of senders. `database` is the database of the coordinator."""

    # If a node is unavailable, the other nodes still answer, so the service is ready.
    probed_senders = ()

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._places = Places(database)
        self._nodes: dict[Address, ShardNode] = {}

    async def nodes(self) -> Sequence[ShardNode]:
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
        statement = at_node(f"queries/from_counters/{statement_name(queries[0])}", "proved")

        async def read_at(node: Database, shards: Mapping[int, int]) -> list[list[StatsRow] | ServiceError]:
            own = [queries[position] for position in shards]
            values = {name: [getattr(query, name) for query in own] for name in statement.types if name != "shards"}
            begin_with = THROUGH_PARENT if own[0].has_oldest else ""
            return await rows_by_query(
                await node.fetch(statement, begin_with, shards=[*shards.values()], **values), own
            )

        return await self._at_places([query.sender_id for query in queries], read_at)

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        own, parameters = from_messages(query)
        statement = at_node(own.name)

        async def scan_at(node: Database, _: Mapping[int, int]) -> list[Any]:
            return [await node.fetch_scan(statement, **parameters)]

        return [row_of(row) for row in await self._at_place(query.sender_id, scan_at)]

    async def top(self, query: TopQuery) -> Sequence[Any]:
        """As on one machine, but the rows of each node are from a separate snapshot."""
        own, parameters = top_statement("queries/top/", query)
        statement = at_node(own.name, "required")

        async def top_at(node: ShardNode, shards: list[int], senders: list[int]) -> Sequence[Any]:
            begin_with = THROUGH_PARENT if query.by_age else ""
            return await node.fetch(statement, begin_with, shards=shards, are_all=not senders, **parameters)

        senders = None if query.sender_id is None else [query.sender_id]
        found = chain.from_iterable(await self._at_nodes(senders, top_at))
        if query.by_age:
            rows = sorted(map(with_oldest, found), key=lambda row: (row["oldest"][query.order], row["sender_id"]))
        else:
            rows = sorted(found, key=lambda row: (-row[query.order], row[query.by.column]))
        return rows[: query.limit]

    async def report(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        statement = at_node("queries/report/from_counters", "required")
        of_node = at_each_node(parameters)
        is_of_all = bool(parameters["first_ids"])

        async def report_at(node: ShardNode, shards: list[int], senders: list[int]) -> Sequence[Any]:
            return await node.fetch(statement, shards=shards, are_all=is_of_all, **{**of_node, "sender_ids": senders})

        senders = None if is_of_all else parameters["sender_ids"]
        return await merged_page(await self._at_nodes(senders, report_at), parameters)

    async def scan_report(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """As on one machine. Raises Unavailable while a shard is not counted yet."""
        statement = at_node("queries/report/from_messages", "required")
        of_node, senders = at_each_node(parameters), parameters["sender_ids"]

        async def scan_at(node: ShardNode, shards: list[int], own: list[int]) -> Sequence[Any]:
            await node.fetch(load_statement("queries/citus/reached"))
            values = {**of_node, "sender_ids": None if senders is None else own}
            begin_with = f"{AS_A_SCAN}; {THROUGH_PARENT}"
            return await node.fetch(statement, begin_with, shards=shards, are_all=senders is None, **values)

        return await merged_rows(await self._at_nodes(senders, scan_at), parameters)

    async def history(self, query: HistoryQuery) -> Sequence[Any]:
        statement = at_node("queries/history", "required")

        async def history_at(node: ShardNode, shards: list[int], _: list[int]) -> Sequence[Any]:
            return await node.fetch(statement, shards=shards, are_all=False, **history_parameters(query))

        return (await self._at_nodes([query.sender_id], history_at))[0]

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

    async def at_each_node(
        self, name: str, work: Callable[[Connection, str], Awaitable[Result]], seconds: float
    ) -> dict[str, Result | ServiceError]:
        async def at(node: ShardNode) -> Result | ServiceError:
            address = node.database.address
            running = asyncio.ensure_future(node.run(name, lambda connection: work(connection, address)))
            # It is not awaited after its limit, because a server that hangs does not respond to a cancellation.
            running.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait([running], timeout=seconds)
            if not running.done():
                running.cancel()
                return TimedOut()
            try:
                return running.result()
            except ServiceError as error:
                return error

        nodes = await self.nodes()
        found = await asyncio.gather(*map(at, nodes))
        return {node.database.address: result for node, result in zip(nodes, found, strict=True)}

    async def keepers(self) -> Sequence[Node]:
        """The nodes and the coordinator, which has the entries of the log that belong to no sender."""
        return [Node(self._database), *await self.nodes()]

    async def at_sender(self, sender_id: int, run: Callable[[Node], Awaitable[Result]]) -> Result:
        async def run_at(database: Database, shards: Mapping[int, int]) -> list[Result]:
            node = ShardNode(database, breaker_of(database), self._others)
            requiring = partial(node.fetch, load_statement("queries/citus/require_control"), shard=shards[0])
            try:
                await requiring()
            except Moved:
                # The shard may have arrived a moment ago.
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
        (found,) = await self.read([StatsQuery(sender_id)])
        if isinstance(found, ServiceError) and not isinstance(found, Uncounted):
            raise found
        return not isinstance(found, Uncounted)

    async def explained(self, queries: Sequence[StatsQuery], *, is_scan: bool) -> Explained:
        await self._places.confirm()
        place = self._places.find(queries[0].sender_id)
        if place is None:
            raise Unavailable(": its shard is on no node now")
        own, parameters = from_messages(queries[0]) if is_scan else from_counters(queries)
        proof = {} if is_scan else {"shards": [place.shard] * len(queries)}
        return Explained(
            (await self._node(place.address)).database,
            at_node(own.name, "" if is_scan else "proved"),
            {**proof, **parameters},
            at_node("explain/tables"),
            # Each shard has its own index, with another name.
            ("messages_by_arrival",),
        )

    async def _at_place(self, sender_id: int, run: _RunAt[Any]) -> Any:
        """The result of `run` on the node that has the shard of a sender. Raises an error that is in its place."""
        (found,) = await self._at_places([sender_id], run)
        if isinstance(found, ServiceError):
            raise found
        return found

    async def _at_places(self, sender_ids: Sequence[int], run: _RunAt[T]) -> list[T | ServiceError]:
        """The results of `run` on the nodes of some senders, in their order; an error if the node is unavailable."""
        nowhere = Moved(": its shard is on no node now")
        found: dict[int, T | ServiceError] = dict.fromkeys(range(len(sender_ids)), Moved())
        async for _ in self._attempts():
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

    async def _at_nodes(self, sender_ids: Sequence[int] | None, fetch: _FetchAt) -> list[Sequence[Any]]:
        """The rows of each node that has at least one of the senders; the rows of every node for all senders (None).

        If a node fails, raises its error and returns no rows of the other nodes.
        """
        async for _ in self._attempts():
            parts = self._parts(sender_ids)
            if None not in parts:
                nodes = [await self._node(address) for address in parts if address]
                with suppress(Moved):
                    reads = (fetch(node, *part) for node, part in zip(nodes, parts.values(), strict=True))
                    return list(await asyncio.gather(*reads))
        raise Unavailable(": a shard is on no node now")

    def _parts(self, sender_ids: Sequence[int] | None) -> dict[Address | None, tuple[list[int], list[int]]]:
        """The shards and the senders of each node. Senders and shards that no node has are under None."""
        if sender_ids is None:
            return {address: (shards, []) for address, shards in self._places.shards().items()}
        parts: dict[Address | None, tuple[list[int], list[int]]] = {}
        for sender_id in sender_ids:
            place = self._places.find(sender_id)
            shards, senders = parts.setdefault(place and place.address, ([], []))
            senders.append(sender_id)
            shards += [place.shard] if place else []
        return parts

    async def _attempts(self) -> AsyncIterator[None]:
        """Yields once for each attempt. The places were read after the start of the previous attempt."""
        asked_at = -float("inf")
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 4 ** (attempt - 1))
            await self._places.confirm(asked_at)
            asked_at = time.monotonic()
            yield

    async def _at_node(self, address: Address, shards: Mapping[int, int], run: _RunAt[T]) -> Sequence[T | ServiceError]:
        try:
            node = await self._node(address)
            return await node.breaker.run(partial(run, node.database, shards))
        except ServiceError as error:
            return [error] * len(shards)


async def _of_answering(nodes: Sequence[Node], name: str, **parameters: Any) -> tuple[list[Any], int]:
    """The rows of a statement from the nodes that respond, and the number of nodes that do not respond."""
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

"""A queue that Citus distributes by sender: each shard of `messages` is a queue of its own.

Each query is read where the shard of its sender is, on a connection to that very node. Through the coordinator an
answer takes 20 to 30 times the processor time (docs/scaling.md).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from service.cluster.statements import filters_of, top_statement
from service.cluster.topology import Node, rows_by_query
from service.db import Database, Statement, load_statement
from service.errors import BadRequest, Moved, ServiceError, Unavailable
from service.model import StatsQuery, StatsRow, TopQuery

logger = logging.getLogger(__name__)

# A shard that moves again and again while it is read is not found.
ATTEMPTS = 4
PLACES_KEPT = 100_000


class _Place(NamedTuple):
    """The shard of a sender, and the node that has it."""

    shard: int
    host: str
    port: int


class ShardNode(Node):
    """A node of a cluster: its verbs do their work for each shard that is there."""

    folder = "queries/citus"

    async def count(self) -> bool:
        ((done,),) = await self.database.fetch_long(self._statement("settle"))
        if done:
            logger.info("cluster: %s", done)
        return done is not None


class Citus:
    """The Topology of a distributed queue. It remembers where senders are."""

    # A node may be away: the others answer.
    probed_senders = ()

    def __init__(self, coordinator: Database) -> None:
        self._coordinator = coordinator
        self._places: dict[int, _Place] = {}
        self._addresses: list[tuple[str, int]] = []

    async def look_for_changes(self) -> None:
        addresses = await self._list_nodes()
        if addresses != self._addresses:
            self._addresses = addresses
            self._places.clear()

    async def nodes(self) -> Sequence[Node]:
        return [ShardNode(await self._coordinator.at(*address)) for address in await self._list_nodes()]

    async def _list_nodes(self) -> list[tuple[str, int]]:
        rows = await self._coordinator.fetch(load_statement("queries/citus/nodes"))
        return [(row["host"], row["port"]) for row in rows]

    async def read(self, name: str, queries: Sequence[StatsQuery]) -> list[list[StatsRow] | ServiceError]:
        found: list[list[StatsRow] | ServiceError] = [_nowhere() for _ in queries]
        left = list(range(len(queries)))
        for _ in range(ATTEMPTS):
            places = await self._locate([queries[number].sender_id for number in left])
            by_node: dict[tuple[str, int], list[int]] = {}
            for number in left:
                # A shard without a primary node has no place.
                if place := places.get(queries[number].sender_id):
                    by_node.setdefault((place.host, place.port), []).append(number)
            results = await asyncio.gather(
                *(self._read_at(node, name, [queries[at] for at in own], places) for node, own in by_node.items())
            )
            moved: list[int] = []
            for numbers, result in zip(by_node.values(), results, strict=True):
                if isinstance(result, ServiceError):
                    # The next query may find them on another node.
                    self._forget(queries[number].sender_id for number in numbers)
                if isinstance(result, Moved):
                    moved += numbers
                    continue
                for at, number in enumerate(numbers):
                    found[number] = result if isinstance(result, ServiceError) else result[at]
            if not moved:
                break
            left = moved
        return found

    async def _read_at(
        self, node: tuple[str, int], name: str, queries: Sequence[StatsQuery], places: Mapping[int, _Place]
    ) -> list[list[StatsRow] | ServiceError] | ServiceError:
        statement = _reader(name)
        values: dict[str, Any] = {"shards": [places[query.sender_id].shard for query in queries]}
        values |= {name: [getattr(query, name) for query in queries] for name in statement.order[1:]}
        try:
            rows = await (await self._coordinator.at(*node)).fetch(statement, **values)
        except ServiceError as error:
            return error
        return await rows_by_query(rows, queries)

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        values = {**filters_of(query), "grouping": query.grouping}
        rows = await self._fetch_at(load_statement("queries/citus/scan"), values, is_scan=True)
        return [msgspec.json.decode(row["found"], type=StatsRow) for row in rows]

    async def top(self, query: TopQuery) -> Sequence[Any]:
        """Of all senders: the largest of each node, each node in a snapshot of its own."""
        statement, parameters = top_statement("queries/citus/top_", query)
        if query.sender_id is not None:
            records = await self._fetch_at(statement, parameters)
        else:
            nodes = await self.nodes()
            of_nodes = await asyncio.gather(*(node.database.fetch(statement, **parameters) for node in nodes))
            records = list(chain.from_iterable(of_nodes))
        rows: list[dict[str, Any]] = [msgspec.json.decode(record["found"]) for record in records]
        rows.sort(key=lambda row: (-row[query.order], row[query.by.column]))
        return rows[: query.limit]

    async def watch(self, most_deltas: int) -> dict[str, int | None]:
        watched = (node.watch(most_deltas) for node in await self.nodes())
        results = await asyncio.gather(*watched, return_exceptions=True)
        rows = [result for result in results if not isinstance(result, BaseException)]
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ServiceError):
                raise result
        return {
            "pending_deltas": sum(row["pending_deltas"] for row in rows),
            "oldest_snapshot_transactions": max((row["oldest_snapshot_transactions"] for row in rows), default=None),
            "silent_nodes": len(results) - len(rows),
        }

    async def releasable(self, query: StatsQuery, hold_id: int | None) -> int | None:
        # A distributed queue has no holds.
        return None

    async def is_explained_by_counters(self, sender_id: int) -> bool:
        place = (await self._locate([sender_id])).get(sender_id)
        where = f"{place.host}:{place.port}, schema queuestats_{place.shard}" if place else "no node has it now"
        raise BadRequest(f"a distributed queue is explained on the sender's node, by its owner: {where}")

    async def _fetch_at(self, statement: Statement, parameters: Mapping[str, Any], *, is_scan: bool = False) -> Any:
        """The rows of a statement on the node that has the shard of its `sender_id`."""
        sender_id = parameters["sender_id"]
        for _ in range(ATTEMPTS):
            place = (await self._locate([sender_id])).get(sender_id)
            if place is None:
                break
            node = await self._coordinator.at(place.host, place.port)
            fetch = node.fetch_scan if is_scan else node.fetch
            try:
                return await fetch(statement, **parameters)
            except ServiceError as error:
                self._forget([sender_id])
                if not isinstance(error, Moved):
                    raise
        raise _nowhere()

    def _forget(self, sender_ids: Iterable[int]) -> None:
        for sender_id in sender_ids:
            self._places.pop(sender_id, None)

    async def _locate(self, sender_ids: Sequence[int]) -> dict[int, _Place]:
        if len(self._places) > PLACES_KEPT:
            self._places.clear()
        unknown = [id_ for id_ in dict.fromkeys(sender_ids) if id_ not in self._places]
        if unknown:
            rows = await self._coordinator.fetch(load_statement("queries/citus/shards"), sender_id=unknown)
            self._places.update((row["sender_id"], _Place(row["shard"], row["host"], row["port"])) for row in rows)
        return {id_: self._places[id_] for id_ in sender_ids if id_ in self._places}


def _nowhere() -> Unavailable:
    return Unavailable(": its shard is on no node now")


@cache
def _reader(name: str) -> Statement:
    """The call of the function that sql/citus/node.sql makes of a file of queries/from_counters/."""
    types = {"shards": "bigint[]", **load_statement(f"queries/from_counters/{name}").types}
    parameters = ", ".join(f"${number}" for number in range(1, len(types) + 1))
    sql = f"SELECT /* citus/{name} */ * FROM queuestats_node.{name}({parameters})"
    return Statement(f"citus/{name}", sql, sql, tuple(types), MappingProxyType(types))

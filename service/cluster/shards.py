"""A queue on many machines: each query is read where the shard of its sender is, on a connection to that very node.

Through the coordinator an answer takes 20 to 30 times the processor time (docs/scaling.md).
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from service.db import Database, Statement, load_statement
from service.errors import Moved, ServiceError, Unavailable, Uncounted
from service.model import StatsQuery, StatsRow
from service.telemetry import negative

# A shard that moves again and again while it is read is nowhere for the moment.
ATTEMPTS = 4
# Senders whose shard is remembered.
SENDERS_KEPT = 100_000


class _Place(NamedTuple):
    shard: int
    host: str
    port: int


class Shards:
    """Reads counters on the nodes that have them."""

    def __init__(self, coordinator: Database) -> None:
        self._coordinator = coordinator
        self._places: dict[int, _Place] = {}
        self._nodes: list[tuple[Any, ...]] = []

    async def read(self, name: str, queries: Sequence[StatsQuery]) -> list[list[StatsRow] | ServiceError]:
        """The rows of each query of one statement, or why there are none: its node may be away, and others not.

        `Uncounted` where a shard has come by a move: `scan` has its answer until it is counted.
        """
        found: list[list[StatsRow] | ServiceError] = [Unavailable(": its shard is on no node now") for _ in queries]
        left = list(range(len(queries)))
        for _ in range(ATTEMPTS):
            places = await self._locate([queries[each].sender_id for each in left])
            by_node: dict[tuple[str, int], list[int]] = {}
            for each in left:
                # Of a shard without a primary node there is nothing.
                if place := places.get(queries[each].sender_id):
                    by_node.setdefault((place.host, place.port), []).append(each)
            results = await asyncio.gather(
                *(self._read_at(node, name, [queries[each] for each in own], places) for node, own in by_node.items())
            )
            left = []
            for own, result in zip(by_node.values(), results, strict=True):
                if isinstance(result, ServiceError):
                    # Their node may be another one by the next query.
                    self._forget(queries[each].sender_id for each in own)
                if isinstance(result, Moved):
                    left += own
                    continue
                for number, each in enumerate(own):
                    found[each] = result if isinstance(result, ServiceError) else result[number]
            if not left:
                break
        return found

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        """As queries/from_messages/ on one machine. Raises Unavailable or TimedOut."""
        statement = load_statement("queries/citus/scan")
        values = {each: getattr(query, each) for each in ("account_id", "campaign_id", "isp")}
        rows = await self.fetch_at(query.sender_id, statement, is_scan=True, grouping=query.grouping, **values)
        return [msgspec.json.decode(row["found"], type=StatsRow) for row in rows]

    async def look_for_changes(self) -> None:
        """Forgets where senders are when nodes came, went or got another address. Raises Unavailable or TimedOut."""
        nodes = [tuple(row) for row in await self._coordinator.fetch(load_statement("queries/citus/nodes"))]
        if nodes != self._nodes:
            self._nodes = nodes
            self._places.clear()

    async def where(self, sender_id: int) -> str:
        """The node and the schema of a sender, in words. Raises Unavailable or TimedOut."""
        place = (await self._locate([sender_id])).get(sender_id)
        return f"{place.host}:{place.port}, schema queuestats_{place.shard}" if place else "no node has it now"

    async def fetch_at(
        self, sender_id: int, asked: Statement, *, is_scan: bool = False, **parameters: Any
    ) -> list[Any]:
        """The rows of a statement on the node that has the sender's shard. Raises Unavailable or TimedOut."""
        for _ in range(ATTEMPTS):
            place = (await self._locate([sender_id])).get(sender_id)
            if place is None:
                break
            node = await self._coordinator.at(place.host, place.port)
            fetch = node.fetch_scan if is_scan else node.fetch
            try:
                return await fetch(asked, sender_id=sender_id, **parameters)
            except ServiceError as error:
                self._forget([sender_id])
                if not isinstance(error, Moved):
                    raise
        raise Unavailable(": its shard is on no node now")

    def _forget(self, sender_ids: Iterable[int]) -> None:
        for each in sender_ids:
            self._places.pop(each, None)

    async def _locate(self, sender_ids: Sequence[int]) -> dict[int, _Place]:
        unknown = [each for each in dict.fromkeys(sender_ids) if each not in self._places]
        if unknown:
            if len(self._places) > SENDERS_KEPT:
                self._places.clear()
                unknown = list(dict.fromkeys(sender_ids))
            rows = await self._coordinator.fetch(load_statement("queries/citus/shards"), sender_id=unknown)
            self._places.update((row["sender_id"], _Place(row["shard"], row["host"], row["port"])) for row in rows)
        return {each: self._places[each] for each in sender_ids if each in self._places}

    async def _read_at(
        self, node: tuple[str, int], name: str, queries: Sequence[StatsQuery], places: dict[int, _Place]
    ) -> list[list[StatsRow] | ServiceError] | ServiceError:
        statement = _reader(name)
        values: dict[str, Any] = {"shards": [places[each.sender_id].shard for each in queries]}
        values |= {each: [getattr(query, each) for query in queries] for each in statement.order[1:]}
        try:
            rows = await (await self._coordinator.at(*node)).fetch(statement, **values)
        except ServiceError as error:
            return error
        found: list[list[StatsRow] | ServiceError] = [[] for _ in queries]
        for position, *row in rows:
            own = found[position - 1]
            # A row without counts says that the shard has none yet.
            if isinstance(own, ServiceError):
                continue
            if row[-1] is None:
                found[position - 1] = Uncounted(": its shard is not counted yet")
            elif (counted := StatsRow(*row)).is_negative:
                found[position - 1] = negative.refuse(queries[position - 1].sender_id)
            else:
                own.append(counted)
        return found


@cache
def _reader(name: str) -> Statement:
    """The call of the function that sql/citus/node.sql makes of a file of queries/from_counters/."""
    types = {"shards": "bigint[]", **load_statement(f"queries/from_counters/{name}").types}
    parameters = ", ".join(f"${number}" for number in range(1, len(types) + 1))
    sql = f"SELECT /* citus/{name} */ * FROM queuestats_node.{name}({parameters})"
    return Statement(f"citus/{name}", sql, sql, tuple(types), MappingProxyType(types))


async def nodes_of(database: Database) -> list[Database]:
    """The nodes of a distributed queue; none where it is on one machine. Raises Unavailable or TimedOut."""
    (row,) = await database.fetch(load_statement("queries/baseline"))
    if not row["is_distributed"]:
        return []
    rows = await database.fetch(load_statement("queries/citus/nodes"))
    return [await database.at(each["host"], each["port"]) for each in rows]

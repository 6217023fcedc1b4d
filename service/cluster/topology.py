"""What use cases ask of a queue, wherever its counters are: on one machine, or on the nodes of a cluster."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from service.db import Database, Statement, load_statement
from service.errors import ServiceError, Uncounted
from service.model import StatsQuery, StatsRow, TopQuery
from service.telemetry import negative

# Rows that are converted before other tasks get their turn on the event loop: about a millisecond.
SLICE_ROWS = 1000


@dataclass(frozen=True)
class Node:
    """A server that keeps counters: the one machine, or a node of a cluster. Methods raise Unavailable or TimedOut."""

    folder: ClassVar[str] = "queries"
    """Of the statements that maintain its counters."""

    database: Database

    async def fold(self, max_deltas: int, mark_every: float) -> tuple[int, bool] | None:
        """How many deltas were folded, and whether more are pending. None while another fold is at work."""
        return await self._maintain("fold", max_deltas=max_deltas, mark_every=mark_every)

    async def compact(self, max_counters: int, compact_after: timedelta) -> tuple[int, bool] | None:
        """How many counters were moved, and whether more are to move. None while a fold or compact is at work."""
        return await self._maintain("compact", max_counters=max_counters, compact_after=compact_after)

    async def _maintain(self, name: str, **parameters: Any) -> tuple[int, bool] | None:
        rows = await self.database.fetch_writing(self._statement(name), **parameters)
        return tuple(rows[0]) if rows else None

    async def count(self) -> bool:
        """Counts what the counters do not hold, one step; False where there was nothing to count."""
        raise NotImplementedError

    async def watch(self, most_deltas: int) -> Any:
        """The row of the file watch.sql."""
        (row,) = await self.database.fetch(self._statement("watch"), most_deltas=most_deltas)
        return row

    def _statement(self, name: str) -> Statement:
        return load_statement(f"{self.folder}/{name}")


class Topology(Protocol):
    """A queue on one machine, or on a cluster. All that reads the database raises Unavailable or TimedOut."""

    @property
    def probed_senders(self) -> Sequence[int]:
        """Senders that must be answered where the service is ready."""

    async def look_for_changes(self) -> None:
        """Forgets what it remembers of nodes that came, went or got another address."""

    async def nodes(self) -> Sequence[Node]:
        """The nodes that keep counters, whether they are up or not."""

    async def read(self, name: str, queries: Sequence[StatsQuery]) -> Sequence[list[StatsRow] | ServiceError]:
        """The rows of queries of one statement name, by the counters; or why there are none.

        `Uncounted`, raised for all of them or in place of the rows of one, where `scan` has the answer.
        """

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        """The rows of a query from the messages themselves."""

    async def top(self, query: TopQuery) -> Sequence[Any]:
        """The rows of a query without `sender_ids`, the largest first: the columns of sql/queries/top/."""

    async def watch(self, most_deltas: int) -> dict[str, int | None]:
        """`pending_deltas`, `oldest_snapshot_transactions` and `silent_nodes` of all nodes together.

        Nodes of a cluster that do not answer are counted, and left out of the others.
        """

    async def releasable(self, query: StatsQuery, hold_id: int | None) -> int | None:
        """How many messages a release would change. None where messages on hold are not told apart by their holds."""

    async def is_explained_by_counters(self, sender_id: int) -> bool:
        """Whether a query of this sender is answered from the counters now.

        Raises BadRequest where its statement can't be explained over the connections of the service.
        """


async def rows_by_query(
    rows: Iterable[Iterable[Any]], queries: Sequence[StatsQuery]
) -> list[list[StatsRow] | ServiceError]:
    """The rows of a statement of `queries/from_counters/` for each query: its own rows, or the error in their place."""
    own: list[list[StatsRow]] = [[] for _ in queries]
    errors: dict[int, ServiceError] = {}
    for number, (position, *values) in enumerate(rows, 1):
        # A row without counts says that the shard of the query is not counted yet.
        if values[-1] is None:
            errors[position] = Uncounted(": its shard is not counted yet")
            continue
        row = StatsRow(*values)
        own[position - 1].append(row)
        if row.is_negative and position not in errors:
            errors[position] = negative.refuse(queries[position - 1].sender_id)
        if number % SLICE_ROWS == 0:
            await asyncio.sleep(0)
    if not errors:
        return list(own)
    return [errors.get(position, rows_of_query) for position, rows_of_query in enumerate(own, 1)]

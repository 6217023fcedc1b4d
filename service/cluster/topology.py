"""What use cases ask of a queue, wherever its counters are: on one machine, or on the nodes of a cluster."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from service.db import Database, Statement, load_statement
from service.errors import ServiceError, Uncounted
from service.model import StatsQuery, StatsRow, TopQuery
from service.telemetry.metrics import refuse_negative

# Rows that are converted before other tasks get their turn on the event loop: about a millisecond.
SLICE_ROWS = 1000


@dataclass(frozen=True)
class Node:
    """A server that keeps counters: the one machine, or a node of a cluster."""

    folder: ClassVar[str] = "queries"

    database: Database

    def statement(self, name: str) -> Statement:
        """One of the statements that maintain counters: fold, compact, watch."""
        return load_statement(f"{self.folder}/{name}")

    async def count(self) -> bool:
        """One step of counting what the counters do not hold. False where nothing is left to count."""
        raise NotImplementedError


class Topology(Protocol):
    """A queue on one machine, or on a cluster. Its methods raise Unavailable or TimedOut."""

    @property
    def probed_senders(self) -> Sequence[int]:
        """Senders whose totals must be answered where the service is ready."""

    async def nodes(self) -> Sequence[Node]:
        """The nodes that keep counters, as they are now, whether they are up or not."""

    async def read(self, name: str, queries: Sequence[StatsQuery]) -> Sequence[list[StatsRow] | ServiceError]:
        """The rows of queries of one statement name, by the counters, or why there are none.

        `Uncounted`, raised for all of them or in place of the rows of one, where `scan` has the answer.
        """

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        """The rows of a query from the messages themselves."""

    async def top(self, query: TopQuery) -> Sequence[Any]:
        """The rows of a query without `sender_ids`, the largest first: the columns of sql/queries/top/."""

    async def watch(self, most_deltas: int) -> dict[str, int | None]:
        """`pending_deltas` and `oldest_snapshot_transactions` of the nodes that answer, and `silent_nodes`."""

    async def releasable(self, query: StatsQuery, hold_id: int | None) -> int | None:
        """How many messages a release would change. None where the queue can have no holds."""

    async def is_explained_by_counters(self, sender_id: int) -> bool:
        """Whether the counters answer queries now. Raises BadRequest where the service can't explain them."""


async def rows_by_query(
    rows: Iterable[Iterable[Any]], queries: Sequence[StatsQuery]
) -> list[list[StatsRow] | ServiceError]:
    """The rows of a statement of `queries/from_counters/` for each query: its own rows, or the error in their place."""
    found: list[list[StatsRow]] = [[] for _ in queries]
    errors: dict[int, ServiceError] = {}
    for number, (position, *values) in enumerate(rows, 1):
        # A row without counts says that the shard of the query is not counted yet.
        if values[-1] is None:
            errors[position] = Uncounted(": its shard is not counted yet")
            continue
        row = StatsRow(*values)
        found[position - 1].append(row)
        if row.is_negative and position not in errors:
            errors[position] = refuse_negative(queries[position - 1].sender_id)
        if number % SLICE_ROWS == 0:
            await asyncio.sleep(0)
    return [errors.get(position, own) for position, own in enumerate(found, 1)] if errors else list(found)

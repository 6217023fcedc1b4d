"""A queue on one machine: its database has the messages and the counters."""

import logging
from collections.abc import Sequence
from typing import Any

from service.cluster.statements import filters_of, from_counters, from_messages, top_statement
from service.cluster.topology import Node, rows_by_query
from service.db import WRITING, WRITING_WITHOUT_LIMIT, Database, load_statement
from service.errors import ServiceError, Uncounted
from service.model import StatsQuery, StatsRow, TopQuery

logger = logging.getLogger(__name__)


class Machine(Node):
    async def count(self) -> bool:
        ((is_done,),) = await self.database.fetch(self.statement("recount"), WRITING_WITHOUT_LIMIT)
        if is_done:
            logger.warning("every message was counted anew")
        return bool(is_done)


class OneMachine:
    """The Topology of a queue that is not distributed."""

    probed_senders = (1,)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def nodes(self) -> Sequence[Node]:
        return [Machine(self._database)]

    async def read(self, name: str, queries: Sequence[StatsQuery]) -> list[list[StatsRow] | ServiceError]:
        statement, parameters = from_counters(queries)
        try:
            rows = await self._database.fetch(statement, **parameters)
        except Uncounted:
            # A partition that has just been created is counted from now on.
            (followed,) = await self._database.fetch(load_statement("queries/follow_partitions"), WRITING)
            if not followed["is_counted"]:
                raise
            rows = await self._database.fetch(statement, **parameters)
        return await rows_by_query(rows, queries)

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        statement, parameters = from_messages(query)
        return [StatsRow(*row) for row in await self._database.fetch_scan(statement, **parameters)]

    async def top(self, query: TopQuery) -> Sequence[Any]:
        statement, parameters = top_statement("queries/top/", query)
        return await self._database.fetch(statement, **parameters)

    async def watch(self, most_deltas: int) -> dict[str, int | None]:
        (row,) = await self._database.fetch(load_statement("queries/watch"), most_deltas=most_deltas)
        return {name: row[name] for name in ("pending_deltas", "oldest_snapshot_transactions")} | {"silent_nodes": 0}

    async def releasable(self, query: StatsQuery, hold_id: int | None) -> int | None:
        statement = load_statement("queries/control/releasable")
        ((messages,),) = await self._database.fetch_scan(statement, **filters_of(query), hold_id=hold_id)
        return int(messages)

    async def is_explained_by_counters(self, sender_id: int) -> bool:
        (state,) = await self._database.fetch(load_statement("queries/baseline"))
        return bool(state["is_counted"])

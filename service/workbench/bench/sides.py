"""The databases that `queuestats bench cluster` compares, and what their servers' processes use."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from service.cluster.node import at_node
from service.counters.folding import MARK_EVERY_DELTAS, MAX_DELTAS
from service.db import Connection, connect, load_statement
from service.errors import CommandError
from service.settings import Settings

Clock = Callable[[Connection], float]


@dataclass(frozen=True, slots=True)
class Side:
    """A measured database: its connections, its senders, and the shards of these senders if it is that of a node.

    `reader` and `folder` are connections of the service, `writer` and `ddl` of the owner. `ddl` may change shards.
    """

    name: str
    url: str
    reader: Connection
    folder: Connection
    writer: Connection
    ddl: Connection
    senders: Sequence[int]
    turns: Iterator[int]
    shards: Mapping[int, int]

    async def run(self, connection: Connection, name: str, within: str = "", /, **values: Any) -> list[Any]:
        """The rows of a statement. `within`: as for `at_node`; ignored on one PostgreSQL."""
        statement = at_node(name, within) if self.shards else load_statement(name)
        own = values["sender_id"] if within == "proved" else self.shards
        values["shards"] = [self.shards[sender_id] for sender_id in own if self.shards]
        return await connection.fetch(statement.sql, *statement.bind({key: values[key] for key in statement.types}))

    async def read(self, connection: Connection, group: str, count: int) -> None:
        """One statement for the next senders. Raises CommandError if the counters can't be used."""
        filters = dict.fromkeys(("account_id", "campaign_id", "isp", "has_rates"), [None] * count)
        name, senders = f"queries/from_counters/{group}", list(islice(self.turns, count))
        rows = await self.run(connection, name, "proved", sender_id=senders, **filters)
        if not rows or any(row["total"] is None for row in rows):
            raise CommandError(f"The counters can't be used: {self.name}.")

    async def fold(self) -> int:
        """The number of deltas that were folded. It is 0 if no delta is left."""
        limits = {"max_deltas": MAX_DELTAS, "mark_every": MARK_EVERY_DELTAS}
        (row,) = await self.run(self.folder, "queries/fold", **limits)
        return int(row["folded"])


@asynccontextmanager
async def open_side(
    name: str, settings: Settings, senders: Iterable[int], shards: Mapping[int, int] = MappingProxyType({})
) -> AsyncIterator[Side]:
    """`settings` have both addresses of the database."""
    service, owner = settings.database_url or "", settings.owner_url or ""
    async with connect(service) as reader, connect(service) as folder, connect(owner) as writer, connect(owner) as ddl:
        if shards:
            await ddl.execute("SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on")
        of_side = list(senders)
        yield Side(name, service, reader, folder, writer, ddl, of_side, cycle(of_side), shards)


async def cost(clock: Clock, connection: Connection, work: Callable[[], Awaitable[Any]], times: int = 1) -> float:
    """Microseconds of the connection's process: the median of some runs of `work`."""
    costs = []
    for _ in range(times):
        before = clock(connection)
        await work()
        costs.append(clock(connection) - before)
    return median(costs)


def clock_of(sides: Sequence[Side]) -> Clock:
    """Processor time if the servers of all sides run on this machine, otherwise elapsed time."""
    return processor_us if all(_is_local(side) for side in sides) else elapsed_us


def processor_us(connection: Connection) -> float:
    return int((_process(connection) / "schedstat").read_text().split()[0]) / 1000


def elapsed_us(connection: Connection) -> float:
    return time.perf_counter() * 1e6


def private_megabytes(connection: Connection) -> float | None:
    """Memory that the process does not share. None if this process may not read it, or if it is on another machine."""
    try:
        lines = (_process(connection) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _process(connection: Connection) -> Path:
    return Path("/proc", str(connection.get_server_pid()))


def _is_local(side: Side) -> bool:
    """Whether the server's process runs on this machine: its title has the name of the database."""
    try:
        return urlsplit(side.url).path[1:] in (_process(side.reader) / "cmdline").read_text()
    except OSError:
        return False

"""How long an answer takes: on the client's side of the connection, and in the server's own words."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from service.bench.candidates import INDEXED, Candidate
from service.db import Statement
from service.resources import sql_path

# A quick answer is asked for again and again, but no more often than that.
MOST_ASKED = 500
# Nobody needs to know of a slow answer twice a round.
SLOW_MS = 50.0

# What sql/roles.sql sets for look-ups.
AS_THE_ROLE = (
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the server did: its nodes from the top, without repeats, and the pages that it touched."""

    nodes: tuple[str, ...]
    pages: int
    heap_fetches: int


@asynccontextmanager
async def as_if_alone(connection: Any, candidate: Candidate) -> AsyncIterator[None]:
    """A transaction in which no other candidate's index exists; they are all back at its end.

    Both kinds are planned as the service's role has it: a scan for its values, a look-up for all. A scan with indexes
    of its own is kept from reading the table page by page instead: what that takes, the plain scan shows.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        if candidate.is_scan:
            for other in INDEXED:
                if other is not candidate:
                    await connection.execute(sql_path("candidates", str(other.folder), "drop.sql").read_text("utf-8"))
            await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        else:
            await connection.execute(AS_THE_ROLE)
        if candidate.has_indexes:
            await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        yield
    finally:
        await transaction.rollback()


def bind(asked: Statement, sender_id: int) -> list[Any]:
    """A sender's whole queue: nothing is filtered."""
    return asked.bind({name: sender_id if name == "sender_id" else None for name in asked.types})


async def time_client(connection: Any, asked: Statement, values: Sequence[Any], ask_seconds: float) -> float:
    """Milliseconds from asking to holding all rows, prepared: the median of some hundred, of a slow one the only one.

    The first one of several warms up and does not count.
    """
    prepared = await connection.prepare(asked.sql)
    first = await _timed(prepared, values)
    if first > SLOW_MS:
        return first
    times: list[float] = []
    until = time.perf_counter() + ask_seconds
    while not times or (time.perf_counter() < until and len(times) < MOST_ASKED):
        times.append(await _timed(prepared, values))
    return median(times)


async def time_first(connection: Any, asked: Statement, values: Sequence[Any]) -> float:
    """As `time_client`, once, with whatever the caches hold."""
    return await _timed(await connection.prepare(asked.sql), values)


async def time_server(
    connection: Any, asked: Statement, values: Sequence[Any], ask_seconds: float
) -> tuple[float, Plan]:
    """Milliseconds of execution alone, as EXPLAIN ANALYZE tells them without timing each node, and the plan."""
    # Prepared once: the server plans it anew each time, which is told apart.
    prepared = await connection.prepare(f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS, FORMAT JSON) {asked.sql}")
    times: list[float] = []
    until = time.perf_counter() + ask_seconds
    while True:
        [told] = json.loads(await prepared.fetchval(*values))
        times.append(told["Execution Time"])
        if times[0] > SLOW_MS or len(times) == MOST_ASKED or time.perf_counter() > until:
            return median(times), _plan(told["Plan"])


async def _timed(prepared: Any, values: Sequence[Any]) -> float:
    began = time.perf_counter()
    await prepared.fetch(*values)
    return 1000 * (time.perf_counter() - began)


def _plan(top: dict[str, Any]) -> Plan:
    nodes: list[dict[str, Any]] = []
    waiting = [top]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += reversed(node.get("Plans", []))
    names = [" ".join(filter(None, (node["Node Type"], node.get("Index Name")))) for node in nodes]
    pages = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return Plan(tuple(dict.fromkeys(names)), pages, sum(node.get("Heap Fetches", 0) for node in nodes))

"""What a database of a cluster costs: each function measures one part of it in one round.

Times are those that the server's process uses of a processor, if the servers run on this machine; otherwise they are
elapsed times. Responses during a move are elapsed times.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any

from service.cluster import Topology, find_topology
from service.cluster.places import Places
from service.cluster.topology import history_parameters
from service.counters.folding import COMPACT_AFTER, COUNTERS_PER_DELTA, MAX_DELTAS, Folder
from service.db import AS_A_SCAN, Database, connect, fetch
from service.errors import ServiceError, Uncounted
from service.model import HistoryQuery, ReportQuery, StatsQuery
from service.queue.report import MOST_READ, report_parameters
from service.workbench.bench.sides import Clock, Side, cost, elapsed_us, private_megabytes

COORDINATOR = "coordinator"
# Of the sender that is scanned, and whose shard is moved.
MESSAGES_MOVED = 200_000
PENDING_DELTAS_OF_A_SENDER = 14
PAUSE_SECONDS, CLEANING_PAUSE_SECONDS = 0.002, 0.5
MANY_NODES = (10, 100, 1000)
# Of inserts, in a round.
TURNS = 4
# The name of a figure, its unit and its value.
Figures = AsyncIterator[tuple[str, str, float | None]]
Measure = Callable[[Side, Clock], Figures]


async def reads(side: Side, clock: Clock) -> Figures:
    for group in ("total", "isp", "account"):
        one = await cost(clock, side.reader, partial(side.read, side.reader, group, 1), 100)
        many = await cost(clock, side.reader, partial(side.read, side.reader, group, 50), 10)
        yield f"{group}, 1 sender", "us", one
        yield f"{group}, 50 senders", "us", many
        if group == "total":
            yield "50 totals: one by one / in one statement", "", 50 * one / many
    largest = {"are_all": False, "largest_by": "total", "row_limit": 10}
    top = partial(side.run, side.reader, "queries/top/senders", "required", **largest)
    yield "top, 10 senders", "us", await cost(clock, side.reader, top, 10)
    watch = partial(side.run, side.reader, "queries/watch", most_deltas=MAX_DELTAS)
    yield "watch (/metrics)", "us", await cost(clock, side.reader, watch, 10)
    yield "memory of a reader", "MB", private_megabytes(side.reader)


async def features(side: Side, clock: Clock) -> Figures:
    for part, group in (("oldest", "total_with_oldest"), ("rates", "total_with_rates")):
        one = await cost(clock, side.reader, partial(side.read, side.reader, group, 1), 20)
        many = await cost(clock, side.reader, partial(side.read, side.reader, group, 50), 5)
        yield f"total with {part}, 1 sender", "us", one
        yield f"total with {part}, 50 senders", "us", many
    hour = HistoryQuery(side.senders[0], None, False, 60, datetime.now(UTC) - timedelta(hours=1))
    of_all = report_parameters(ReportQuery(sender_ids=tuple(side.senders)), None, MOST_READ)
    for figure, name, values in (
        ("top by age, 10 senders", "queries/top/oldest", {"oldest_in": "total", "row_limit": 10}),
        ("history of an hour, by minute", "queries/history", history_parameters(hour)),
        ("report on all senders of the node", "queries/report/from_counters", of_all),
    ):
        run = partial(side.run, side.reader, name, "required", are_all=False, **values)
        yield figure, "us", await cost(clock, side.reader, run, 5)


async def folds(side: Side, clock: Clock) -> Figures:
    while await side.fold():
        pass
    yield "idle fold", "us", await cost(clock, side.folder, side.fold, 10)
    limits = {"max_counters": MAX_DELTAS * COUNTERS_PER_DELTA, "compact_after": COMPACT_AFTER}
    compact = partial(side.run, side.folder, "queries/compact", **limits)
    yield "idle compact", "us", await cost(clock, side.folder, compact, 10)
    if side.shards:
        settle = partial(fetch, side.folder, "queries/citus/settle")
        yield "idle settle", "us", await cost(clock, side.folder, settle, 10)
    spread = PENDING_DELTAS_OF_A_SENDER
    await fetch(side.writer, "bench/citus/insert", senders=side.senders, messages=spread, keys=spread)
    before = clock(side.folder)
    folded = await side.fold()
    yield "fold, for each delta", "us", (clock(side.folder) - before) / max(1, folded)
    yield "memory of a process that folds", "MB", private_megabytes(side.folder)


async def connections(side: Side, clock: Clock) -> Figures:
    began = clock(side.reader) if clock is elapsed_us else 0
    async with connect(side.url) as connection:
        if side.name == COORDINATOR:
            await fetch(connection, "queries/citus/nodes")
        else:
            await side.read(connection, "total", 1)
        yield "new connection with its first statement", "us", clock(connection) - began


async def inserts(side: Side, clock: Clock) -> Figures:
    """Of one sender. With and without triggers, in short turns. On the coordinator: the part of its own process."""
    sender_id, is_coordinator = side.senders[0], side.name == COORDINATOR
    table = f"messages_{side.shards[sender_id]}" if side.shards else "messages"
    one = partial(fetch, side.writer, "bench/citus/insert_one", sender_id=sender_id)
    fifty = partial(fetch, side.writer, "bench/citus/insert", senders=[sender_id], messages=50, keys=1)
    costs = defaultdict[tuple[str, bool], list[float]](list)
    for has_triggers in (True,) if is_coordinator else (False, True) * TURNS:
        if not is_coordinator:
            turn = "enable" if has_triggers else "disable"
            await fetch(side.ddl, f"adopt/trial/{turn}_triggers", {"messages": table})
        for rows, insert, times in (("1 row", one, 40), ("50 rows", fifty, 20)):
            await cost(clock, side.writer, insert, 3)
            costs[rows, has_triggers].append(await cost(clock, side.writer, insert, times))
    for rows in ("1 row", "50 rows"):
        counted, uncounted = costs[rows, True], costs[rows, False]
        yield f"insert of {rows}", "us", median(counted)
        if uncounted:
            yield f"triggers of an insert of {rows}", "us", median(counted) - median(uncounted)


async def coordinator_reads(side: Side, clock: Clock) -> Figures:
    """What each process reads once a second, or after a move. For more nodes: in catalogs that are rolled back."""
    for nodes in (0, *MANY_NODES):
        transaction = side.writer.transaction()
        await transaction.start()
        # The triggers of the catalogs would take a minute. The other settings are those of the service's role.
        await side.writer.execute("SET LOCAL session_replication_role = replica")
        await side.writer.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        await fetch(side.writer, "bench/citus/catalogs", nodes=nodes)
        for figure, name in (("addresses of the nodes", "nodes"), ("places of the shards", "shards")):
            work = partial(fetch, side.writer, f"queries/citus/{name}")
            await work()
            yield f"{figure}, {nodes:,} nodes" if nodes else figure, "us", await cost(clock, side.writer, work, 5)
        await transaction.rollback()


async def scan(side: Side, clock: Clock) -> Figures:
    filters = dict.fromkeys(("account_id", "campaign_id", "isp"))
    async with side.reader.transaction():
        # The processor time of parallel workers is not that of the connection's process.
        await side.reader.execute(f"{AS_A_SCAN}; SET LOCAL max_parallel_workers_per_gather = 0")
        scan = partial(side.run, side.reader, "queries/from_messages/total", sender_id=side.senders[-1], **filters)
        yield f"scan of {MESSAGES_MOVED:,} messages", "us", await cost(clock, side.reader, scan)


async def turns(database: Database, side: Side, clock: Clock) -> Figures:
    """What a process of the service does for each node once a second, as its own processor time."""
    node, *_ = await (await find_topology(database)).nodes()
    folder = Folder(node)
    began = time.process_time()
    for _ in range(20):
        await folder.fold()
        await node.count()
    yield "fold and settle, in the service's process", "us", (time.process_time() - began) / 20 * 1e6


async def moves(database: Database, coordinator: Side, side: Side, clock: Clock) -> Figures:
    """Moves the shard of a sender to another node, while its total is read repeatedly, as the service reads it."""
    topology, known, sender_id = await find_topology(database), Places(database), side.senders[-1]
    for node in await topology.nodes():
        while await node.count():
            pass
    while await fetch(coordinator.ddl, "bench/citus/orphans"):
        await fetch(coordinator.ddl, "bench/citus/clean")
        await asyncio.sleep(CLEANING_PAUSE_SECONDS)
    await known.confirm()
    shard, source = known.find(sender_id) or (0, ("", 0))
    host, port = next(address for address in known.addresses if address != source)
    idle = asyncio.create_task(asyncio.sleep(1))
    yield "longest response while nothing moves", "ms", max(await _responses(topology, sender_id, idle))
    to = {"to_host": host, "to_port": port}
    move = fetch(coordinator.ddl, "bench/citus/move", shard=shard, from_host=source[0], from_port=source[1], **to)
    moving = asyncio.create_task(move)
    responses = await _responses(topology, sender_id, moving)
    await moving
    yield "median response while a shard is copied", "ms", median(responses)
    yield "longest response while a shard is copied", "ms", max(responses)


async def _responses(topology: Topology, sender_id: int, during: asyncio.Task[Any]) -> list[float]:
    """Milliseconds of each response, until the task ends or the shard is on a node that has not counted it yet."""
    responses: list[float] = []
    while not responses or not during.done():
        began = time.perf_counter()
        (report,) = await topology.read([StatsQuery(sender_id)])
        if isinstance(report, Uncounted):
            break
        if isinstance(report, ServiceError):
            raise report
        responses.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE_SECONDS)
    return responses

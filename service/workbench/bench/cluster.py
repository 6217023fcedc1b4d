"""The costs of a cluster: those of a node and of the coordinator, relative to one PostgreSQL on the same server."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from typing import Any

from service.cluster.places import Places
from service.db import Database, fetch
from service.errors import CommandError
from service.settings import Settings
from service.workbench.bench import cluster_costs as costs
from service.workbench.bench.report import Progress, median_ratio, read_environment
from service.workbench.bench.scratch import on_node, open_cluster
from service.workbench.bench.sides import Clock, Side, clock_of, elapsed_us, open_side

PLAIN, NODE, COORDINATOR = "one PostgreSQL", "node", costs.COORDINATOR
MESSAGES_OF_A_SENDER, KEYS_OF_A_SENDER = 200, 35
# What a node should not exceed, by figure.
THRESHOLDS = {
    "total, 1 sender": "ratio 2.2",
    "total, 50 senders": "ratio 1.8",
    "isp, 50 senders": "ratio 1.7",
    "account, 50 senders": "ratio 1.7",
    "50 totals: one by one / in one statement": "at least 10",
    "idle fold": "2,000",
    "memory of a reader": "12",
    "longest response while a shard is copied": "50",
}
# The values of all rounds, by figure and unit, and by the name of the side.
Samples = defaultdict[tuple[str, str], defaultdict[str, list[float]]]


async def measure_cluster(
    settings: Settings, progress: Progress, *, shards: int, rounds: int, senders: int
) -> dict[str, Any]:
    """Returns `environment` and `results`, one for each figure: medians, and the median of the rounds' ratios.

    A first round is not counted. Raises CommandError as `open_cluster`, or if the counters do not answer.
    """
    async with AsyncExitStack() as stack:
        cluster, plain = await stack.enter_async_context(open_cluster(settings, progress, shards))
        database = await stack.enter_async_context(Database(cluster, cluster.database_url or "", pool_size=2))
        places = Places(database)
        await places.confirm()
        found = {sender_id: places.find(sender_id) for sender_id in range(1, senders + 1)}
        address = places.addresses[0]
        own = {sender_id: place.shard for sender_id, place in found.items() if place and place.address == address}
        if not own:
            raise CommandError("The first node has none of these senders: raise --senders.")
        opened = (open_side(PLAIN, plain, own), open_side(NODE, on_node(cluster, *address), own, own))
        sides = [await stack.enter_async_context(side) for side in (*opened, open_side(COORDINATOR, cluster, found))]
        clock = clock_of(sides)
        environment = await read_environment(
            sides[-1].reader,
            command=f"queuestats bench cluster --shards {shards} --rounds {rounds} --senders {senders}",
            nodes=len(places.addresses),
            shards=shards,
            shards_of_the_node=len(set(own.values())),
            senders_of_the_node=len(own),
            times="elapsed" if clock is elapsed_us else "processor time of the server's process",
        )
        results = _results(await _measure(sides, clock, database, progress, rounds))
    return {"benchmark": "queuestats bench cluster", "environment": environment, "results": results}


async def _measure(sides: Sequence[Side], clock: Clock, database: Database, progress: Progress, rounds: int) -> Samples:
    """The samples of each figure. Inserts come late: after a change of its triggers, one PostgreSQL needs a recount."""
    plain, node, coordinator = sides
    samples: Samples = defaultdict(lambda: defaultdict(list))
    await _fill(plain, node, coordinator)
    steps: tuple[tuple[costs.Measure, Sequence[Side]], ...] = (
        (costs.reads, (plain, node)),
        (costs.features, (plain, node)),
        (costs.folds, (plain, node)),
        (costs.connections, sides),
        (costs.coordinator_reads, (coordinator,)),
        (partial(costs.turns, database), (node,)),
        (costs.scan, (plain, node)),
        (costs.inserts, sides),
        (partial(costs.moves, database, coordinator), (node,)),
    )
    for step, (measure, measured) in enumerate(steps, 1):
        for number in range(rounds + 1):
            progress(f"Step {step} of {len(steps)}, round {number} of {rounds}")
            for side in measured:
                async for figure, unit, value in measure(side, clock):
                    if number and value is not None:
                        samples[figure, unit][side.name].append(value)
    return samples


async def _fill(plain: Side, node: Side, coordinator: Side) -> None:
    """Writes the messages of all senders, and many of the last sender of the node. Then no delta is pending."""
    for side in (plain, coordinator):
        for senders, messages in ((side.senders, MESSAGES_OF_A_SENDER), (plain.senders[-1:], costs.MESSAGES_MOVED)):
            spread = {"messages": messages, "keys": KEYS_OF_A_SENDER}
            await fetch(side.writer, "bench/citus/insert", senders=senders, **spread)
    for side in (plain, node):
        while await side.fold():
            pass
        await fetch(side.ddl, "bench/citus/vacuum")


def _results(samples: Samples) -> list[dict[str, Any]]:
    return [
        {
            "figure": figure,
            "unit": unit,
            **{name: median(of_side[name]) if of_side[name] else None for name in (PLAIN, NODE, COORDINATOR)},
            "ratio": median_ratio(of_side[NODE], of_side[PLAIN]) if of_side[NODE] and of_side[PLAIN] else None,
            "threshold": THRESHOLDS.get(figure),
        }
        for (figure, unit), of_side in samples.items()
    ]

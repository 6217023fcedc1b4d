"""The time of an answer by the length of the queue: the counters' statements, the scan and the candidates."""

import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any, NamedTuple

from service.cluster import Node
from service.counters.folding import Folder
from service.db import AS_A_SCAN, Connection, Database, Statement, connect, fetch, load_statement
from service.errors import CommandError
from service.model import Grouping
from service.resources import sql_path
from service.settings import Settings
from service.workbench.bench.report import Progress, median_ratio, read_environment
from service.workbench.bench.scratch import created, run_files, vacuum
from service.workbench.seed import Profile, SeedPlan, seed

COUNTERS, SCAN = "queries/from_counters", "queries/from_messages"
CHURNED_SLICES = range(0, 100, 10)
PENDING_DELTAS = 1000
# A fast statement is repeated, a slow one is not.
REPEATS = 50
SLOW_MS = 50.0
# Settings of the session: look-ups and scans are planned as in the service (sql/roles.sql).
ONLY_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
AS_A_LOOK_UP = f"SET LOCAL plan_cache_mode = force_generic_plan; {ONLY_BY_INDEX}"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to answer: the statements in `folder` and, if they are missing there, in `base`."""

    name: str
    base: str
    folder: str

    @property
    def has_indexes(self) -> bool:
        return sql_path(self.folder, "create.sql").is_file()

    def statement(self, grouping: Grouping) -> Statement | None:
        """The statement; None if the variant does not answer this grouping."""
        if sql_path(self.folder, f"{grouping}.sql").is_file():
            return load_statement(f"{self.folder}/{grouping}")
        return load_statement(f"{self.base}/{grouping}") if self.has_indexes else None


VARIANTS = (
    Variant("counters", COUNTERS, COUNTERS),
    Variant("scan", SCAN, SCAN),
    Variant("scan, grouped by status", SCAN, "candidates/group_by_status"),
    Variant("scan, covering index", SCAN, "candidates/covering_index"),
    Variant("scan, ordered index", SCAN, "candidates/ordered_index"),
    Variant("scan, partial indexes", SCAN, "candidates/partial_indexes"),
    Variant("finest counters only", COUNTERS, "candidates/fine_rollup"),
)
WITH_INDEXES = tuple(variant for variant in VARIANTS if variant.has_indexes)


class Sample(NamedTuple):
    """One answer in one round: the number of its rows, its median times, and the visited pages."""

    rows: int
    client_ms: float
    server_ms: float
    pages: int


# The samples of all rounds by state, messages, grouping and variant.
Samples = dict[tuple[str, int, Grouping, str], list[Sample]]


async def measure_sql(
    settings: Settings, progress: Progress, *, sizes: Sequence[int], rounds: int, seed: int
) -> dict[str, Any]:
    """`sizes`: messages in the queues. A fast statement is executed 50 times in each round.

    Returns `environment` and `results`, one for each state, queue, grouping and variant.

    Raises CommandError if the answer of a variant differs from that of the counters.
    """
    samples: Samples = defaultdict(list)
    url = settings.owner_url or ""
    async with connect(url) as connection, Database(settings, url, pool_size=1) as database:
        progress(f"Seeding {max(sizes):,} messages")
        queues = await _fill(connection, sizes, seed)
        environment = await read_environment(connection, seed=seed, rounds=rounds, messages=list(queues.values()))
        async with created(connection, "bench/no_autovacuum", *(variant.folder for variant in WITH_INDEXES)):
            async for state in _states(connection, Folder(Node(database)), queues[1]):
                for number in range(rounds):
                    progress(f"{state.capitalize()}: round {number + 1} of {rounds}")
                    await _run_round(connection, state, queues, samples)
    return {"benchmark": "queuestats bench sql", "environment": environment, "results": _results(samples)}


async def _fill(connection: Connection, sizes: Sequence[int], seed_number: int) -> dict[int, int]:
    """The messages of each sender, the longest queue first. Messages that were in the table before are lost.

    The longest queue is a data set of the profile `single`. A shorter queue is a sample of it: every n-th message, for
    another sender, so that their reports have the same rows.
    """
    longest, *shorter = sorted(set(sizes), reverse=True)
    await seed(connection, SeedPlan(longest, 1, seed_number, Profile.SINGLE), replace=True)
    steps = {sender_id: longest // size for sender_id, size in enumerate(shorter, 2)}
    for sender_id, step in steps.items():
        await fetch(connection, "bench/sample", from_sender_id=1, sender_id=sender_id, step=step)
    return {1: longest} | {sender_id: longest // step for sender_id, step in steps.items()}


async def _states(connection: Connection, folder: Folder, longest: int) -> AsyncIterator[str]:
    """Puts the table into one state after the other, and yields its name. Sender 1 has the `longest` queue.

    Churned: a tenth of the messages has changed status since the vacuum. Pending: deltas of sender 1.
    """
    await folder.fold_all()
    await vacuum(connection)
    yield "fresh"
    for number in CHURNED_SLICES:
        await fetch(connection, "bench/churn", slice=number)
    await folder.fold_all()
    yield "churned"
    step = max(1, longest // PENDING_DELTAS)
    ids = [(1 + number * step % longest,) for number in range(PENDING_DELTAS)]
    await connection.executemany(load_statement("bench/toggle").sql, ids)
    yield "1,000 deltas pending"


async def _run_round(connection: Connection, state: str, queues: Mapping[int, int], samples: Samples) -> None:
    """Adds one sample of each variant's statements about each queue."""
    answers: dict[tuple[int, Grouping], list[Any]] = {}
    for variant, (sender_id, messages) in product(VARIANTS, queues.items()):
        async with _alone(connection, variant):
            for grouping in Grouping:
                if (statement := variant.statement(grouping)) is None:
                    continue
                rows, sample = await _measure(connection, statement, sender_id)
                if answers.setdefault((sender_id, grouping), rows) != rows:
                    raise CommandError(f"{variant.name} and the counters answer {grouping} differently.")
                samples[state, messages, grouping, variant.name].append(sample)


@asynccontextmanager
async def _alone(connection: Connection, variant: Variant) -> AsyncIterator[None]:
    """A transaction without the indexes of other variants. It is rolled back.

    A variant with indexes can't use a sequential scan, which is the variant of the plain scan.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        if variant.base == SCAN:
            await run_files(connection, "drop", (other.folder for other in WITH_INDEXES if other is not variant))
        await connection.execute(AS_A_SCAN if variant.base == SCAN else AS_A_LOOK_UP)
        if variant.has_indexes:
            await connection.execute(ONLY_BY_INDEX)
        yield
    finally:
        await transaction.rollback()


async def _measure(connection: Connection, statement: Statement, sender_id: int) -> tuple[list[Any], Sample]:
    is_batch = statement.name.startswith(COUNTERS)
    query = {name: sender_id if name == "sender_id" else None for name in statement.types}
    values = statement.bind({name: [value] for name, value in query.items()} if is_batch else query)
    prepared = await connection.prepare(statement.sql)
    explain = await connection.prepare(f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS, FORMAT JSON) {statement.sql}")
    # A batch has an additional column: the position of the query.
    rows = [tuple(row)[is_batch:] for row in await prepared.fetch(*values)]
    client_ms: list[float] = []
    plans: list[dict[str, Any]] = []
    while not client_ms or (len(client_ms) < REPEATS and client_ms[0] < SLOW_MS):
        started_at = time.perf_counter()
        await prepared.fetch(*values)
        client_ms.append(1000 * (time.perf_counter() - started_at))
        plans += json.loads(await explain.fetchval(*values))
    server_ms = median(plan["Execution Time"] for plan in plans)
    pages = plans[-1]["Plan"]["Shared Hit Blocks"] + plans[-1]["Plan"]["Shared Read Blocks"]
    return rows, Sample(len(rows), median(client_ms), server_ms, pages)


def _results(samples: Samples) -> list[dict[str, Any]]:
    """The medians of all rounds; the ratio is to the counters' time."""
    client_ms = {key: [sample.client_ms for sample in found] for key, found in samples.items()}
    return [
        {
            **dict(zip(("state", "messages", "group", "variant"), key, strict=True)),
            **found[-1]._asdict(),
            "client_ms": median(client_ms[key]),
            "server_ms": median(sample.server_ms for sample in found),
            "times_counters": median_ratio(client_ms[key], client_ms[*key[:3], VARIANTS[0].name]),
        }
        for key, found in samples.items()
    ]

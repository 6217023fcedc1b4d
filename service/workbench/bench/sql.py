"""How long an answer takes, by the length of the queue: the counters' statements, the scan and the candidates."""

import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

from service.db import Statement, connect, load_statement
from service.errors import CommandError
from service.model import Grouping
from service.resources import sql_path
from service.settings import Settings
from service.workbench.bench.queues import fill, states
from service.workbench.bench.report import describe, median_ratio
from service.workbench.bench.scratch import execute_files

COUNTERS, SCAN = "queries/from_counters", "queries/from_messages"
# A fast statement is repeated, a slow one is not.
REPEATS = 50
SLOW_MS = 50.0
# Look-ups are planned as in the service's role (sql/roles.sql), scans as in the service's scans.
PLANNED_FOR_LOOK_UPS = (
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
)
PLANNED_FOR_SCANS = "SET LOCAL plan_cache_mode = force_custom_plan"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to answer: the statements in `folder` and, for what that lacks, in `base`."""

    name: str
    base: str
    folder: str

    @property
    def has_indexes(self) -> bool:
        return sql_path(self.folder, "create.sql").is_file()

    def statement(self, grouping: Grouping) -> Statement | None:
        """None where the variant does not answer this grouping."""
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
WITH_INDEXES = tuple(each for each in VARIANTS if each.has_indexes)
Key = tuple[str, int, Grouping, str]


async def measure_sql(
    settings: Settings, progress: Callable[[str], None], *, sizes: Sequence[int], rounds: int, seed: int
) -> dict[str, Any]:
    """`sizes` are those of the queues in messages, `rounds` how often each variant is measured.

    Gives `environment` and `results`, one for each state, queue, grouping and variant.

    Raises CommandError where a variant answers otherwise than the counters.
    """
    async with connect(settings.owner_url or "") as connection:
        progress(f"Seeding {max(sizes):,} messages")
        queues = await fill(connection, sizes, seed)
        environment = await describe(connection, seed=seed, rounds=rounds, messages=list(queues.values()))
        await execute_files(connection, *(f"{each.folder}/create" for each in WITH_INDEXES))
        samples: dict[Key, list[dict[str, Any]]] = defaultdict(list)
        try:
            async for state in states(connection, settings, queues[1]):
                for number in range(rounds):
                    progress(f"{state.capitalize()}: round {number + 1} of {rounds}")
                    async for key, sample in _round(connection, queues):
                        samples[state, *key].append(sample)
        finally:
            await execute_files(connection, *(f"{each.folder}/drop" for each in WITH_INDEXES))
    return {"benchmark": "queuestats bench sql", "environment": environment, "results": _results(samples)}


async def _round(
    connection: Any, queues: Mapping[int, int]
) -> AsyncIterator[tuple[tuple[int, Grouping, str], dict[str, Any]]]:
    """One sample of each variant's statements about each queue."""
    answers: dict[tuple[int, Grouping], list[Any]] = {}
    for variant, (sender_id, messages) in product(VARIANTS, queues.items()):
        async with _alone(connection, variant):
            for grouping in Grouping:
                if (statement := variant.statement(grouping)) is None:
                    continue
                sample, rows = await _sample(connection, statement, sender_id)
                if answers.setdefault((sender_id, grouping), rows) != rows:
                    raise CommandError(f"{variant.name} answers {grouping} otherwise than the counters.")
                yield (messages, grouping, variant.name), sample


@asynccontextmanager
async def _alone(connection: Any, variant: Variant) -> AsyncIterator[None]:
    """A transaction without the indexes of other variants. It is rolled back.

    A variant with indexes is kept from a sequential scan: what that takes is the result of the plain scan.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        is_scan = variant.base == SCAN
        await connection.execute(PLANNED_FOR_SCANS if is_scan else PLANNED_FOR_LOOK_UPS)
        if variant.has_indexes:
            await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        if is_scan:
            others = [each for each in WITH_INDEXES if each is not variant]
            await execute_files(connection, *(f"{each.folder}/drop" for each in others))
        yield
    finally:
        await transaction.rollback()


async def _sample(connection: Any, statement: Statement, sender_id: int) -> tuple[dict[str, Any], list[Any]]:
    """The median times of one statement in milliseconds, and its rows."""
    given = {name: sender_id if name == "sender_id" else None for name in statement.types}
    is_batch = statement.name.startswith(COUNTERS)
    values = statement.bind({name: [value] for name, value in given.items()} if is_batch else given)
    prepared = await connection.prepare(statement.sql)
    # A batch has a column more, the position of the query.
    rows = [tuple(each)[is_batch:] for each in await prepared.fetch(*values)]
    explain = await connection.prepare(f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS, FORMAT JSON) {statement.sql}")
    client_ms: list[float] = []
    server_ms: list[float] = []
    pages = 0
    while not client_ms or (len(client_ms) < REPEATS and client_ms[0] < SLOW_MS):
        started_at = time.perf_counter()
        await prepared.fetch(*values)
        client_ms.append(1000 * (time.perf_counter() - started_at))
        [explained] = json.loads(await explain.fetchval(*values))
        server_ms.append(explained["Execution Time"])
        pages = explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"]
    return {"rows": len(rows), "client_ms": median(client_ms), "server_ms": median(server_ms), "pages": pages}, rows


def _results(samples: dict[Key, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    def times(key: Key) -> list[float]:
        return [each["client_ms"] for each in samples[key]]

    return [
        {
            **dict(zip(("state", "messages", "group", "variant"), key, strict=True)),
            "rows": taken[-1]["rows"],
            "client_ms": median(times(key)),
            "server_ms": median(each["server_ms"] for each in taken),
            "pages": taken[-1]["pages"],
            "times_counters": median_ratio(times(key), times((*key[:3], VARIANTS[0].name))),
        }
        for key, taken in list(samples.items())
    ]

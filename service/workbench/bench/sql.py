"""How long an answer takes, by the length of the queue: the counters' statements, the scan and the candidates."""

import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any, NamedTuple

from service.db import Connection, Statement, connect, load_statement
from service.errors import CommandError
from service.model import Grouping
from service.resources import sql_path
from service.settings import Settings
from service.workbench.bench.queues import fill, states
from service.workbench.bench.report import median_ratio, read_environment
from service.workbench.bench.scratch import created, run_files

COUNTERS, SCAN = "queries/from_counters", "queries/from_messages"
# A fast statement is repeated, a slow one is not.
REPEATS = 50
SLOW_MS = 50.0
# Settings of the session: look-ups are planned as in the service's role (sql/roles.sql), scans as in its scans.
PLANNED_FOR_LOOK_UPS = "SET LOCAL plan_cache_mode = force_generic_plan"
PLANNED_FOR_SCANS = "SET LOCAL plan_cache_mode = force_custom_plan"
ONLY_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"


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
WITH_INDEXES = tuple(variant for variant in VARIANTS if variant.has_indexes)


class Sample(NamedTuple):
    """One answer in one round: the rows of its report, its median times, and the pages that it visits."""

    state: str
    messages: int
    group: Grouping
    variant: str
    rows: int
    client_ms: float
    server_ms: float
    pages: int


async def measure_sql(
    settings: Settings, progress: Callable[[str], None], *, sizes: Sequence[int], rounds: int, seed: int
) -> dict[str, Any]:
    """`sizes` are those of the queues in messages. A fast statement is executed 50 times in each round.

    Gives `environment` and `results`, one for each state, queue, grouping and variant.

    Raises CommandError where a variant answers otherwise than the counters.
    """
    samples: list[Sample] = []
    async with connect(settings.owner_url or "") as connection:
        progress(f"Seeding {max(sizes):,} messages")
        queues = await fill(connection, sizes, seed)
        environment = await read_environment(connection, seed=seed, rounds=rounds, messages=list(queues.values()))
        async with created(connection, "bench/no_autovacuum", *(variant.folder for variant in WITH_INDEXES)):
            async for state in states(connection, settings, queues[1]):
                for number in range(rounds):
                    progress(f"{state.capitalize()}: round {number + 1} of {rounds}")
                    samples += [sample async for sample in _round(connection, state, queues)]
    return {"benchmark": "queuestats bench sql", "environment": environment, "results": _results(samples)}


async def _round(connection: Connection, state: str, queues: Mapping[int, int]) -> AsyncIterator[Sample]:
    """One sample of each variant's statements about each queue."""
    answers: dict[tuple[int, Grouping], list[Any]] = {}
    for variant, (sender_id, messages) in product(VARIANTS, queues.items()):
        async with _alone(connection, variant):
            for grouping in Grouping:
                if (statement := variant.statement(grouping)) is None:
                    continue
                rows, client_ms, server_ms, pages = await _measure(connection, statement, sender_id)
                if answers.setdefault((sender_id, grouping), rows) != rows:
                    raise CommandError(f"{variant.name} answers {grouping} otherwise than the counters.")
                yield Sample(state, messages, grouping, variant.name, len(rows), client_ms, server_ms, pages)


@asynccontextmanager
async def _alone(connection: Connection, variant: Variant) -> AsyncIterator[None]:
    """A transaction without the indexes of other variants. It is rolled back.

    A variant with indexes is kept from a sequential scan: what that takes is the result of the plain scan.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        is_scan = variant.base == SCAN
        await connection.execute(PLANNED_FOR_SCANS if is_scan else PLANNED_FOR_LOOK_UPS)
        if variant.has_indexes or not is_scan:
            await connection.execute(ONLY_BY_INDEX)
        if is_scan:
            await run_files(connection, "drop", (other.folder for other in WITH_INDEXES if other is not variant))
        yield
    finally:
        await transaction.rollback()


async def _measure(
    connection: Connection, statement: Statement, sender_id: int
) -> tuple[list[tuple[Any, ...]], float, float, int]:
    """The rows, the median times of the client and the server in milliseconds, and the pages of one statement."""
    query = {name: sender_id if name == "sender_id" else None for name in statement.types}
    is_batch = statement.name.startswith(COUNTERS)
    values = statement.bind({name: [value] for name, value in query.items()} if is_batch else query)
    prepared = await connection.prepare(statement.sql)
    explain = await connection.prepare(f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS, FORMAT JSON) {statement.sql}")
    # A batch has a column more, the position of the query.
    rows = [tuple(row)[is_batch:] for row in await prepared.fetch(*values)]
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
    return rows, median(client_ms), median(server_ms), pages


def _results(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The medians of all rounds; the ratio is to the counters' time."""
    rounds: dict[tuple[str, int, Grouping, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        rounds[sample.state, sample.messages, sample.group, sample.variant].append(sample)
    client_ms = {key: [sample.client_ms for sample in found] for key, found in rounds.items()}
    return [
        {
            **found[-1]._asdict(),
            "client_ms": median(client_ms[key]),
            "server_ms": median(sample.server_ms for sample in found),
            "times_counters": median_ratio(client_ms[key], client_ms[*key[:3], VARIANTS[0].name]),
        }
        for key, found in rounds.items()
    ]

"""How long an answer takes, by the length of the queue: the counters beside every way to scan, in turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise, product
from typing import Any

from service.bench.candidates import CANDIDATES, COUNTED, COUNTERS, Candidate
from service.bench.circumstances import circumstances
from service.bench.figures import Figures, Label
from service.bench.ground import Ground, open_ground, set_for_database
from service.bench.queues import Queue, churn, fill, fold_all, freshen, pile_up, sizes_in_bytes, tidy_up
from service.bench.reads import SLOW_MS, Plan, as_if_alone, bind, time_client, time_first, time_server
from service.bench.rounds import Tell
from service.bench.verdicts import CHURNED, CLIENT, COLD, FRESH, PENDING, SERVER, Cell, verdicts
from service.db import Statement, connect, statement
from service.errors import CommandError
from service.model import Grouping
from service.settings import Settings

Keep = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class SqlPlan:
    """What is measured. `set_for_all` are server settings that every connection gets."""

    sizes: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    rounds: int = 3
    seed: int = 1
    cold: bool = False
    pending: tuple[int, ...] = (0, 100, 1000, 10_000)
    groupings: tuple[Grouping, ...] = tuple(Grouping)
    # How long a quick answer is asked for again and again.
    ask_seconds: float = 0.25
    set_for_all: Mapping[str, str] = field(default_factory=dict)


def measure_sql(
    settings: Settings, plan: SqlPlan, tell: Tell = lambda line: None, keep: Keep = lambda report: None
) -> dict[str, Any]:
    """On a scratch server, or on the database that `settings` name, whose messages are lost.

    Gives `circumstances`, `bytes` of the table and each index, `rows` of the answers, `figures` (the ratios first),
    `plans`, and whether all that is `complete`; `tell` gets a line now and then, `keep` what there is so far whenever a
    state has been measured: a long run may end early. Raises CommandError where the database is not disposable, or an
    answer is wrong.
    """
    with open_ground(settings) as ground:
        if plan.cold:
            ground.require_restart()
        return asyncio.run(_run(ground, plan, tell, keep))


async def _run(ground: Ground, plan: SqlPlan, tell: Tell, keep: Keep) -> dict[str, Any]:
    async with set_for_database(ground.owner_url, plan.set_for_all):
        reads = Reads(ground, plan, await fill(ground, plan.sizes, plan.seed, tell), tell)
        try:
            await freshen(ground, tell)
            about = await _describe(reads)
            async for _ in reads.states():
                keep(about | reads.report() | {"complete": False})
        finally:
            await tidy_up(ground)
    return about | reads.report() | {"complete": True}


async def _describe(reads: "Reads") -> dict[str, Any]:
    async with connect(reads.ground.owner_url) as connection:
        told = await circumstances(connection, reads.ground.settings)
        bytes_of = await sizes_in_bytes(connection)
    queues = [each.messages for each in reads.queues]
    told["data_set"] = {"profile": "single", "seed": reads.plan.seed, "queues": queues}
    told["rounds"] = reads.plan.rounds
    return {"benchmark": "sql", "circumstances": told, "bytes": bytes_of}


class Reads:
    """One run: the times so far, the plans that were seen last, and how many rows the answers have."""

    def __init__(self, ground: Ground, plan: SqlPlan, queues: list[Queue], tell: Tell) -> None:
        self.ground = ground
        self.plan = plan
        self.queues = queues
        self.tell = tell
        self.times = Figures("ms")
        self.plans: dict[Cell, Plan] = {}
        self.rows: dict[tuple[int, str], int] = {}

    async def states(self) -> AsyncIterator[str]:
        """Measures one state of the table after the other, and gives the name of each that is done."""
        await self.warm(FRESH)
        yield FRESH
        if self.plan.cold:
            await self.cold()
            yield COLD
        await churn(self.ground, self.tell)
        await self.warm(CHURNED)
        yield CHURNED
        await self.pending()
        yield PENDING

    def report(self) -> dict[str, Any]:
        """What has been measured so far."""
        figures = (*verdicts(self.times, self.queues), *self.times)
        return {
            "rows": [{"messages": messages, "group": group, "rows": n} for (messages, group), n in self.rows.items()],
            "figures": [each.as_json() for each in figures],
            "plans": [{**asdict(cell), **asdict(seen)} for cell, seen in self.plans.items()],
        }

    async def warm(self, state: str) -> None:
        """Everybody's answers on every queue, in turn, so many times."""
        for number in range(self.plan.rounds):
            self.tell(f"{state.capitalize()}: round {number + 1} of {self.plan.rounds}")
            async with connect(self.ground.owner_url) as connection:
                # One and the same about every queue, one right after the other: their ratio is what matters most.
                for candidate, queue in product(CANDIDATES, self.queues):
                    async with as_if_alone(connection, candidate):
                        for grouping in self._groupings(candidate):
                            cell = Cell(state, queue.messages, grouping, candidate.name)
                            await self._time(connection, cell, candidate.statement(grouping), queue, number == 0)

    async def cold(self) -> None:
        """The first answer about the longest queue after a restart; only its execution, on a connection that stands."""
        [queue, *_] = self.queues
        for number, candidate in product(range(self.plan.rounds), CANDIDATES):
            self.tell(f"Cold: round {number + 1} of {self.plan.rounds}, {candidate.name}")
            for grouping in self._groupings(candidate):
                await self.ground.restart_cold()
                async with connect(self.ground.owner_url) as connection, as_if_alone(connection, candidate):
                    asked = candidate.statement(grouping)
                    took = await time_first(connection, asked, bind(asked, queue.sender_id))
                self.times.add(took, **Cell(COLD, queue.messages, grouping, candidate.name).labels(CLIENT))

    async def pending(self) -> None:
        """The counters' answers about the longest queue while so many deltas wait to be folded."""
        [queue, *_] = self.queues
        for number in range(self.plan.rounds):
            self.tell(f"Pending deltas: round {number + 1} of {self.plan.rounds}")
            await fold_all(self.ground)
            async with connect(self.ground.owner_url) as connection:
                for less, deltas in pairwise((0, *self.plan.pending)):
                    await pile_up(connection, queue, deltas - less)
                    async with as_if_alone(connection, COUNTED):
                        for grouping in self.plan.groupings:
                            await self._time_pending(connection, queue, grouping, deltas)

    def _groupings(self, candidate: Candidate) -> list[Grouping]:
        return [each for each in candidate.groupings() if each in self.plan.groupings]

    async def _time_pending(self, connection: Any, queue: Queue, grouping: str, deltas: int) -> None:
        asked = statement(f"queries/{grouping}")
        values = bind(asked, queue.sender_id)
        labels: dict[str, Label] = {"state": PENDING, "deltas": deltas, "group": grouping, "contestant": COUNTERS}
        self.times.add(await time_client(connection, asked, values, self.plan.ask_seconds), seen=CLIENT, **labels)
        self.times.add((await time_server(connection, asked, values, self.plan.ask_seconds))[0], seen=SERVER, **labels)

    async def _time(self, connection: Any, cell: Cell, asked: Statement, queue: Queue, is_first: bool) -> None:
        values = bind(asked, queue.sender_id)
        if is_first:
            # This also fills the caches, so it comes before the times.
            await self._check(connection, cell, asked, queue)
        took = await time_client(connection, asked, values, self.plan.ask_seconds)
        self.times.add(took, **cell.labels(CLIENT))
        if is_first or took <= SLOW_MS:
            in_server, self.plans[cell] = await time_server(connection, asked, values, self.plan.ask_seconds)
            self.times.add(in_server, **cell.labels(SERVER))

    async def _check(self, connection: Any, cell: Cell, asked: Statement, queue: Queue) -> None:
        """Everybody answers alike, or the run is worth nothing."""
        truth = statement(f"queries/{cell.grouping}")
        expected = await connection.fetch(truth.sql, *bind(truth, queue.sender_id))
        if [*map(tuple, await connection.fetch(asked.sql, *bind(asked, queue.sender_id)))] != [*map(tuple, expected)]:
            raise CommandError(f"{cell.contestant} answers {cell.grouping} otherwise than the counters do.")
        self.rows[queue.messages, cell.grouping] = len(expected)

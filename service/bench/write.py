"""What counters and indexes cost writers, and what seeding costs: each beside its rival, in alternating rounds."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.bench.candidates import INDEXED
from service.bench.circumstances import circumstances
from service.bench.figures import Figure, Figures, ratio
from service.bench.ground import Ground, open_ground, set_for_database
from service.bench.queues import run
from service.bench.rounds import Tell, in_turn
from service.bench.seeding import fill_platform, seed_ratio, time_seeding
from service.bench.writers import HOT_KEYS, Load, Written, folding, lives, tidy, write
from service.counters.verify import find_differences
from service.db import connect, statement
from service.errors import CommandError
from service.settings import Settings

WITH, WITHOUT = "counters and fold", "neither"
LIVES_BAR, HOT_KEYS_BAR = 0.90, 0.75
# The rivals in the price of indexes.
STANDING_INDEX = "messages_sender_id_status"
AS_IT_STANDS, NO_INDEX = "as it stands", "without the index on sender and status"
COUNTING_OFF = "ALTER TABLE messages DISABLE TRIGGER USER"
COUNTING_ON = "ALTER TABLE messages ENABLE TRIGGER USER"


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What is measured. `messages` stand in the queue all the while; a length of 0 leaves a part out."""

    pairs: int = 7
    seconds: int = 5
    batches: tuple[int, ...] = (1, 50, 500)
    index_rounds: int = 5
    seed_rounds: int = 3
    seed_messages: int = 1_000_000
    messages: int = 100_000
    seed: int = 1
    set_for_all: Mapping[str, str] = field(default_factory=dict)


def measure_write(settings: Settings, plan: WritePlan, tell: Tell = lambda line: None) -> dict[str, Any]:
    """On a scratch server, or on the database that `settings` name, whose messages are lost.

    Gives `circumstances` and `figures`, the ratios first; `tell` gets a line now and then. Raises CommandError where
    the database is not disposable, a writer fails, or the counters are wrong at the end.
    """
    with open_ground(settings) as ground:
        return asyncio.run(_run(ground, plan, tell))


async def _run(ground: Ground, plan: WritePlan, tell: Tell) -> dict[str, Any]:
    async with set_for_database(ground.owner_url, plan.set_for_all):
        async with connect(ground.owner_url) as connection:
            told = await circumstances(connection, ground.settings)
        writes = Writes(ground, plan, tell)
        if plan.seed_rounds:
            await time_seeding(ground, plan.seed_messages, plan.seed, plan.seed_rounds, writes.seconds, tell)
        await fill_platform(ground, plan.messages, plan.seed)
        await writes.counting()
        await writes.indexes()
        await writes.audit()
    told["data_set"] = {"profile": "platform", "seed": plan.seed, "messages": plan.messages}
    told["rounds"] = {each: getattr(plan, each) for each in ("pairs", "seconds", "index_rounds", "seed_rounds")}
    told["load_generator"] = "pgbench, prepared statements, on the same machine"
    figures = (*writes.ratios(), *writes.rates, *writes.seconds, *writes.shares, *writes.failures)
    return {"benchmark": "write", "circumstances": told, "figures": [each.as_json() for each in figures]}


class Writes:
    """One run, and what it has measured so far."""

    def __init__(self, ground: Ground, plan: WritePlan, tell: Tell) -> None:
        self.ground = ground
        self.plan = plan
        self.tell = tell
        self.rates = Figures("messages/s", is_more_better=True)
        self.seconds = Figures("s")
        self.shares = Figures("of all cores")
        self.failures = Figures("transactions")

    async def counting(self) -> None:
        """Each load with counters and without, in pairs."""
        loads = [*(lives(batch) for batch in self.plan.batches), HOT_KEYS]
        for number in range(self.plan.pairs):
            for load in loads:
                self.tell(f"Pair {number + 1} of {self.plan.pairs}: {load.name}")
                for name in in_turn((WITH, WITHOUT), number):
                    async with self._counting(name == WITH):
                        await self._measure(load, what="counting", contestant=name)

    async def indexes(self) -> None:
        """The same lives with each candidate's indexes, without any, and with the counters."""
        async with connect(self.ground.owner_url) as connection:
            definition = await connection.fetchval(statement("bench/index").sql, STANDING_INDEX)
        names = (AS_IT_STANDS, NO_INDEX, *(each.name for each in INDEXED))
        for number in range(self.plan.index_rounds):
            self.tell(f"Indexes: round {number + 1} of {self.plan.index_rounds}")
            for name in in_turn(names, number):
                async with self._counting(False), self._indexed(name, definition):
                    for load in (lives(1), lives(50)):
                        await self._measure(load, what="indexes", contestant=name)

    async def audit(self) -> None:
        """Raises CommandError where the counters do not hold what a recount gives, after all this."""
        async with connect(self.ground.owner_url) as connection:
            if wrong := await find_differences(connection, None):
                raise CommandError(f"The counters are wrong after the load, in {len(wrong)} places.")

    def ratios(self) -> Iterator[Figure]:
        for load, bar in [*((lives(each), LIVES_BAR) for each in self.plan.batches), (HOT_KEYS, HOT_KEYS_BAR)]:
            yield self._ratio("counting", load, WITH, WITHOUT, bar)
        if self.plan.seed_rounds:
            yield seed_ratio(self.seconds)
        if self.plan.index_rounds:
            for load in (lives(1), lives(50)):
                for name in (NO_INDEX, *(each.name for each in INDEXED)):
                    yield self._ratio("indexes", load, name, AS_IT_STANDS, None)

    def _ratio(self, what: str, load: Load, name: str, rival: str, bar: float | None) -> Figure:
        one, other = (self.rates.of(what=what, contestant=each, load=load.name) for each in (name, rival))
        return ratio(one, other, {"ratio": f"{name} / {rival}", "load": load.name}, is_more_better=True, bar=bar)

    async def _measure(self, load: Load, **labels: str) -> None:
        await tidy(self.ground)
        written: Written = await write(self.ground.owner_url, load, self.plan.seconds)
        self.rates.add(written.messages_per_second, load=load.name, **labels)
        self.shares.add(written.client_share, load=load.name, told="client's share", **labels)
        self.failures.add(written.failed, load=load.name, told="failed", **labels)
        self.failures.add(written.deadlocks, load=load.name, told="deadlocks", **labels)
        async with connect(self.ground.owner_url) as connection:
            await run(connection, "bench/sweep", standing_messages=self.plan.messages)

    @asynccontextmanager
    async def _counting(self, is_on: bool) -> AsyncIterator[None]:
        """With counters and a folder, or with neither. What is written without them is swept away without them."""
        async with connect(self.ground.owner_url) as connection:
            if is_on:
                async with folding(self.ground):
                    yield
                return
            await connection.execute(COUNTING_OFF)
            try:
                yield
            finally:
                await run(connection, "bench/sweep", standing_messages=self.plan.messages)
                await connection.execute(COUNTING_ON)

    @asynccontextmanager
    async def _indexed(self, name: str, definition: str) -> AsyncIterator[None]:
        """With the indexes of one contestant; at the end there are those that there were."""
        folder = next((f"candidates/{each.folder}" for each in INDEXED if each.name == name), None)
        async with connect(self.ground.owner_url) as connection:
            if name == NO_INDEX:
                await connection.execute(f"DROP INDEX {STANDING_INDEX}")
            if folder:
                await self.ground.execute(f"{folder}/create")
            try:
                yield
            finally:
                if name == NO_INDEX:
                    await connection.execute(definition)
                if folder:
                    await self.ground.execute(f"{folder}/drop")

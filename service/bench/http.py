"""Requests a second and latencies of the whole service, beside those of its rivals, in one run."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from service.auth import create_token
from service.bench import load, wrk
from service.bench.circumstances import circumstances
from service.bench.load import Answer, Target
from service.bench.rivals import RATIOS, Field, contestants, postgraphile_version, simulation
from service.bench.rounds import Contestant, Ratio, Rounds, Tell, alternate, check, ratios, results
from service.bench.sample import Sample
from service.db import connect, statement
from service.db.disposable import require_disposable
from service.resources import sql_path
from service.seed import SeedPlan, default_senders, seed
from service.seed.plan import Profile
from service.settings import Settings

# Before anything counts, each is asked so often: connections are made, statements prepared, answers checked.
WARM_UP_REQUESTS = 100
WARM_UP_CONNECTIONS = 16
WARM_UP_SECONDS = 60.0
AFTER_WRK_REQUESTS = 5
# While messages are written, so much of each bar is enough.
WHILE_WRITING = 0.75


@dataclass(frozen=True, slots=True)
class HttpPlan:
    """What is measured, and against whom; `write_rates` are messages a second that are written meanwhile."""

    rounds: Rounds = field(default_factory=Rounds)
    # Fills an empty queue with so many.
    messages: int = 1_000_000
    seed: int = 1
    use_wrk: bool = False
    write_rates: tuple[int, ...] = (0,)
    naive: Path | None = None
    postgraphile: Path | None = None


def measure_http(settings: Settings, plan: HttpPlan, tell: Tell = lambda line: None) -> dict[str, Any]:
    """Both database addresses must stand in `settings`. Gives `circumstances`, and one of `phases` a write rate.

    `tell` gets a line now and then. Raises CommandError where the database is not disposable, a server does not start,
    or an answer is wrong.
    """
    url = settings.owner_url
    assert url is not None, "the caller has filled it in"
    token = asyncio.run(_prepare(url, plan, tell))
    told = asyncio.run(_describe(url, settings, plan))
    with _rival_schema(url, plan.postgraphile):
        phases = [_phase(settings, plan, token, rate, tell) for rate in plan.write_rates]
    return {"benchmark": "http", "circumstances": told, "phases": phases}


async def _prepare(url: str, plan: HttpPlan, tell: Tell) -> str:
    """A queue that is not empty is taken as it is. Gives the secret of a token."""
    async with connect(url) as connection:
        await require_disposable(connection)
        if not await connection.fetchval(statement("seed/occupied").sql):
            tell(f"Seeding {plan.messages:,} messages ...")
            senders = default_senders(plan.messages, Profile.PLATFORM)
            await seed(connection, SeedPlan(plan.messages, senders, plan.seed), lambda done: None)
    return await create_token(url, "bench", replace=True)


async def _describe(url: str, settings: Settings, plan: HttpPlan) -> dict[str, Any]:
    totals = await _totals(url)
    async with connect(url) as connection:
        told = await circumstances(connection, settings)
    told["data_set"] = {"messages": sum(totals.values()), "senders": len(totals), "biggest": max(totals.values())}
    told["rounds"] = asdict(plan.rounds)
    told["load_generator"] = wrk.version() if plan.use_wrk else "own"
    if plan.postgraphile:
        told["postgraphile"] = postgraphile_version(plan.postgraphile)
    return told


async def _totals(url: str) -> dict[int, int]:
    """Every sender with its messages, the biggest first."""
    async with connect(url) as connection:
        rows = await connection.fetch(statement("bench/senders").sql)
    return {row["sender_id"]: row["messages"] for row in rows}


@contextmanager
def _rival_schema(url: str, postgraphile: Path | None) -> Iterator[None]:
    """The function that PostGraphile serves, for as long as it is needed."""
    if postgraphile is None:
        yield
        return
    asyncio.run(_run_file(url, "postgraphile"))
    try:
        yield
    finally:
        asyncio.run(_run_file(url, "postgraphile_drop"))


async def _run_file(url: str, name: str) -> None:
    async with connect(url) as connection:
        await connection.execute(sql_path("bench", f"{name}.sql").read_text("utf-8"))


def _phase(settings: Settings, plan: HttpPlan, token: str, rate: int, tell: Tell) -> dict[str, Any]:
    totals = asyncio.run(_totals(settings.owner_url or ""))
    asked = Field(settings, token, totals, plan.seed, plan.naive, plan.postgraphile)
    writing = simulation(asked, rate) if rate else nullcontext()
    with contestants(asked, is_still=not rate) as found, writing:
        for contestant in found:
            tell(f"Warming up: {contestant.name}")
            check(contestant, _warm_up(contestant)[1])
        samples = alternate(found, plan.rounds, _with_wrk if plan.use_wrk else load.drive, tell)
    wanted = [_while_writing(each) for each in RATIOS] if rate else RATIOS
    return {"written_per_second": rate, "results": results(samples), "ratios": ratios(samples, wanted)}


def _warm_up(contestant: Contestant) -> tuple[Sample, list[Answer]]:
    return load.drive(contestant.target, WARM_UP_CONNECTIONS, WARM_UP_SECONDS, WARM_UP_REQUESTS)


def _with_wrk(target: Target, connections: int, seconds: float) -> tuple[Sample, list[Answer]]:
    """wrk keeps no answers, so a few are asked for afterwards; that also waits for what wrk has left on its way."""
    sample = wrk.drive(target, connections, seconds)
    return sample, load.drive(target, 1, WARM_UP_SECONDS, AFTER_WRK_REQUESTS)[1]


def _while_writing(ratio: Ratio) -> Ratio:
    """The bar of a tail is for a queue that holds still."""
    kept = ratio.bar * WHILE_WRITING if ratio.bar is not None and ratio.of == "rate" else None
    return replace(ratio, bar=kept)

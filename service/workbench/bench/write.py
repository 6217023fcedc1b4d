"""What counting costs the writers: PostgreSQL's pgbench, with the triggers and folds, and without."""

import asyncio
import os
import re
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

from service.counters.folding import fold_forever
from service.counters.verify import find_differences
from service.db import Database, connect, fetch
from service.db.address import for_programs
from service.embedded import binaries
from service.errors import CommandError
from service.resources import sql_path
from service.schema import migrate
from service.settings import Settings
from service.workbench.bench.report import describe, median_ratio
from service.workbench.bench.scratch import execute_files, vacuum
from service.workbench.bench.sql import WITH_INDEXES
from service.workbench.seed import Profile, SeedPlan, default_senders
from service.workbench.seed import seed as fill

COUNTED, NOT_COUNTED, OTHERS_HELD = "counted", "not counted", "counted, beside 100 holds of other senders"
# Ids of the messages that pgbench writes: far above those of the data set.
FIRST_ID = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """A script of sql/bench/, its clients, the messages of one transaction, and the script's variables."""

    name: str
    script: str
    clients: int
    messages: int
    variables: tuple[str, ...] = ()


def lifecycles(batch: int) -> Load:
    variables = (f"batch={batch}", f"first={FIRST_ID}", "lo=0")
    return Load(f"whole lifecycles in batches of {batch}", "lifecycle", 4, batch, variables)


LOADS = (*map(lifecycles, (1, 50, 500)), Load("inserts on 4 hot keys, two a transaction", "hot_keys", 16, 2))


async def measure_write(
    settings: Settings,
    progress: Callable[[str], None],
    *,
    rounds: int,
    seconds: int,
    messages: int,
    seed: int,
    has_candidates: bool,
) -> dict[str, Any]:
    """pgbench runs for so many seconds in each round, beside a queue of so many messages.

    Gives `environment` and `results`, one for each load and variant; the ratio is to `not counted`.

    Raises CommandError where a transaction fails, or a recount at the end differs from the counters.
    """
    variants = [COUNTED, NOT_COUNTED, OTHERS_HELD, *(each.folder for each in WITH_INDEXES if has_candidates)]
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with connect(settings.owner_url or "") as connection:
        senders = default_senders(messages, Profile.PLATFORM)
        await fill(connection, SeedPlan(messages, senders, seed), replace=True)
        environment = await describe(connection, seed=seed, messages=messages, rounds=rounds, seconds=seconds)
        try:
            for number in range(rounds):
                for load in LOADS:
                    progress(f"Round {number + 1} of {rounds}: {load.name}")
                    # The order changes from round to round: the machine may become slower or faster meanwhile.
                    for variant in variants if number % 2 == 0 else reversed(variants):
                        async with _variant(connection, settings, variant, messages):
                            rate = await run_pgbench(settings.owner_url or "", load, seconds)
                        rates[load.name, variant].append(rate)
            if differences := await find_differences(connection, None):
                raise CommandError(f"The counters differ from a recount in {len(differences)} places.")
        finally:
            # A trigger that was switched off is not trusted until all is counted anew.
            await migrate(settings.owner_url or "", settings.database_url, messages_schema=settings.messages_schema)
    return {"benchmark": "queuestats bench write", "environment": environment, "results": _results(rates)}


@asynccontextmanager
async def _variant(connection: Any, settings: Settings, variant: str, messages: int) -> AsyncIterator[None]:
    """Sets the variant up. At the end the table is as before: what pgbench wrote is deleted as it was written."""
    await vacuum(connection)
    is_counted, has_index = variant in (COUNTED, OTHERS_HELD), variant not in (COUNTED, NOT_COUNTED, OTHERS_HELD)
    if not is_counted:
        await connection.execute("ALTER TABLE messages DISABLE TRIGGER USER")
    try:
        if has_index:
            await execute_files(connection, f"{variant}/create")
        if variant == OTHERS_HELD:
            await fetch(connection, "bench/hold_others", first_id=FIRST_ID, holds=100)
        async with _folding(settings) if is_counted else nullcontext():
            yield
    finally:
        await fetch(connection, "bench/hold_others", first_id=FIRST_ID, holds=0)
        await fetch(connection, "bench/sweep", standing_messages=messages)
        if has_index:
            await execute_files(connection, f"{variant}/drop")
        if not is_counted:
            await connection.execute("ALTER TABLE messages ENABLE TRIGGER USER")


@asynccontextmanager
async def _folding(settings: Settings) -> AsyncIterator[None]:
    """Folds as the service does, in its role."""
    url = settings.database_url or settings.owner_url or ""
    async with Database(settings, url, pool_size=settings.pool_size) as database:
        task = asyncio.create_task(fold_forever(database))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def run_pgbench(url: str, load: Load, seconds: int) -> float:
    """Messages a second. Raises CommandError with pgbench's last line where it fails, or a transaction does."""
    bare, secret = for_programs(url)
    program = shutil.which("pgbench") or str(binaries(18) / "pgbench")
    command = [program, "--no-vacuum", "--protocol=prepared", f"--client={load.clients}", "--jobs=2"]
    command += [f"--time={seconds}", *(f"--define={each}" for each in load.variables)]
    command += [f"--file={sql_path('bench', f'{load.script}.pgbench')}", bare]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **secret}, stdout=pipe, stderr=pipe)
    try:
        output, errors = (each.decode() for each in await process.communicate())
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    rate = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    if process.returncode != 0 or rate is None or "failed transactions: 0 " not in output:
        raise CommandError(f"pgbench failed: {([*errors.splitlines(), *output.splitlines()] or ['no output'])[-1]}")
    return float(rate[1]) * load.messages


def _results(rates: dict[tuple[str, str], list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "load": load,
            "variant": variant,
            "messages_per_second": median(values),
            "least": min(values),
            "greatest": max(values),
            "times_not_counted": median_ratio(values, rates[load, NOT_COUNTED]),
        }
        for (load, variant), values in rates.items()
    ]

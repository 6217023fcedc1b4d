"""The cost of counting for writers: PostgreSQL's pgbench, with and without triggers and folds."""

import asyncio
import os
import re
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

from service.counters.folding import fold_forever
from service.counters.verify import find_differences
from service.db import Connection, Database, connect, fetch
from service.db.address import for_programs
from service.embedded import binaries
from service.errors import CommandError
from service.resources import sql_path
from service.schema import migrate
from service.settings import Settings
from service.workbench.bench.report import Progress, median_ratio, read_environment
from service.workbench.bench.scratch import created, vacuum
from service.workbench.bench.sql import WITH_INDEXES
from service.workbench.seed import Profile, SeedPlan, default_senders
from service.workbench.seed import seed as fill


@dataclass(frozen=True, slots=True)
class Load:
    """A script of sql/bench/, its clients, and the messages of one transaction."""

    name: str
    script: str
    clients: int
    messages: int


LOADS = (
    *(Load(f"whole lifecycles in batches of {messages}", "lifecycle", 4, messages) for messages in (1, 50, 500)),
    Load("inserts on 4 hot keys, two a transaction", "hot_keys", 16, 2),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """The folders of sql/ whose files create and drop the variant, and whether the service folds during the run."""

    name: str
    folders: tuple[str, ...] = ()
    is_folded: bool = False


COUNTED, NOT_COUNTED = Variant("counted", is_folded=True), Variant("not counted", ("bench/not_counted",))
OTHERS_HELD = Variant("counted, beside 100 holds of other senders", ("bench/others_held",), is_folded=True)
VARIANTS = (COUNTED, NOT_COUNTED, OTHERS_HELD)
CANDIDATES = tuple(Variant(index.folder, ("bench/not_counted", index.folder)) for index in WITH_INDEXES)


async def measure_write(
    settings: Settings, progress: Progress, *, rounds: int, seconds: int, messages: int, seed: int, has_candidates: bool
) -> dict[str, Any]:
    """pgbench runs for `seconds` in each round, in addition to a queue of `messages`.

    Returns `environment` and `results`, one for each load and variant; the ratio is to `not counted`.

    Raises CommandError if a transaction fails, or if a recount at the end differs from the counters.
    """
    url = settings.owner_url or ""
    plan = SeedPlan(messages, default_senders(messages, Profile.PLATFORM), seed)
    variants = VARIANTS + CANDIDATES if has_candidates else VARIANTS
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with connect(url) as connection:
        await fill(connection, plan, replace=True)
        environment = await read_environment(connection, seed=seed, messages=messages, rounds=rounds, seconds=seconds)
        try:
            for number, load in product(range(rounds), LOADS):
                progress(f"Round {number + 1} of {rounds}: {load.name}")
                # The order changes with each round, because the machine may become slower or faster during the run.
                for variant in variants if number % 2 == 0 else reversed(variants):
                    rate = await _measure(connection, settings, variant, load, seconds, messages)
                    rates[load.name, variant.name].append(rate)
            if differences := await find_differences(connection, None):
                raise CommandError(f"The counters differ from a recount in {len(differences)} places.")
        finally:
            # After a trigger was disabled, the counters are not trusted until all messages are recounted.
            await migrate(url, settings.database_url, messages_schema=settings.messages_schema)
    return {"benchmark": "queuestats bench write", "environment": environment, "results": _results(rates)}


async def _measure(
    connection: Connection, settings: Settings, variant: Variant, load: Load, seconds: int, messages: int
) -> float:
    """As `run_pgbench`. It folds with the role of the service, and deletes the messages that pgbench has written."""
    url = settings.owner_url or ""
    await vacuum(connection)
    async with (
        created(connection, *variant.folders),
        Database(settings, settings.database_url or url, pool_size=settings.pool_size) as database,
    ):
        folding = [asyncio.create_task(fold_forever(database))] if variant.is_folded else []
        try:
            return await run_pgbench(url, load, seconds)
        finally:
            for task in folding:
                task.cancel()
            await asyncio.gather(*folding, return_exceptions=True)
            await fetch(connection, "bench/sweep", standing_messages=messages)


async def run_pgbench(url: str, load: Load, seconds: int) -> float:
    """Messages per second. Raises CommandError with pgbench's last line if it or a transaction fails."""
    bare, secret = for_programs(url)
    process = await asyncio.create_subprocess_exec(
        shutil.which("pgbench") or str(binaries(18) / "pgbench"),
        *("--no-vacuum", "--protocol=prepared", "--jobs=2", f"--client={load.clients}", f"--time={seconds}"),
        *(f"--define=batch={load.messages}", "--define=lo=0"),
        *(f"--file={sql_path('bench', f'{load.script}.pgbench')}", bare),
        env={**os.environ, **secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    rate = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    if process.returncode != 0 or rate is None or "failed transactions: 0 " not in output:
        raise CommandError(f"pgbench failed: {(output.splitlines() or ['no output'])[-1]}")
    return float(rate[1]) * load.messages


def _results(rates: dict[tuple[str, str], list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "load": load,
            "variant": variant,
            "messages_per_second": median(values),
            "least": min(values),
            "greatest": max(values),
            "times_not_counted": median_ratio(values, rates[load, NOT_COUNTED.name]),
        }
        for (load, variant), values in rates.items()
    ]

"""Writers under load, played by PostgreSQL's own pgbench: a statement costs it less than it would cost a driver."""

import asyncio
import os
import re
import resource
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from service.bench.ground import Ground
from service.counters.folding import fold_forever
from service.db import Database, connect
from service.db.address import without_password
from service.embedded import binaries
from service.errors import CommandError
from service.resources import sql_path

# Threads of pgbench; more than the machine has cores only get in each other's way.
THREADS = 2
# Ids of the writers' own messages begin here, far above those of any data set.
FIRST_ID = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """What writers do: a script of sql/bench/, by how many at once, and what one transaction of it stands for."""

    name: str
    script: str
    clients: int
    messages: int
    variables: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it. `client_share` is pgbench's own part of the machine's time, of all cores together."""

    messages_per_second: float
    failed: int
    deadlocks: int
    client_share: float


def lives(batch: int, clients: int = 4) -> Load:
    variables = {"batch": batch, "first": FIRST_ID, "lo": 0}
    return Load(f"whole lives in batches of {batch}", "lives", clients, batch, variables)


HOT_KEYS = Load("single-row inserts on 4 hot keys, two a transaction", "hot_keys", 16, 2, {})


async def write(url: str, load: Load, seconds: int) -> Written:
    """Lets the writers write for so long. Raises CommandError with pgbench's last words where it fails."""
    bare, secret = without_password(url)
    variables = [f"--define={name}={value}" for name, value in load.variables.items()]
    command = [str(binaries(18) / "pgbench"), "--no-vacuum", "--protocol=prepared", "--failures-detailed"]
    command += [f"--client={load.clients}", f"--jobs={min(THREADS, load.clients)}", f"--time={seconds}", *variables]
    began, used = time.perf_counter(), _children_seconds()
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--file={sql_path('bench', f'{load.script}.pgbench')}",
        bare,
        env={**os.environ, **secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await _end(process)
    took = time.perf_counter() - began
    if process.returncode != 0:
        raise CommandError(f"pgbench failed: {(errors.strip().splitlines() or ['it does not say why.'])[-1]}")
    share = (_children_seconds() - used) / took / (os.cpu_count() or 1)
    return parse(told, load.messages, share)


def parse(told: str, messages: int, client_share: float) -> Written:
    """pgbench's summary, of transactions that write so many messages each. Raises CommandError for any other text."""
    patterns = {
        "tps": r"^tps = ([0-9.]+)",
        "failed": r"^number of failed transactions: (\d+)",
        "deadlocks": r"^number of deadlock failures: (\d+)",
    }
    found = {name: re.search(pattern, told, re.MULTILINE) for name, pattern in patterns.items()}
    if found["tps"] is None or found["failed"] is None:
        raise CommandError(f"pgbench tells something else than expected: {told[:200]!r}")
    rate, failed = float(found["tps"][1]), int(found["failed"][1])
    return Written(rate * messages, failed, int(found["deadlocks"][1]) if found["deadlocks"] else 0, client_share)


@asynccontextmanager
async def folding(ground: Ground) -> AsyncIterator[None]:
    """Folds meanwhile as the service does, in its role and at its pace."""
    url = ground.settings.database_url or ground.owner_url
    async with Database.from_settings(ground.settings, url, ground.settings.pool_size) as database:
        task = asyncio.create_task(fold_forever(database))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def tidy(ground: Ground) -> None:
    """Between runs: nothing dead and nothing unwritten, so that no run pays for the one before."""
    async with connect(ground.owner_url) as connection:
        for table in ("messages", "deltas", "counters", "watermarks"):
            await connection.execute(f"VACUUM {table}")
    await ground.checkpoint()


async def _end(process: Any) -> tuple[str, str]:
    try:
        told, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return told.decode(), errors.decode()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

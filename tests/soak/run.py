"""`make soak`: writers, operators, readers and streams, and every 20 seconds a fault.

Every answer is compared with what was committed before its request and attempted by the time it arrived. Exits with 1
where an answer was wrong, a message or a job was lost, or the service failed. docs/reliability.md has the results of
whole hours.
"""

import asyncio
import random
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import asyncpg
import click
import uvloop

from service.access.admin import create_token
from service.model import Scope
from service.settings import PREFIX
from tests.clusters import binaries, running
from tests.counters.crashing import CrashableServer
from tests.servers import run_folder, scratch_folder, small_disk
from tests.soak.clients import Answers, Clients
from tests.soak.cluster import ClusterWorld, cluster
from tests.soak.faults import CONTROLLED, PLAIN, SERVER, Instance, World
from tests.soak.ledger import Ledger
from tests.soak.operators import Operated, Operator
from tests.soak.writers import Writer, Written

WRITERS, READERS, INSTANCES = 4, 12, 2
DISK_BYTES = 1536 << 20
SECONDS_BETWEEN_FAULTS = 20
MOST_PRINTED = 50


@dataclass(frozen=True)
class Plan:
    """`seconds_between_faults`: from the beginning of one to that of the next."""

    seconds: float
    seed: int
    seconds_between_faults: float = SECONDS_BETWEEN_FAULTS


@dataclass
class Result:
    """`waits`: by fault, the seconds from the database's return to the first right answer, and the longest time without
    one. `memory`: over time, the largest resident memory of a worker and the size of the database, in bytes."""

    plan: Plan
    postgresql: str
    answers: Answers = field(default_factory=Answers)
    written: Written = field(default_factory=Written)
    operated: Operated = field(default_factory=Operated)
    waits: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    memory: list[tuple[int, int]] = field(default_factory=list)
    differences: list[Any] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """A sentence for each."""
        return [
            *(f"Wrong: {each}" for each in self.answers.wrong),
            *(f"Lost: {each}" for each in (*self.operated.lost, *self.differences)),
            *(f"Fault: {each}" for each in (*self.answers.faults, *self.operated.faults)),
        ]

    def lines(self) -> Iterator[str]:
        """As Markdown."""
        answers, written, operated = self.answers, self.written, self.operated
        yield f"PostgreSQL {self.postgresql}, seed {self.plan.seed}, {self.plan.seconds / 60:g} minutes."
        yield "\n| | |\n|---|---|"
        yield f"| responses compared | {answers.compared.total():,}: {_listed(answers.compared)} |"
        yield f"| wrong responses | {len(answers.wrong)} |"
        yield f"| lost messages and jobs | {len(operated.lost) + len(self.differences)} |"
        yield f"| statuses of `stats` | {_listed(answers.by_status)}; broken connections: {answers.broken:,} |"
        yield f"| statuses of operators' calls | {_listed(operated.by_status)} |"
        compared = f"the table was compared with the ledger {operated.settled:,} times"
        yield f"| operators' calls | {_listed(operated.calls)}; {compared} |"
        yield f"| transactions of the writers | {written.transactions:,} with {written.messages:,} changes |"
        yield f"| transactions whose COMMIT got no response | {written.unknown:,} |"
        yield f"| errors of the writers | {_listed(written.errors)} |"
        steps = [self.memory[i * (len(self.memory) - 1) // 6] for i in range(7)] if self.memory else []
        yield f"| memory of the largest worker, over time | {', '.join(f'{rss >> 20}' for rss, _ in steps)} MiB |"
        yield f"| size of the database, over time | {', '.join(f'{size >> 20}' for _, size in steps)} MiB |"
        first = "first correct response after the database's return: median, longest"
        yield f"\n| fault | times | {first} | longest time without a correct response |"
        yield "|---|---|---|---|"
        for name, pairs in sorted(self.waits.items()):
            waits, gaps = zip(*pairs, strict=True)
            cells = (
                name.replace("_", " "),
                len(pairs),
                f"{median(waits):.2f} s, {max(waits):.2f} s",
                f"{max(gaps):.1f} s",
            )
            yield f"| {' | '.join(map(str, cells))} |"


async def soak(world: World, plan: Plan) -> Result:
    """On a running server; leaves it, and the instances, running."""
    await world.prepare()
    token = await create_token(world.owner_url, "soak", (Scope.STATS, Scope.CONTROL))
    owner = await asyncpg.connect(world.owner_url)
    result = Result(plan, await owner.fetchval("SHOW server_version"))
    await owner.close()
    urls = [each.url for each in world.instances]
    ledgers = {
        sender: Ledger(is_controlled=sender in CONTROLLED, misses_holds=world.shards_move)
        for sender in (*PLAIN, *CONTROLLED)
    }
    seeds = random.Random(plan.seed)
    clients = [Clients(seeds.getrandbits(32), urls, token, ledgers, result.answers) for _ in range(READERS)]
    writers = [Writer(seeds.getrandbits(32), world.owner_url, ledgers, result.written) for _ in range(WRITERS)]
    operators = [
        Operator(seeds.getrandbits(32), urls, token, world.owner_url, sender, ledgers[sender], result.operated)
        for sender in CONTROLLED
    ]
    reading = [*(each.ask_forever() for each in clients), *(clients[0].follow_forever(s) for s in ledgers)]
    async with at_work(*reading):
        async with at_work(*(each.write_forever() for each in writers)):
            async with at_work(*(each.operate_forever() for each in operators)):
                await _faults(world, plan, result)
            await asyncio.gather(*(each.settle() for each in operators))
        await _compare_at_rest(world, ledgers, result)
    return result


@asynccontextmanager
async def at_work(*loops: Any) -> Any:
    """Ends them with its block, and the run with the first of them that fails."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in loops]
        yield
        for each in tasks:
            each.cancel()


async def _faults(world: World, plan: Plan, result: Result) -> None:
    """Each fault once at least."""
    began, faults, kinds = time.monotonic(), list[Any](), len(world.faults())
    while time.monotonic() < began + plan.seconds or len(result.waits) < kinds:
        await asyncio.sleep(plan.seconds_between_faults - (time.monotonic() - began) % plan.seconds_between_faults)
        if not faults:
            faults = world.faults()
            world.random.shuffle(faults)
        fault = faults.pop()
        result.answers.longest_gap = 0.0
        try:
            await fault()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            click.echo(f"{fault.__name__} was cut short: {error!r}", err=True)
        await world.until_answered("SELECT 1")
        wait = await result.answers.seconds_until_right(time.monotonic())
        result.waits[fault.__name__].append((wait, result.answers.longest_gap))
        result.memory.append(await _memory(world))
        answers = f"{result.answers.compared.total():,} answers, {len(result.failures)} failures"
        waited = f"{wait:5.2f} s {result.answers.longest_gap:5.1f} s"
        click.echo(f"{time.monotonic() - began:5.0f} s  {fault.__name__:26} {waited}  {answers}", err=True)
        for failure in result.failures[:MOST_PRINTED]:
            click.echo(failure, err=True)


async def _memory(world: World) -> tuple[int, int]:
    pids = ",".join(str(pid) for each in world.instances for pid in each.workers())
    done = await asyncio.to_thread(subprocess.run, ["ps", "-o", "rss=", "-p", pids], capture_output=True, check=False)
    size = await world.until_answered("SELECT pg_database_size(current_database())")
    return max(map(int, done.stdout.split()), default=0) << 10, size


async def _compare_at_rest(world: World, ledgers: dict[int, Ledger], result: Result) -> None:
    """The counters, and each committed message."""
    result.differences += await world.differences()
    owner = await asyncpg.connect(world.owner_url)
    try:
        for sender, ledger in ledgers.items():
            await Operator(0, [], "", world.owner_url, sender, ledger, result.operated).compare(owner)
    finally:
        await owner.close()


@contextmanager
def one_machine(seed: int, kind: type[World]) -> Iterator[World]:
    """A running server, without instances."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        disk = stack.enter_context(small_disk(folder, DISK_BYTES))
        server = CrashableServer(binaries(folder), (disk or folder) / "data")
        server.initialise()
        stack.enter_context(running(server, SERVER))
        yield kind(server, seed, disk)


def run(plan: Plan, kind: type[World] = World, world_of: Callable[..., Any] = one_machine) -> Result:
    """With servers and instances of its own, which end before it returns."""
    with world_of(plan.seed, kind) as world, ExitStack() as stack:
        environment = {f"{PREFIX}DATABASE_URL": world.service_url}
        for _ in range(INSTANCES):
            world.instances.append(Instance(environment))
            stack.callback(world.instances[-1].end)
        return uvloop.run(soak(world, plan))


def main() -> int:
    parser = ArgumentParser("python -m tests.soak.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="[default: 60]")
    parser.add_argument("--seed", type=int, default=1, help="of all choices  [default: 1]")
    parser.add_argument("--cluster", action="store_true", help="on a Citus cluster of three servers")
    options = parser.parse_args()
    plan = Plan(60 * options.minutes, options.seed)
    with run_folder():
        result = run(plan, ClusterWorld, cluster) if options.cluster else run(plan)
    click.echo("\n".join(result.lines()))
    for failure in result.failures[:MOST_PRINTED]:
        click.echo(failure, err=True)
    return 1 if result.failures else 0


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())

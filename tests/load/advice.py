"""What it costs to have the counts of many senders each second: single requests, streams, or a list of the largest.

python -m tests.load.advice --senders 100 --senders 1000 --senders 10000
"""

import asyncio
import json
import random
import resource
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import click

from service.model import Format
from service.settings import Settings
from service.workbench.bench.scratch import open_scratch
from tests.api.wire import STATS, body_of
from tests.load.http import cpu_seconds
from tests.load.processes import ROOT, Checkout
from tests.load.subscribers import subscribers
from tests.soak.clients import Connection

MOST_CONNECTIONS = 100
# With more at once, some wait longer for their first reports than the service allows.
MOST_STREAMS = 1000
TOP = f"{STATS.replace('stats', 'top')}?limit=1000"
# A statement a second changes every tenth sender.
CHANGE = "INSERT INTO messages (sender_id, recipient) SELECT s, 'x' FROM generate_series(1, $1::bigint, 10) AS s"


Sample = tuple[float, float, float]


class Measured:
    """The processor time of a service and of its sessions in PostgreSQL, in cores, and the counts a second."""

    def __init__(self, service_pid: int, postmaster_pid: int | None) -> None:
        self._service, self._postmaster = service_pid, postmaster_pid

    async def run(self, seconds: float, work: Callable[[], Awaitable[int]]) -> Sample:
        """`work` takes about so many seconds, and returns how many counts came."""
        began, service, sessions = time.monotonic(), cpu_seconds(self._service), self._sessions()
        counts = await work()
        took = time.monotonic() - began
        by_session = (after - sessions.get(pid, 0.0) for pid, after in self._sessions().items())
        return (cpu_seconds(self._service) - service) / took, sum(by_session) / took, counts / took

    def _sessions(self) -> dict[int, float]:
        """Not those of the writer and of autovacuum."""
        found: dict[int, float] = {}
        children = Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children")
        for pid in children.read_text().split() if self._postmaster else ():
            with suppress(FileNotFoundError):
                if b"queuestats_service" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found[int(pid)] = cpu_seconds(int(pid))
        return found


async def measure(settings: Settings, options: Namespace) -> list[dict[str, Any]]:
    """Rounds of all variants by turns; the medians."""
    checkout = Checkout(ROOT, settings.owner_url or "", settings.database_url or "")
    checkout.run("migrate")
    checkout.run("seed", "--messages", str(options.messages), "--senders", str(max(options.senders)), "--replace")
    token = checkout.create_token()
    owner = await asyncpg.connect(settings.owner_url)
    postmaster = _parent_of(await owner.fetchval("SELECT pg_backend_pid()"))
    samples: dict[tuple[str, int], list[Sample]] = {}
    # Recounts in the background come and go.
    variables = {"QUEUESTATS_TOKEN_STREAMS": str(max(options.senders)), "QUEUESTATS_PROOF_PERCENT": "0"}
    with checkout.serving_process(**variables) as (port, pid):
        measured = Measured(pid, postmaster)
        # A process is slower at first.
        await poll(port, token, range(1, 101), options.seconds)
        for number in range(options.rounds):
            for count in options.senders:
                click.echo(f"Round {number + 1} of {options.rounds}: {count} senders", err=True)
                for name, sample in await _round(measured, settings.owner_url or "", port, token, count, options):
                    samples.setdefault((name, count), []).append(sample)
                    click.echo(f"{name}: {sample}", err=True)
    await owner.close()
    return [{"variant": name, "senders": count, **_medians(taken)} for (name, count), taken in sorted(samples.items())]


def _parent_of(pid: int) -> int | None:
    """None where the process is on another machine, or in a container."""
    with suppress(FileNotFoundError):
        # The second field is the name of the program in parentheses, the fourth the parent.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


async def _round(
    measured: Measured, owner_url: str, port: int, token: str, count: int, options: Namespace
) -> list[tuple[str, Sample]]:
    seconds, senders = options.seconds, list(range(1, count + 1))
    found = [
        ("nothing", await measured.run(seconds, lambda: _nothing(seconds))),
        ("single requests", await measured.run(seconds, lambda: poll(port, token, senders, seconds))),
        ("top", await measured.run(seconds, lambda: poll_top(port, token, count, seconds))),
    ]
    if count > MOST_STREAMS:
        return found
    streams = Namespace(subscribers=count, interval_ms=1000)
    async with subscribers(port, token, senders, streams) as received:

        async def follow() -> int:
            before = received.reports
            await asyncio.sleep(seconds)
            return received.reports - before

        found.append(("streams, nothing changes", await measured.run(seconds, follow)))
        async with changing(owner_url, count):
            found.append(("streams, a tenth changes each second", await measured.run(seconds, follow)))
    async with changing(owner_url, count):
        found.append(("these writes alone", await measured.run(seconds, lambda: _nothing(seconds))))
    return found


async def _nothing(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return 0


async def poll(port: int, token: str, senders: Sequence[int], seconds: float) -> int:
    """Each sender once a second, or as often as the service answers; the number of answers."""
    connections = min(len(senders), MOST_CONNECTIONS)
    asked = (_poll(port, token, senders[first::connections], seconds) for first in range(connections))
    return sum(await asyncio.gather(*asked))


async def _poll(port: int, token: str, senders: Sequence[int], seconds: float) -> int:
    began = time.monotonic()
    due, pause, answers = began + random.random() / len(senders), 1 / len(senders), 0
    with closing(Connection(random.Random(1), [f"http://127.0.0.1:{port}"])) as connection:
        while max(due, time.monotonic()) < began + seconds:
            await asyncio.sleep(max(0, due - time.monotonic()))
            body = body_of(Format.JSON, token=token, id=senders[answers % len(senders)])
            status, content = await connection.post(STATS, body)
            if status != 200:
                raise RuntimeError(f"stats answers {status}: {content!r}")
            answers, due = answers + 1, due + pause
    return answers


async def poll_top(port: int, token: str, count: int, seconds: float) -> int:
    """The largest senders once a second, a thousand at most."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = 0
    with closing(writer):
        for _ in range(round(seconds)):
            began = time.monotonic()
            writer.write(f"GET {TOP} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            content = await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
            answers += content.count(b'"total"')
            await asyncio.sleep(max(0, began + 1 - time.monotonic()))
    return min(answers, count * round(seconds))


@asynccontextmanager
async def changing(owner_url: str, count: int) -> AsyncIterator[None]:
    """Meanwhile every tenth of the senders changes once a second."""
    connection = await asyncpg.connect(owner_url)

    async def change() -> None:
        while True:
            began = time.monotonic()
            await connection.execute(CHANGE, count)
            await asyncio.sleep(max(0, began + 1 - time.monotonic()))

    task = asyncio.create_task(change())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
        connection.terminate()


def _medians(taken: list[Sample]) -> dict[str, float]:
    names = ("cores of the service", "cores of PostgreSQL", "counts a second")
    return {name: round(median(column), 3) for name, column in zip(names, zip(*taken, strict=True), strict=True)}


def options_of(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser("python -m tests.load.advice", description=__doc__)
    parser.add_argument("--senders", type=int, action="append", help="[default: 100, 1000 and 10000]")
    parser.add_argument("--messages", type=int, default=200_000, help="in the queue  [default: 200000]")
    parser.add_argument("--rounds", type=int, default=3, help="of all variants  [default: 3]")
    parser.add_argument("--seconds", type=float, default=5, help="of a measurement  [default: 5]")
    options = parser.parse_args(arguments)
    options.senders = options.senders or [100, 1000, 10_000]
    return options


def main() -> int:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open_scratch(Settings()) as settings:
        click.echo(json.dumps(asyncio.run(measure(settings, options_of(sys.argv[1:]))), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

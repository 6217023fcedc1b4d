"""The cost of thousands of subscribers: memory, processor time, statements, and the latency of `stats`.

python -m tests.load.subscribers --subscribers 5000 --writing 1000
"""

import asyncio
import json
import resource
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import click

from service.model import Format
from service.settings import Settings
from service.workbench.bench.scratch import open_scratch
from tests.api.wire import STATS, body_of
from tests.load.competitors import SERVICE, Variant, read_json
from tests.load.http import cpu_seconds, run_wrk
from tests.load.processes import ROOT, Checkout

STREAM = STATS.replace("stats", "stream")
# The number of new streams before a pause, because the worker's queue of new connections is limited.
OPENED_AT_ONCE = 200
# The worker processes all streams after they were opened, and after they were closed.
SETTLE_SECONDS = 3


@dataclass
class Received:
    """The number of received reports, and of streams that ended."""

    subscribers: int
    reports: int = 0
    ended: int = 0
    has_first_reports: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, reports: int) -> None:
        self.reports += reports
        if self.reports >= self.subscribers:
            self.has_first_reports.set()


async def measure(settings: Settings, options: Namespace) -> dict[str, Any]:
    """Runs alternating rounds without and with subscribers, with one worker. Returns the medians."""
    checkout = Checkout(ROOT, settings.owner_url or "", settings.database_url or "")
    checkout.run("migrate")
    checkout.run("seed", "--messages", str(options.messages), "--replace")
    token = checkout.create_token()
    senders = list(range(1, options.queries + 1))
    bodies = [body_of(Format.JSON, token=token, id=each, group="total").decode() for each in senders]
    alone, beside, cpu, kilobytes, events, statements = [], [], [], [], [], []
    with ExitStack() as stack:
        port, pid = stack.enter_context(checkout.serving_process(QUEUESTATS_TOKEN_STREAMS=str(options.subscribers)))
        stack.enter_context(checkout.simulating(options.writing, options.queries) if options.writing else nullcontext())
        stats = Variant(SERVICE, f"http://127.0.0.1:{port}{STATS}", bodies, senders, read_json, pid)
        observer = await asyncpg.connect(settings.owner_url)
        for number in range(options.rounds):
            click.echo(f"Round {number + 1} of {options.rounds}", err=True)
            alone.append(await _rate(stats, options))
            before = _resident_kilobytes(pid)
            async with subscribers(port, token, senders, options) as received:
                kilobytes.append((_resident_kilobytes(pid) - before) / options.subscribers)
                cpu_before, events_before, asked_before = cpu_seconds(pid), received.reports, await _calls(observer)
                await asyncio.sleep(options.seconds)
                cpu.append((cpu_seconds(pid) - cpu_before) / options.seconds)
                events.append((received.reports - events_before) / options.seconds)
                statements.append((await _calls(observer) - asked_before) / options.seconds)
                beside.append(await _rate(stats, options))
                if received.ended:
                    raise RuntimeError(f"{received.ended} streams ended.")
        await observer.close()
    return {
        "subscribers": options.subscribers,
        "different queries": len(senders),
        "messages written a second": options.writing,
        "events a second": median(events),
        "transactions of the database a second, writers included": median(statements),
        "cores of the worker": median(cpu),
        "kB of memory a subscriber, first round": kilobytes[0],
        "stats a second alone": median(alone),
        "stats a second beside the subscribers": median(beside),
        "ratio": median(one / other for one, other in zip(beside, alone, strict=True)),
    }


@asynccontextmanager
async def subscribers(port: int, token: str, senders: list[int], options: Namespace) -> AsyncIterator[Received]:
    """Open streams that have received their first event."""
    received = Received(options.subscribers)
    tasks = []
    for number in range(options.subscribers):
        sender_id = senders[number % len(senders)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
        address = f"{STREAM}?id={sender_id}&group=total&interval_ms={options.interval_ms}"
        writer.write(f"GET {address} HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        tasks.append(asyncio.create_task(_read(reader, writer, received)))
        if number % OPENED_AT_ONCE == 0:
            await asyncio.sleep(0.01)
    await received.has_first_reports.wait()
    await asyncio.sleep(SETTLE_SECONDS)
    try:
        yield received
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(SETTLE_SECONDS)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received) -> None:
    try:
        while piece := await reader.read(2**14):
            received.add(piece.count(b"event: report"))
        received.ended += 1
    finally:
        writer.close()


async def _rate(stats: Variant, options: Namespace) -> float:
    found = await asyncio.to_thread(run_wrk, stats, options.connections, options.seconds)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']} requests failed.")
    return found["rate"]


async def _calls(observer: Any) -> int:
    found: int = await observer.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return found


def _resident_kilobytes(pid: int) -> int:
    [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1])


def options_of(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser("python -m tests.load.subscribers", description=__doc__)
    for name, default, meaning in (
        ("subscribers", 5000, "open streams"),
        ("queries", 100, "senders of the streams"),
        ("interval-ms", 1000, "milliseconds between events of a stream"),
        ("messages", 300_000, "messages in the queue"),
        ("writing", 1000, "messages written per second"),
        ("rounds", 5, "rounds without and with subscribers"),
        ("seconds", 4, "seconds of a measurement"),
        ("connections", 32, "connections with stats requests"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning}  [default: {default}]")
    return parser.parse_args(arguments)


def main() -> int:
    options = options_of(sys.argv[1:])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open_scratch(Settings()) as settings:
        click.echo(json.dumps(asyncio.run(measure(settings, options)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

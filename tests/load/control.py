"""Hold, release and purge of a large queue: messages per second, compared with one plain statement, and `stats`.

python -m tests.load.control --messages 10000000 --json > control.json
"""

import asyncio
import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median, quantiles
from typing import Any

import asyncpg
import click
import httpx

from service.access.admin import create_token
from service.model import Action, Scope
from service.settings import Settings
from service.workbench.bench.report import markdown, read_environment
from service.workbench.bench.scratch import open_scratch
from tests.api.wire import STATS
from tests.load.processes import ROOT, Checkout

# `queuestats simulate` writes for senders from 1 on.
CONTROLLED, PLAIN, OTHERS = 1001, 1002, range(1, 51)
FILL = """
INSERT INTO messages (sender_id, account_id, campaign_id, isp, recipient)
SELECT $1, n % 20, n % 300, 'isp ' || n % 50, 'someone@example.com' FROM generate_series(1, $2::bigint) AS n
"""
STATEMENTS = {
    Action.HOLD: "UPDATE messages SET status = 'hold' WHERE sender_id = $1 AND status IN ('new', 'retry')",
    Action.RELEASE: "UPDATE messages SET status = 'new' WHERE sender_id = $1 AND status = 'hold'",
    Action.PURGE: "DELETE FROM messages WHERE sender_id = $1",
}
PENDING = "SELECT count(*) FROM queuestats.deltas"
COMPLETE = ("settling", "done")
STATS_PAUSE_SECONDS = 0.02
LOOK_SECONDS = 0.5
FEWEST_ANSWERS = 2


async def measure_control(settings: Settings, options: Namespace) -> dict[str, Any]:
    """A result for each action. Raises RuntimeError if a request fails or changes other messages than expected."""
    checkout = Checkout(ROOT, settings.owner_url or "", settings.database_url or "")
    checkout.run("migrate")
    owner = await asyncpg.connect(settings.owner_url, command_timeout=None)
    for sender_id, messages in (
        (CONTROLLED, options.messages),
        (PLAIN, options.plain),
        *((each, 100) for each in OTHERS),
    ):
        await owner.execute(FILL, sender_id, messages, timeout=None)
    await owner.execute("VACUUM (ANALYZE) messages", timeout=None)
    token = await create_token(settings.owner_url or "", "load", list(Scope))
    given = {name: getattr(options, name) for name in ("messages", "plain", "writing")}
    observer = await asyncpg.connect(settings.owner_url)
    results = []
    with checkout.serving() as port, checkout.simulating(options.writing, len(OTHERS)):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            probe = Probe(client, observer, token)
            await _folded(owner)
            await probe.run_for(options.quiet)
            before = probe.take("before")
            for action, statement in STATEMENTS.items():
                click.echo(f"{action}: one statement, then a job", err=True)
                began = time.perf_counter()
                await owner.execute(statement, PLAIN, timeout=None)
                plain_rate = options.plain / (time.perf_counter() - began)
                await _folded(owner)
                async with probe.running():
                    rate = options.messages / await _job(client, token, action, options.messages)
                sample = probe.take(action)
                results.append(
                    {
                        "action": action,
                        "messages_per_second": rate,
                        "times_one_statement": rate / plain_rate,
                        "p99_ms_before": before["p99_ms"],
                        **sample,
                        "times_p99_before": sample["p99_ms"] / before["p99_ms"],
                    }
                )
                await _folded(owner)
    differences = await owner.fetch("SELECT * FROM queuestats.audit(NULL)", timeout=None)
    environment = await read_environment(owner, **given)
    await owner.close()
    await observer.close()
    if differences:
        raise RuntimeError(f"The counters differ from a recount in {len(differences)} places.")
    return {
        "benchmark": "tests.load.control",
        "environment": environment,
        "results": results,
        "latency": probe.history,
    }


async def _job(client: httpx.AsyncClient, token: str, action: Action, messages: int) -> float:
    """The seconds until the job for all messages of the sender has ended."""
    began = time.perf_counter()
    body = {"token": token, "id": CONTROLLED}
    answer = await client.post(STATS.replace("stats", action), json=body)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    while True:
        (job, *_) = (await client.post(STATS.replace("stats", "jobs"), json=body)).json()["data"]
        if job["state"] in COMPLETE:
            break
        await asyncio.sleep(LOOK_SECONDS)
    if job["changed"] != messages:
        raise RuntimeError(f"{action} changed {job['changed']} of {messages} messages.")
    return time.perf_counter() - began


async def _folded(owner: Any) -> None:
    """Waits until almost no delta is pending, so that all measurements begin in the same state."""
    while await owner.fetchval(PENDING) > 10_000:  # noqa: ASYNC110 it sends no event when it has folded
        await asyncio.sleep(LOOK_SECONDS)


class Probe:
    """Sends `stats` with short pauses. Records the latencies in ms, and the largest number of pending deltas."""

    def __init__(self, client: httpx.AsyncClient, observer: Any, token: str) -> None:
        self._client, self._observer, self._token = client, observer, token
        self._began = time.perf_counter()
        self._taken: list[tuple[float, float]] = []
        self._most_pending = 0
        self.history: dict[str, list[tuple[float, float]]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Raises the error that ended it early, for example a response other than 200."""
        tasks = [asyncio.create_task(self._ask()), asyncio.create_task(self._look())]
        try:
            yield
            # Some messages are changed before the first response.
            while len(self._taken) < FEWEST_ANSWERS and not any(each.done() for each in tasks):  # noqa: ASYNC110
                await asyncio.sleep(STATS_PAUSE_SECONDS)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)
        for each in tasks:
            if not each.cancelled():
                each.result()

    async def run_for(self, seconds: float) -> None:
        async with self.running():
            await asyncio.sleep(seconds)

    def take(self, name: str) -> dict[str, float]:
        """The figures since the last call of this method."""
        taken, self._taken = self._taken, []
        most_pending, self._most_pending = self._most_pending, 0
        self.history[name] = [(round(at, 2), round(ms, 2)) for at, ms in taken]
        latencies = [ms for _, ms in taken]
        return {
            "p50_ms": median(latencies),
            "p99_ms": quantiles(latencies, n=100)[98],
            "most_ms": max(latencies),
            "most_pending_deltas": most_pending,
        }

    async def _ask(self) -> None:
        while True:
            began = time.perf_counter()
            body = {"token": self._token, "id": CONTROLLED, "group": "account"}
            (await self._client.post(STATS, json=body)).raise_for_status()
            now = time.perf_counter()
            self._taken.append((now - self._began, (now - began) * 1000))
            await asyncio.sleep(STATS_PAUSE_SECONDS)

    async def _look(self) -> None:
        while True:
            self._most_pending = max(self._most_pending, await self._observer.fetchval(PENDING))
            await asyncio.sleep(LOOK_SECONDS)


def options_of(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser("python -m tests.load.control", description=__doc__)
    for name, default, meaning in (
        ("messages", 1_000_000, "messages that a job changes"),
        ("plain", 1_000_000, "messages that one statement changes"),
        ("writing", 200, "messages of other senders written per second"),
        ("quiet", 20, "seconds of stats requests before the jobs"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning}  [default: {default}]")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    return parser.parse_args(arguments)


def main() -> int:
    options = options_of(sys.argv[1:])
    with open_scratch(Settings()) as settings:
        report = asyncio.run(measure_control(settings, options))
    click.echo(json.dumps(report) if options.json else markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

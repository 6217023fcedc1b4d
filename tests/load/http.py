"""Requests a second, latency and processor time of the service and its competitors, in alternating rounds of wrk.

python -m tests.load.http --messages 5000000 --writing 0 --writing 1000 > http.md
python -m tests.load.http --variant service --variant "bare Starlette" --seconds 4    the price of an answer
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import product
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import asyncpg
import click
import httpx

from service.settings import Settings
from service.workbench.bench.report import markdown, median_ratio, read_environment
from service.workbench.bench.scratch import open_scratch
from tests.load.competitors import RATIOS, STATUSES, Counts, Field, Variant, create_competitor_schema, variants
from tests.load.processes import ROOT, Checkout

# Bodies that a variant is sent in turn.
BODIES = 2000
# Answers that are checked before the rounds and after each.
CHECKED_FIRST, CHECKED_AFTER = 100, 5
Samples = Mapping[tuple[int, int, str], list[dict[str, float]]]


def measure_http(settings: Settings, options: Namespace) -> dict[str, Any]:
    """Gives `environment` and `results`. Raises RuntimeError for a wrong answer, or none.

    `settings` name a migrated, disposable database that may be overwritten.
    """
    checkout = _prepared(ROOT, settings, options.messages, options.seed)
    token = checkout.create_token()
    samples: dict[tuple[int, int, str], list[dict[str, float]]] = defaultdict(list)
    with ExitStack() as stack:
        if options.postgraphile:
            create_competitor_schema(checkout)
        baseline = _baseline(stack, options) if options.baseline else None
        for writing in options.writing:
            queue = asyncio.run(_queue(settings.owner_url or ""))
            senders = Random(options.seed).choices(sorted(queue), k=BODIES)
            biggest = max(queue, key=lambda sender_id: sum(queue[sender_id].values()))
            field = Field(checkout, settings.owner_url or "", token, senders, biggest, options.postgraphile, baseline)
            writer = checkout.simulating(writing, len(queue)) if writing else nullcontext()
            with variants(field) as running, writer:
                found = [variant for variant in running if variant.name in (options.variant or [variant.name])]
                expected = None if writing else queue
                for connections, name, sample in _rounds(found, options, expected):
                    samples[writing, connections, name].append(sample)
    environment = asyncio.run(_describe(settings, options))
    return {"benchmark": "tests.load.http", "environment": environment, "results": _results(samples)}


def _rounds(
    found: Sequence[Variant], options: Namespace, expected: Mapping[int, Counts] | None
) -> Iterator[tuple[int, str, dict[str, float]]]:
    for each in found:
        check(each, CHECKED_FIRST, expected)
    for number, connections in product(range(options.rounds), options.connections):
        click.echo(f"Round {number + 1} of {options.rounds}, {connections} connections", err=True)
        # The order changes from round to round: the machine may become slower or faster meanwhile.
        for each in found if number % 2 == 0 else reversed(found):
            yield connections, each.name, run_wrk(each, connections, options.seconds)
            check(each, CHECKED_AFTER, expected)


def check(variant: Variant, count: int, expected: Mapping[int, Counts] | None) -> None:
    """Asks for some senders and compares. `expected` is None while messages are written: then totals add up.

    Raises RuntimeError for a wrong answer.
    """
    with httpx.Client(timeout=120, trust_env=False) as client:
        for body, sender_id in zip(variant.bodies[:count], variant.senders, strict=False):
            response = client.post(variant.url, content=body, headers={"Content-Type": "application/json"})
            counts = variant.read(response.content) if response.status_code == 200 and variant.read else None
            is_right = response.status_code == 200 and (
                variant.read is None or expected is None or counts == expected[sender_id]
            )
            if not is_right:
                raise RuntimeError(f"{variant.name} answers {response.status_code}: {response.text[:200]}")


def run_wrk(variant: Variant, connections: int, seconds: int) -> dict[str, float]:
    """One round, or a longer one where a busy machine gave no answer. Raises RuntimeError where that gives none."""
    for duration in (seconds, 6 * seconds, 36 * seconds):
        began_at = cpu_seconds(variant.process_id)
        result = _run_wrk(variant, connections, duration)
        if result["answers"] > 0:
            return {
                "rate": result["answers"] * 1e6 / result["us"],
                "cpu_us": (cpu_seconds(variant.process_id) - began_at) * 1e6 / result["answers"],
                "p50_ms": result["p50_us"] / 1000,
                "p99_ms": result["p99_us"] / 1000,
                "errors": result["errors"],
            }
    raise RuntimeError(f"{variant.name} gave wrk no answer.")


def cpu_seconds(process_id: int) -> float:
    """The processor time of a process so far, in user and system mode; from Linux's /proc, in steps of 10 ms."""
    # The second field is the name of the program in parentheses, which may hold blanks.
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run_wrk(variant: Variant, connections: int, seconds: int) -> dict[str, int]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as bodies:
        bodies.write("\n".join(variant.bodies))
        bodies.flush()
        options = [f"--connections={connections}", f"--duration={seconds}s", "--threads=1", "--timeout=60s"]
        script = f"--script={ROOT / 'tests/load/wrk.lua'}"
        command = ["wrk", *options, script, variant.url, "--", bodies.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _results(samples: Samples) -> list[dict[str, Any]]:
    """A row for each variant: medians of the rounds, and the medians of the rounds' own ratios."""
    return [
        {
            "written_per_second": writing,
            "connections": connections,
            "variant": name,
            "answers_per_second": median(sample["rate"] for sample in taken),
            "cpu_us_per_answer": median(sample["cpu_us"] for sample in taken),
            "p50_ms": median(sample["p50_ms"] for sample in taken),
            "p99_ms": median(sample["p99_ms"] for sample in taken),
            "errors": sum(int(sample["errors"]) for sample in taken),
            "ratios": _ratios(samples, writing, connections, name, "rate"),
            "cpu_ratios": _ratios(samples, writing, connections, name, "cpu_us"),
        }
        for (writing, connections, name), taken in samples.items()
    ]


def _ratios(samples: Samples, writing: int, connections: int, name: str, measure: str) -> dict[str, float]:
    """Of the variants that are compared with this one."""

    def values(variant: str) -> list[float]:
        return [sample[measure] for sample in samples[writing, connections, variant]]

    return {
        f"{one} / {other}": median_ratio(values(one), values(other))
        for one, other in RATIOS
        if name == other and (writing, connections, one) in samples
    }


def _prepared(root: Path, settings: Settings, messages: int, seed: int) -> Checkout:
    """A checkout whose database is migrated and filled."""
    checkout = Checkout(root, settings.owner_url or "", settings.database_url or "")
    checkout.run("migrate")
    checkout.run("seed", "--messages", str(messages), "--seed", str(seed), "--replace")
    return checkout


def _baseline(stack: ExitStack, options: Namespace) -> tuple[Checkout, str]:
    """Another checkout on a server of its own with the same data set, and its token."""
    settings = stack.enter_context(open_scratch(Settings(), is_migrated=False))
    checkout = _prepared(options.baseline.resolve(), settings, options.messages, options.seed)
    return checkout, checkout.create_token()


async def _queue(url: str) -> dict[int, dict[str, int]]:
    """Every sender's messages by status, counted from the messages themselves."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT sender_id, status, count(*) FROM messages GROUP BY 1, 2")
    finally:
        await connection.close()
    queue: dict[int, dict[str, int]] = {}
    for sender_id, status, count in rows:
        queue.setdefault(sender_id, dict.fromkeys(STATUSES, 0))[status] = count
    return queue


async def _describe(settings: Settings, options: Namespace) -> dict[str, Any]:
    connection = await asyncpg.connect(settings.owner_url)
    try:
        given = {name: getattr(options, name) for name in ("messages", "seed", "rounds", "seconds")}
        return await read_environment(connection, **given)
    finally:
        await connection.close()


def options_of(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser("python -m tests.load.http", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="in the queue  [default: 1000000]")
    parser.add_argument("--seed", type=int, default=1, help="of the data set  [default: 1]")
    parser.add_argument("--rounds", type=int, default=5, help="of each variant in turn  [default: 5]")
    parser.add_argument("--seconds", type=int, default=2, help="of a round  [default: 2]")
    parser.add_argument("--connections", type=int, action="append", help="[default: 32 and 128]")
    parser.add_argument("--variant", action="append", help="only this one; may be repeated  [default: all]")
    parser.add_argument("--writing", type=int, action="append", help="messages a second meanwhile  [default: 0]")
    parser.add_argument("--postgraphile", type=Path, help="the folder with PostGraphile's node_modules")
    parser.add_argument("--baseline", type=Path, help="another checkout, with its .venv, to compare with")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    options = parser.parse_args(arguments)
    options.connections, options.writing = options.connections or [32, 128], options.writing or [0]
    return options


def main() -> int:
    options = options_of(sys.argv[1:])
    if shutil.which("wrk") is None:
        click.echo("wrk is not installed (Debian, Ubuntu: apt install wrk).", err=True)
        return 1
    with open_scratch(Settings()) as settings:
        report = measure_http(settings, options)
    click.echo(json.dumps(report, indent=2) if options.json else markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make load`: a server of its own under the platform's mix, while messages are written; at the end every answer is
compared with the oracle. Exits with 1 on any wrong answer or failed request.
"""

import asyncio
import os
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import asyncpg
import click
import httpx

from service.access.admin import create_token
from service.embedded import EmbeddedServer
from service.model import Format, Grouping, StatsQuery
from service.schema import migrate
from service.workbench.seed import SeedPlan, default_senders, seed
from service.workbench.seed.plan import Profile
from tests.api.wire import ROOT, STATS, body_of, serve_process
from tests.oracle import Message, expected_rows
from tests.servers import scratch_folder
from tests.unit.test_render import read_json_report, read_xml_report

READERS = {Format.JSON: read_json_report, Format.XML: read_xml_report}


@dataclass(frozen=True)
class LoadPlan:
    """How long, how many clients, how many messages at first, and how many a second are written meanwhile."""

    seconds: int = 30
    clients: int = 32
    messages: int = 200_000
    rate: int = 1000

    @property
    def senders(self) -> int:
        return default_senders(self.messages, Profile.PLATFORM)


def load(owner_url: str, service_url: str, plan: LoadPlan) -> list[str]:
    """Runs the load on a migrated, empty database. What was wrong, one sentence each; nothing is a success."""
    token = asyncio.run(prepare(owner_url, plan))
    environment = {"QUEUESTATS_DATABASE_URL": service_url, "QUEUESTATS_ADMIN_DATABASE_URL": owner_url}
    with serve_process(environment) as served:
        with simulation(environment, plan):
            failed = run_locust(served.url, token, plan) != 0
        wrong = compare(served.url, token, asyncio.run(queue(owner_url)))
    return [*(["Requests failed, or were answered wrongly; the report above names them."] if failed else []), *wrong]


async def prepare(owner_url: str, plan: LoadPlan) -> str:
    """Marks the database, fills it, and gives the secret of a token."""
    connection = await asyncpg.connect(owner_url)
    try:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"COMMENT ON DATABASE {name} IS 'queuestats: disposable'")
        await seed(connection, SeedPlan(plan.messages, plan.senders))
    finally:
        await connection.close()
    return await create_token(owner_url, "load")


@contextmanager
def simulation(environment: dict[str, str], plan: LoadPlan) -> Iterator[None]:
    """Messages are written by a process of its own. Raises RuntimeError where it ended before it was told to."""
    options = ["--rate", str(plan.rate), "--senders", str(plan.senders), "--seconds", "86400"]
    command = [sys.executable, "-m", "service", "simulate", *options]
    process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError("`queuestats simulate` ended before the load did.")
    finally:
        process.terminate()
        process.wait(30)


def run_locust(url: str, token: str, plan: LoadPlan) -> int:
    """Prints its summary. The exit code: 0 where every request was answered rightly."""
    options = ["--headless", "--only-summary", "--host", url, "--stop-timeout", "10", "--loglevel", "WARNING"]
    size = ["--users", str(plan.clients), "--spawn-rate", str(plan.clients), "--run-time", f"{plan.seconds}s"]
    command = [sys.executable, "-m", "locust", "--locustfile", "tests/load/locustfile.py", *options, *size]
    given = {"LOAD_TOKEN": token, "LOAD_SENDERS": str(plan.senders), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env={**os.environ, **given}, cwd=ROOT, check=False).returncode


async def queue(owner_url: str) -> dict[int, list[Message]]:
    """The messages that are there in the end, by sender."""
    connection = await asyncpg.connect(owner_url)
    try:
        rows = await connection.fetch("SELECT sender_id, account_id, campaign_id, isp, status FROM messages")
    finally:
        await connection.close()
    by_sender = defaultdict(list)
    for row in rows:
        by_sender[row["sender_id"]].append(Message(*row))
    return by_sender


def compare(url: str, token: str, messages: dict[int, list[Message]]) -> list[str]:
    """Asks for every sender and group, in both formats by turns; a sentence for each answer that the oracle denies."""
    queries = [StatsQuery(sender_id, grouping=grouping) for sender_id in messages for grouping in Grouping]
    wrong = []
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        for query, format in zip(queries, cycle(Format), strict=False):
            body = body_of(format, token=token, id=query.sender_id, group=query.grouping.value)
            response = client.post(STATS, content=body)
            is_right = response.status_code == 200
            if not is_right or READERS[format](response.content) != expected_rows(messages[query.sender_id], query):
                wrong.append(f"Sender {query.sender_id}, group {query.grouping}: {response.text[:1000]}")
    return wrong


def positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise ArgumentTypeError("must be a whole number from 1")
    return int(text)


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    for name, default in vars(LoadPlan()).items():
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"[default: {default}]")
    plan = LoadPlan(**vars(parser.parse_args()))
    with scratch_folder() as folder, EmbeddedServer(Path(folder) / "data") as server:
        click.echo(f"Preparing {plan.messages:,} messages of {plan.senders:,} senders ...")
        asyncio.run(migrate(server.owner_url, server.service_url))
        wrong = load(server.owner_url, server.service_url, plan)
    for sentence in wrong[:20]:
        click.echo(sentence, err=True)
    click.echo(f"{len(wrong)} wrong." if wrong else "Every sender's answer is what the oracle counts.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

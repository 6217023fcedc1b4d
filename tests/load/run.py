"""`make load`: a thousand clients poll a new server while messages are written.

Half of the responses are for senders whose writers have a journal, and are compared with it. At the end, responses for
every sender are compared with the oracle. The exit code is 1 after any wrong response or failed request.
"""

import asyncio
import os
import resource
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
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
from tests.load.journal import Entry, NotedLedger, read_answers, wrong_answers
from tests.oracle import Message, expected_rows
from tests.servers import scratch_folder
from tests.soak.run import at_work
from tests.soak.writers import PLATFORM, Writer, Written
from tests.unit.test_render import read_json_report, read_xml_report

# Senders whose writers have a journal.
NOTED_SENDERS = 20
NOTING_WRITERS = 2
CLIENTS_AT_ONCE = 32
READERS = {Format.JSON: read_json_report, Format.XML: read_xml_report}


@dataclass(frozen=True)
class LoadPlan:
    """The duration, the number of clients, the seconds of the pause between their requests, the number of messages at
    the start, and the number of messages that are written per second."""

    seconds: float = 300
    clients: int = 1000
    pause: float = 2
    messages: int = 200_000
    rate: int = 1000

    @property
    def senders(self) -> int:
        return default_senders(self.messages, Profile.PLATFORM)


@dataclass
class Outcome:
    """`wrong` has a sentence for each wrong response and failed request. It is empty after a success."""

    compared: int
    wrong: list[str]


def load(owner_url: str, service_url: str, plan: LoadPlan) -> Outcome:
    """Runs the load on a migrated, empty database."""
    token = asyncio.run(prepare(owner_url, plan))
    environment = {"QUEUESTATS_DATABASE_URL": service_url, "QUEUESTATS_ADMIN_DATABASE_URL": owner_url}
    journal: list[Entry] = []
    with serve_process(environment) as served, scratch_folder() as folder:
        answers = folder / "answers"
        with simulation(environment, plan):
            failed = asyncio.run(noted_load(owner_url, served.url, token, plan, journal, answers)) != 0
        found = read_answers(answers.read_text("utf-8").splitlines())
        wrong = [*wrong_answers(journal, found), *compare(served.url, token, asyncio.run(queue(owner_url)))]
    return Outcome(len(found), [*(["Requests failed; the report above names them."] if failed else []), *wrong])


async def noted_load(owner_url: str, url: str, token: str, plan: LoadPlan, journal: list[Entry], answers: Path) -> int:
    """The exit code of Locust. During its run, writers with a journal write messages of further senders."""
    senders = range(plan.senders + 1, plan.senders + 1 + NOTED_SENDERS)
    ledgers = {sender_id: NotedLedger(sender_id, journal) for sender_id in senders}
    writers = [Writer(seed, owner_url, ledgers, Written()) for seed in range(NOTING_WRITERS)]
    async with AsyncExitStack() as stack, at_work(*(writer.write_forever() for writer in writers)):
        code = await asyncio.to_thread(run_locust, url, token, plan, answers)
        # No transaction is open when the writers end, so the table has all their messages.
        for ledger in ledgers.values():
            await stack.enter_async_context(ledger.closed())
    return code


async def prepare(owner_url: str, plan: LoadPlan) -> str:
    """Marks the database, fills it, and returns the secret of a token."""
    connection = await asyncpg.connect(owner_url)
    try:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"COMMENT ON DATABASE {name} IS 'queuestats: disposable'")
        await seed(connection, SeedPlan(plan.messages, plan.senders))
        await connection.execute(PLATFORM)
    finally:
        await connection.close()
    return await create_token(owner_url, "load")


@contextmanager
def simulation(environment: dict[str, str], plan: LoadPlan) -> Iterator[None]:
    """Runs a separate process that writes messages. Raises RuntimeError if it ended early."""
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


def run_locust(url: str, token: str, plan: LoadPlan, answers: Path) -> int:
    """Prints the summary. The exit code is 0 if every response was correct."""
    spawn_rate = max(CLIENTS_AT_ONCE, plan.clients / 10)
    options = ["--headless", "--only-summary", "--host", url, "--stop-timeout", "10", "--loglevel", "WARNING"]
    size = ["--users", str(plan.clients), "--spawn-rate", str(spawn_rate), "--run-time", f"{plan.seconds:.0f}s"]
    command = [sys.executable, "-m", "locust", "--locustfile", "tests/load/locustfile.py", *options, *size]
    given = {"LOAD_TOKEN": token, "LOAD_SENDERS": str(plan.senders), "LOAD_PAUSE": str(plan.pause)}
    noted = {"LOAD_NOTED": str(NOTED_SENDERS), "LOAD_ANSWERS": str(answers), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env={**os.environ, **given, **noted}, cwd=ROOT, check=False).returncode


async def queue(owner_url: str) -> dict[int, list[Message]]:
    """The messages at the end, by sender."""
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
    """Requests every sender and group, in alternating formats. A sentence for each response unlike the oracle."""
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


def positive(text: str) -> float:
    try:
        if (number := float(text)) > 0:
            return int(number) if number.is_integer() else number
    except ValueError:
        pass
    raise ArgumentTypeError("must be a number above 0")


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=positive, default=5, help="[default: 5]")
    for name, default in list(vars(LoadPlan()).items())[1:]:
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"[default: {default}]")
    given = vars(parser.parse_args())
    plan = LoadPlan(60 * given.pop("minutes"), **given)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with scratch_folder() as folder, EmbeddedServer(Path(folder) / "data") as server:
        click.echo(f"Preparing {plan.messages:,} messages of {plan.senders:,} senders ...")
        asyncio.run(migrate(server.owner_url, server.service_url))
        outcome = load(server.owner_url, server.service_url, plan)
    for sentence in outcome.wrong[:20]:
        click.echo(sentence, err=True)
    click.echo(f"{outcome.compared:,} answers compared with the journal, then every sender's with the oracle.")
    click.echo(f"{len(outcome.wrong)} wrong." if outcome.wrong else "None is wrong.")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

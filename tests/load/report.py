"""The cost of a report on many senders, compared with single requests, and the cost of its rows in the database.

python -m tests.load.report --rounds 20
"""

import asyncio
import http.client
import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import click

from service.db import load_statement
from service.model import ReportQuery
from service.queue.report import report_parameters
from service.settings import Settings
from service.workbench.bench.scratch import open_scratch
from tests.api.wire import STATS
from tests.load.processes import ROOT, Checkout

SENDERS = list(range(1, 1001))
ROWS = 10_000


def cpu_ms(pid: int) -> float:
    """The processor time of the first thread of a process: its event loop, or a backend."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def cost(pid: int, work: Callable[[], object], rounds: int) -> float:
    """The milliseconds of the process for one request, as the median."""
    found = []
    for _ in range(rounds):
        before = cpu_ms(pid)
        work()
        found.append(cpu_ms(pid) - before)
    return median(found)


def over_http(port: int, pid: int, token: str, rounds: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(name: str, coding: str = "identity", /, **members: Any) -> None:
        headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": coding}
        connection.request("POST", STATS.replace("stats", name), json.dumps(members), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.read())
        response.read()

    def singles() -> None:
        for sender_id in SENDERS:
            post("stats", id=sender_id)

    page: dict[str, Any] = {"by": ["sender", "isp"], "limit": ROWS}
    post("report", **page)
    single, many = cost(pid, singles, 3), cost(pid, lambda: post("report", senders=SENDERS), rounds)
    found = {"1,000 requests for a total, ms": single, "1,000 senders, ms": many, "ratio": single / many}
    for format in ("json", "xml", "csv"):
        found[f"10,000 rows, {format}, ms"] = cost(pid, lambda: post("report", **page, format=format), rounds)  # noqa: B023
    return found | {"10,000 rows, json, gzip, ms": cost(pid, lambda: post("report", "gzip", **page), rounds)}


async def in_the_database(url: str, rounds: int) -> dict[str, float]:
    """The microseconds of the backend for a row, with the statements in turn."""
    connection = await asyncpg.connect(url)
    total, report = load_statement("queries/from_counters/total"), load_statement("queries/report/from_counters")
    nothing = dict.fromkeys(("account_id", "campaign_id", "isp"), [None] * len(SENDERS))
    parameters = report_parameters(ReportQuery(sender_ids=tuple(SENDERS)), None, 2000)
    calls = [(total, total.bind({"sender_id": SENDERS, **nothing})), (report, report.bind(parameters))]
    found: dict[str, list[float]] = {total.name: [], report.name: []}
    for _ in range(10 * rounds):
        for statement, given in calls:
            before = cpu_ms(connection.get_server_pid())
            rows = await connection.fetch(statement.sql, *given)
            found[statement.name].append(1000 * (cpu_ms(connection.get_server_pid()) - before) / len(rows))
    await connection.close()
    return {f"{name}, us a row": median(times) for name, times in found.items()}


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with open_scratch(Settings()) as settings:
        checkout = Checkout(ROOT, settings.owner_url or "", settings.database_url or "")
        checkout.run("seed", "--messages", str(options.messages), "--senders", "2000", "--replace")
        checkout.run("fold")
        with checkout.serving_process() as (port, pid):
            found = over_http(port, pid, checkout.create_token(), options.rounds)
        found |= asyncio.run(in_the_database(settings.database_url or "", options.rounds))
    for name, number in found.items():
        click.echo(f"{name:45} {number:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

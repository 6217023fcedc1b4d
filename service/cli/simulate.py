"""queuestats simulate"""

import asyncio
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from service.cli.options import Number, database_options, open_database, owner_url
from service.cli.output import print_table
from service.settings import Settings

if TYPE_CHECKING:
    from service.simulate import SimulationPlan, SimulationReport

RATE, SECONDS = Number(0.01, 10**6, float), Number(0.01, 31 * 24 * 3600, float)


@click.command()
@click.option("--rate", type=RATE, default=1000.0, show_default=True, help="messages enqueued a second")
@click.option("--seconds", type=SECONDS, default=60.0, show_default=True, help="for how long; Ctrl-C ends it earlier")
@click.option("--batch", type=Number(1, 10_000), default=100, show_default=True, help="messages a statement")
@click.option("--connections", type=Number(1, 100), default=2, show_default=True, help="agents at once")
@click.option(
    "--senders", type=Number(1, 10**6), default=1000, show_default=True, help="whose messages come; the first has most"
)
@click.option("--json", "as_json", is_flag=True, help="print what was done as JSON")
@database_options
def simulate(
    settings: Settings, rate: float, seconds: float, batch: int, connections: int, senders: int, as_json: bool
) -> None:
    """Play a mail transfer agent: enqueue, take, retry and finish messages, THOSE THAT ARE THERE TOO.

    Only on a database that is marked disposable, as queuestats seed --help says.

    \b
    Example: queuestats simulate --rate 1000 --seconds 30
    """
    from service.simulate import SimulationPlan

    plan = SimulationPlan(rate, seconds, batch, connections, senders)
    with open_database(settings) as opened:
        report = asyncio.run(_play(owner_url(opened), plan))
    done = {**asdict(report.totals), "rate": round(report.rate, 1)}
    print_table([done], tuple(done), as_json)


async def _play(url: str, plan: "SimulationPlan") -> "SimulationReport":
    """Until the time is up or a signal comes, which ends it in order."""
    from service.simulate import simulate as play

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await play(url, plan, stop)

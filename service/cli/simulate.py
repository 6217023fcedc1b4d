import asyncio
from dataclasses import asdict

import click

from service.cli.interrupts import ENDING
from service.cli.options import json_option, on_database, owner_url
from service.cli.output import print_table
from service.cli.types import FiniteRange
from service.settings import Settings


@click.command()
@click.option("--rate", type=FiniteRange(0.01, 10**6), default=1000.0, help="messages enqueued a second")
@click.option(
    "--seconds", type=FiniteRange(0.01, 31 * 24 * 3600), default=60.0, help="for how long; Ctrl-C ends it earlier"
)
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, help="messages a statement")
@click.option("--connections", type=click.IntRange(1, 100), default=2, help="agents at once")
@click.option("--senders", type=click.IntRange(1, 10**6), default=1000, help="whose messages come; the first has most")
@json_option("what was done")
@on_database
async def simulate(
    settings: Settings, rate: float, seconds: float, batch: int, connections: int, senders: int, as_json: bool
) -> None:
    """Play a mail transfer agent: enqueue, take, retry and finish messages, THOSE THAT ARE THERE TOO.

    Only on a database that is marked disposable, as queuestats seed --help says.

    \b
    Example: queuestats simulate --rate 1000 --seconds 30
    """
    from service.workbench.simulate import SimulationPlan, Totals
    from service.workbench.simulate import simulate as play

    plan, totals, stop = SimulationPlan(rate, seconds, batch, connections, senders), Totals(), asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    took_seconds = await play(owner_url(settings), plan, totals, stop)
    done = {**asdict(totals), "rate": round(totals.enqueued / took_seconds, 1)}
    print_table(done, [done], as_json)

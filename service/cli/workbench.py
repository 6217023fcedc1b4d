import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.cli.interrupts import ENDING, run
from service.cli.options import command, in_order, json_option, on_database, owner_url, settings_options
from service.cli.output import print_table, progress
from service.cli.types import FiniteRange
from service.settings import Settings

if TYPE_CHECKING:
    from service.db import Connection
    from service.workbench.seed import SeedPlan

Measure = Callable[..., Coroutine[Any, Any, dict[str, Any]]]

MESSAGES = click.IntRange(1, 10**9)
SENDERS = click.IntRange(1, 10**6)
SEED = click.IntRange(0, 2**31 - 1)
BENCH_OPTIONS = in_order(
    click.option("--seed", type=SEED, default=1, help="seed of the data set; the same seed generates the same rows"),
    json_option("the environment and all results"),
    settings_options("database_url", "admin_database_url"),
)
rounds_option = partial(
    click.option,
    "--rounds",
    type=click.IntRange(1, 100),
    help="number of rounds; a round measures every variant in turn",
)


@command("seed --messages 100000 --seed 7")
@click.option("--messages", type=MESSAGES, default=1_000_000, help="number of messages")
@click.option("--senders", type=SENDERS, help="number of senders  [default: 1000, fewer for few messages]")
@click.option(
    "--seed", "seed_number", type=SEED, default=1, help="seed of the data set; the same seed generates the same rows"
)
@click.option(
    "--profile",
    type=click.Choice(["platform", "single", "uniform"]),
    default="platform",
    help="platform: a few large and many small senders; single: one sender has all messages; uniform: all senders have"
    " the same number of messages",
)
@click.option("--replace", is_flag=True, help="empty the table first: ALL ITS MESSAGES ARE LOST")
@on_database
async def seed(
    settings: Settings, messages: int, senders: int | None, seed_number: int, profile: str, replace: bool
) -> None:
    """Fill a disposable database with a deterministic sample queue.

    To mark a database as disposable, run this as its owner:
    queuestats psql -c "COMMENT ON DATABASE name IS 'queuestats: disposable'"
    """
    from service.db import connect
    from service.workbench.seed import Profile, SeedPlan, default_senders

    kind = Profile(profile)
    plan = SeedPlan(messages, default_senders(messages, kind) if senders is None else senders, seed_number, kind)
    async with connect(owner_url(settings)) as connection:
        await seed_with_progress(connection, plan, replace=replace)


async def seed_with_progress(connection: "Connection", plan: "SeedPlan", *, replace: bool = False) -> None:
    """As `service.workbench.seed.seed`, and prints its progress and duration."""
    from service.workbench.seed import seed as fill

    with progress("Seeding", plan.messages) as advance:
        seconds = await fill(connection, plan, advance, replace=replace)
    rate = plan.messages / max(seconds, 0.001)
    click.echo(f"Seeded {plan.messages:,} messages of {plan.senders:,} senders in {seconds:.1f} s ({rate:,.0f}/s).")


@command("simulate --rate 1000 --seconds 30")
@click.option("--rate", type=FiniteRange(0.01, 10**6), default=1000.0, help="messages enqueued per second")
@click.option(
    "--seconds",
    type=FiniteRange(0.01, 31 * 24 * 3600),
    default=60.0,
    help="duration in seconds; Ctrl-C ends the simulation earlier",
)
@click.option("--batch", "batch_messages", type=click.IntRange(1, 10_000), default=100, help="messages per statement")
@click.option("--connections", type=click.IntRange(1, 100), default=2, help="number of concurrent agents")
@click.option("--senders", type=SENDERS, default=1000, help="number of senders; the first sender has the most messages")
@json_option("the totals")
@on_database
async def simulate(settings: Settings, as_json: bool, **of_plan: Any) -> None:
    """Simulate a mail transfer agent on a disposable database.

    The agent enqueues, takes, retries and finishes messages, INCLUDING MESSAGES THAT ALREADY EXIST. The command runs
    only on a database that is marked disposable: see queuestats seed --help.
    """
    from service.workbench.simulate import SimulationPlan, Totals
    from service.workbench.simulate import simulate as play

    plan, totals, stop = SimulationPlan(**of_plan), Totals(), asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    took_seconds = await play(owner_url(settings), plan, totals, stop)
    done = {**asdict(totals), "rate": round(totals.enqueued / took_seconds, 1)}
    print_table(done, [done], as_json)


@click.group()
def bench() -> None:
    """Measure the time of queries, what counting costs writers, and the costs of a node of a cluster.

    sql and write use a scratch PostgreSQL in /var/tmp or TMPDIR, unless you give the address of a database. This
    database must be marked disposable, and ALL ITS MESSAGES ARE LOST.

    \b
    Example: queuestats bench sql --sizes 10000,1000000
    """


def _sizes(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    return tuple(MESSAGES(size, parameter, context) for size in text.split(","))


@command("bench sql --sizes 10000,1000000 --json > sql.json", bench)
@click.option(
    "--sizes",
    default="100000,1000000,10000000",
    callback=_sizes,
    help="numbers of messages of the queues, separated by commas",
)
@rounds_option(default=3)
@BENCH_OPTIONS
def sql(settings: Settings, as_json: bool, **options: Any) -> None:
    """Measure the time of a query for queues of several sizes.

    The command measures the counters, a scan of the messages, and the candidates that were not chosen.

    A queue of 10,000,000 messages needs 8 GB of disk and ten minutes; a queue of 100,000,000 messages needs ten times
    as much.
    """
    from service.workbench.bench.sql import measure_sql

    _measure(measure_sql, settings, as_json, options)


@command("bench write --rounds 3", bench)
@rounds_option(default=7)
@click.option("--seconds", type=click.IntRange(1, 600), default=5, help="duration of one run of pgbench, in seconds")
@click.option("--messages", type=MESSAGES, default=100_000, help="messages in the queue during a run")
@click.option("--candidates", "has_candidates", is_flag=True, help="also measure the indexes of sql/candidates")
@BENCH_OPTIONS
def write(settings: Settings, as_json: bool, **options: Any) -> None:
    """Measure what counting costs writers.

    pgbench writes messages with and without the triggers of the counters. The results are messages per second. Other
    writes to the same disk change the results.
    """
    from service.workbench.bench.write import measure_write

    _measure(measure_write, settings, as_json, options)


@command("bench cluster --shards 64 --json > cluster.json", bench)
@click.option("--shards", type=click.IntRange(2, 10_000), default=64, help="shards of all nodes")
@rounds_option(default=8)
@click.option("--senders", type=SENDERS, default=300, help="number of senders, on all nodes")
@json_option("the environment and all results")
@settings_options("database_url", "admin_database_url")
def cluster(settings: Settings, as_json: bool, **options: Any) -> None:
    """Measure what reads, folds, writes and moves cost on a node of a Citus cluster, relative to one PostgreSQL.

    The addresses are those of a database of the coordinator that is marked disposable. This database does not change:
    the command creates databases on all nodes, and drops them at the end. The role in QUEUESTATS_ADMIN_DATABASE_URL
    must be a superuser.
    """
    from service.workbench.bench.cluster import measure_cluster

    _print(run(measure_cluster(settings, _print_progress, **options)), as_json)


def _measure(measure: Measure, settings: Settings, as_json: bool, options: dict[str, Any]) -> None:
    from service.workbench.bench.scratch import open_scratch

    with open_scratch(settings) as scratch:
        report = run(measure(scratch, _print_progress, **options))
    _print(report, as_json)


def _print_progress(line: str) -> None:
    click.echo(line, err=True)


def _print(report: dict[str, Any], as_json: bool) -> None:
    from service.workbench.bench.report import markdown

    click.echo(msgspec.json.format(msgspec.json.encode(report)) if as_json else markdown(report), nl=as_json)

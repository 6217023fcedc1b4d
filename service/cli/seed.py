"""queuestats seed"""

from typing import TYPE_CHECKING, Any

import click

from service.cli.interrupts import run
from service.cli.options import database_options, open_database, owner_url
from service.settings import Settings

if TYPE_CHECKING:
    from service.seed import Profile, SeedPlan, SeedReport


def _profile(context: click.Context, parameter: click.Parameter, word: str) -> "Profile":
    from service.seed import Profile

    if word not in list(Profile):
        raise click.BadParameter(f"one of {', '.join(Profile)}.")
    return Profile(word)


@click.command()
@click.option("--messages", type=int, default=1_000_000, show_default=True, help="how many in all")
@click.option("--senders", type=int, help="how many senders share them  [default: 1000, fewer in a small set]")
@click.option("--seed", "seed_number", type=int, default=1, show_default=True, help="same seed, same rows")
@click.option(
    "--profile",
    callback=_profile,
    default="platform",
    show_default=True,
    help="platform: few big senders, many small; single: one sender has all; uniform: all alike",
)
@click.option("--replace", is_flag=True, help="empty the table first: EVERY MESSAGE IN IT IS LOST")
@database_options
def seed(
    settings: Settings, messages: int, senders: int | None, seed_number: int, profile: "Profile", replace: bool
) -> None:
    """Fill a disposable database with a deterministic, realistic queue.

    A database is disposable when its owner has said so:
    queuestats psql -c "COMMENT ON DATABASE name IS 'queuestats: disposable'"

    \b
    Example: queuestats seed --messages 100000 --seed 7
    """
    from service.seed import SeedPlan, default_senders

    plan = SeedPlan(messages, default_senders(messages, profile) if senders is None else senders, seed_number, profile)
    with open_database(settings) as opened:
        report = run(_seed(owner_url(opened), plan, replace))
    click.echo(describe(report))


async def _seed(url: str, plan: "SeedPlan", replace: bool) -> "SeedReport":
    from service.db import connect

    async with connect(url) as connection:
        return await seed_with_progress(connection, plan, replace=replace)


async def seed_with_progress(connection: Any, plan: "SeedPlan", *, replace: bool = False) -> "SeedReport":
    """As `seed`, with a bar on a terminal and a line every tenth elsewhere."""
    from service.cli.progress import progress
    from service.seed import seed as fill

    with progress("Seeding", plan.messages) as advance:
        return await fill(connection, plan, advance, replace=replace)


def describe(report: "SeedReport") -> str:
    rate = report.messages / max(report.seconds, 0.001)
    return (
        f"Seeded {report.messages:,} messages of {report.senders:,} senders in {report.seconds:.1f} s ({rate:,.0f}/s)."
    )

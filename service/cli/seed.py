from typing import TYPE_CHECKING

import click

from service.cli.options import on_database, owner_url
from service.cli.output import progress
from service.settings import Settings

if TYPE_CHECKING:
    from service.db import Connection
    from service.workbench.seed import SeedPlan


@click.command()
@click.option("--messages", type=click.IntRange(1, 10**9), default=1_000_000, help="how many in all")
@click.option(
    "--senders",
    type=click.IntRange(1, 10**6),
    help="how many senders share them  [default: 1000, fewer in a small set]",
)
@click.option("--seed", "seed_number", type=click.IntRange(0, 2**31 - 1), default=1, help="same seed, same rows")
@click.option(
    "--profile",
    type=click.Choice(["platform", "single", "uniform"]),
    default="platform",
    help="platform: few big senders, many small; single: one sender has all; uniform: all alike",
)
@click.option("--replace", is_flag=True, help="empty the table first: EVERY MESSAGE IN IT IS LOST")
@on_database
async def seed(
    settings: Settings, messages: int, senders: int | None, seed_number: int, profile: str, replace: bool
) -> None:
    """Fill a disposable database with a deterministic, realistic queue.

    A database is disposable when its owner has said so:
    queuestats psql -c "COMMENT ON DATABASE name IS 'queuestats: disposable'"

    \b
    Example: queuestats seed --messages 100000 --seed 7
    """
    from service.db import connect
    from service.workbench.seed import Profile, SeedPlan, default_senders

    kind = Profile(profile)
    plan = SeedPlan(messages, default_senders(messages, kind) if senders is None else senders, seed_number, kind)
    async with connect(owner_url(settings)) as connection:
        await seed_with_progress(connection, plan, replace=replace)


async def seed_with_progress(connection: "Connection", plan: "SeedPlan", *, replace: bool = False) -> None:
    """As `service.workbench.seed.seed`, with its progress and the time that it took."""
    from service.workbench.seed import seed as fill

    with progress("Seeding", plan.messages) as advance:
        seconds = await fill(connection, plan, advance, replace=replace)
    rate = plan.messages / max(seconds, 0.001)
    click.echo(f"Seeded {plan.messages:,} messages of {plan.senders:,} senders in {seconds:.1f} s ({rate:,.0f}/s).")

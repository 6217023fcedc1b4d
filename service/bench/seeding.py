"""`queuestats seed` beside the plainest way to write the same rows: the same indexes and counters, one statement."""

import time

from service.bench.figures import Figure, Figures, ratio
from service.bench.ground import Ground
from service.bench.rounds import Tell, in_turn
from service.bench.writers import tidy
from service.db import connect
from service.seed import Profile, SeedPlan, default_senders, seed

SEEDED, COPIED = "seed", "INSERT … SELECT of the same rows"
# Of the rate of the plain statement.
SEED_BAR = 0.8


async def fill_platform(ground: Ground, messages: int, seed_number: int) -> None:
    """A data set of the profile `platform`; what was there is gone."""
    plan = SeedPlan(messages, default_senders(messages, Profile.PLATFORM), seed_number)
    async with connect(ground.owner_url) as connection:
        await seed(connection, plan, lambda done: None, replace=True)


async def time_seeding(
    ground: Ground, messages: int, seed_number: int, rounds: int, seconds: Figures, tell: Tell
) -> None:
    """Each in turn, into an emptied table that is analysed at the end; the times go into `seconds`."""
    tell(f"Seeding {messages:,} messages")
    await fill_platform(ground, messages, seed_number)
    await ground.execute("bench/copy")
    try:
        for number in range(rounds):
            tell(f"Seeding: round {number + 1} of {rounds}")
            for name in in_turn((SEEDED, COPIED), number):
                await tidy(ground)
                began = time.perf_counter()
                if name == SEEDED:
                    await fill_platform(ground, messages, seed_number)
                else:
                    await ground.execute("bench/copy_back", "seed/analyze")
                seconds.add(time.perf_counter() - began, what="seeding", contestant=name)
    finally:
        await ground.execute("bench/copy_drop")


def seed_ratio(seconds: Figures) -> Figure:
    copied, seeded = (seconds.of(what="seeding", contestant=each) for each in (COPIED, SEEDED))
    return ratio(copied, seeded, {"ratio": f"{SEEDED} / {COPIED}"}, is_more_better=True, bar=SEED_BAR)

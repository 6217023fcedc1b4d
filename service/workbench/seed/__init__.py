"""A realistic queue for demonstrations, tests and benchmarks; the same plan always gives the same rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from typing import Any

from service.cluster.commands import require_one_machine
from service.db import Connection, fetch, require_disposable
from service.errors import CommandError
from service.workbench.seed.plan import Burst, Profile, SeedPlan, bursts, default_senders

__all__ = ["Profile", "SeedPlan", "default_senders", "seed"]

CHUNK_MESSAGES = 50_000
# The moment at which every data set stands still. Fixed, so that its times are the same whenever it is made.
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
# A queue runs once a minute, and no retry waits for more than two hours or so.
DUE_ATS = [AS_OF + timedelta(minutes=minute) for minute in range(1, 129)]
# A draw of sql/seed/insert_bursts.sql is a whole number below this.
DRAWS = 2**36
# The oldest message has waited this long; what older ones there were has expired.
SPAN_US = 5 * 24 * 3600 * 1_000_000

# Bursts, each with the number of messages before it.
Chunk = Sequence[tuple[int, Burst]]


async def seed(
    connection: Connection, plan: SeedPlan, progress: Callable[[int], object] = lambda _: None, *, replace: bool = False
) -> float:
    """Fills an empty queue in one transaction, or with `replace` a full one; how many seconds it took.

    `progress` gets the number of messages written so far, after each chunk. `connection` is the owner's, in no
    transaction. Other writers wait.

    Raises CommandError, with nothing changed, where the database is not marked disposable or the queue is not empty.
    """
    began = time.perf_counter()
    async with connection.transaction():
        await _prepare(connection, replace)
        for chunk in chunks(bursts(plan), CHUNK_MESSAGES):
            await fetch(connection, "seed/insert_bursts", **parameters(plan, chunk))
            before, last = chunk[-1]
            progress(before + last.size)
        # The ids are written out: they stand for the order of arrival, whatever the identity had given out before.
        await fetch(connection, "seed/number_on", last_id=plan.messages)
    await fetch(connection, "seed/analyze")
    return time.perf_counter() - began


async def _prepare(connection: Connection, replace: bool) -> None:
    await require_disposable(connection)
    await require_one_machine(connection, "seed it before `queuestats migrate --distribute`")
    await fetch(connection, "seed/limits")
    await fetch(connection, "seed/empty" if replace else "seed/lock")
    if not replace and (await fetch(connection, "seed/occupied"))[0][0]:
        raise CommandError("The queue is not empty, so nothing was written; --replace throws its messages away first.")


def chunks(bursts: Sequence[Burst], chunk_messages: int) -> Iterator[Chunk]:
    """All bursts in order, about so many messages at a time; a burst is never cut."""
    before = accumulate((burst.size for burst in bursts), initial=0)
    for _, chunk in groupby(zip(before, bursts, strict=False), key=lambda numbered: numbered[0] // chunk_messages):
        yield list(chunk)


def parameters(plan: SeedPlan, chunk: Chunk) -> dict[str, Any]:
    """One array for each column of the bursts, in the order of arrival."""
    numbers_before, found = zip(*chunk, strict=True)
    _, sender_ids, account_ids, campaign_ids, sizes, mixes = zip(*found, strict=True)
    # Of the older messages, fewer are left.
    ages_us = [SPAN_US * (plan.messages - number) ** 2 // plan.messages**2 for number in numbers_before]
    return {
        # Odd, and another for every seed.
        "salt": (2 * plan.seed * 1_640_531_527 + 1) % 2**32,
        "as_of": AS_OF,
        "due_ats": DUE_ATS,
        "first_ids": [number + 1 for number in numbers_before],
        "created_ats": [AS_OF - timedelta(microseconds=age) for age in ages_us],
        "sizes": sizes,
        "sender_ids": sender_ids,
        "account_ids": account_ids,
        "campaign_ids": campaign_ids,
        # The draws that so many percent of all draws stay below.
        "upto_news": [DRAWS * mix.new // 100 for mix in mixes],
        "upto_procs": [DRAWS * (mix.new + mix.proc) // 100 for mix in mixes],
        "upto_retries": [DRAWS * (mix.new + mix.proc + mix.retry) // 100 for mix in mixes],
        "attempts": [mix.attempts for mix in mixes],
    }

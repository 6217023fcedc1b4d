"""A realistic queue for demonstrations, tests and benchmarks; the same plan always has the same rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from typing import Any

from service.db import Connection, fetch, require_disposable
from service.errors import CommandError
from service.workbench.seed.plan import Burst, Profile, SeedPlan, bursts, default_senders

__all__ = ["Profile", "SeedPlan", "default_senders", "seed"]

CHUNK_MESSAGES = 50_000
# The time of the snapshot in every data set. Fixed, so that its times do not depend on the time of the command.
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
# Retries are due at full minutes, at most about two hours later.
DUE_ATS = [AS_OF + timedelta(minutes=minute) for minute in range(1, 129)]
# The draws of sql/seed/insert_bursts.sql are whole numbers below this.
DRAWS = 2**36
# The age of the oldest message; older messages have expired.
SPAN_US = 5 * 24 * 3600 * 1_000_000

# Bursts, each with the number of messages before it.
Chunk = Sequence[tuple[int, Burst]]


async def seed(
    connection: Connection, plan: SeedPlan, progress: Callable[[int], object] = lambda _: None, *, replace: bool = False
) -> float:
    """Fills an empty queue, or with `replace` any queue, in one transaction. Returns the duration in seconds.

    `progress` gets the number of messages written so far, after each chunk. `connection` is the owner's, without an
    open transaction. Other writers wait.

    Raises CommandError, before any change, if the database is not marked disposable or the queue is not empty.
    """
    began = time.perf_counter()
    async with connection.transaction():
        await _prepare(connection, replace)
        for chunk in chunks(bursts(plan), CHUNK_MESSAGES):
            await fetch(connection, "seed/insert_bursts", **parameters(plan, chunk))
            before, last = chunk[-1]
            progress(before + last.size)
        # The ids are explicit: they represent the order of arrival, independent of the identity column.
        await fetch(connection, "seed/number_on", last_id=plan.messages)
    await fetch(connection, "seed/analyze")
    return time.perf_counter() - began


async def _prepare(connection: Connection, replace: bool) -> None:
    await require_disposable(connection)
    await fetch(connection, "seed/limits")
    await fetch(connection, "seed/empty" if replace else "seed/lock")
    if not replace and (await fetch(connection, "seed/occupied"))[0][0]:
        raise CommandError("The queue is not empty, so nothing was written; --replace deletes its messages first.")


def chunks(bursts: Sequence[Burst], chunk_messages: int) -> Iterator[Chunk]:
    """All bursts in order, in chunks of about this many messages; a burst is never divided."""
    before = accumulate((burst.size for burst in bursts), initial=0)
    for _, chunk in groupby(zip(before, bursts, strict=False), key=lambda numbered: numbered[0] // chunk_messages):
        yield list(chunk)


def parameters(plan: SeedPlan, chunk: Chunk) -> dict[str, Any]:
    """One array for each column of the bursts, in the order of arrival."""
    numbers_before, found = zip(*chunk, strict=True)
    _, sender_ids, account_ids, campaign_ids, sizes, mixes = zip(*found, strict=True)
    # Fewer of the older messages are left.
    ages_us = [SPAN_US * (plan.messages - number) ** 2 // plan.messages**2 for number in numbers_before]
    return {
        # Odd, and different for every seed.
        "salt": (2 * plan.seed * 1_640_531_527 + 1) % 2**32,
        "as_of": AS_OF,
        "due_ats": DUE_ATS,
        "first_ids": [number + 1 for number in numbers_before],
        "created_ats": [AS_OF - timedelta(microseconds=age) for age in ages_us],
        "sizes": sizes,
        "sender_ids": sender_ids,
        "account_ids": account_ids,
        "campaign_ids": campaign_ids,
        # The limit below which this percentage of all draws is.
        "upto_news": [DRAWS * mix.new // 100 for mix in mixes],
        "upto_procs": [DRAWS * (mix.new + mix.proc) // 100 for mix in mixes],
        "upto_retries": [DRAWS * (mix.new + mix.proc + mix.retry) // 100 for mix in mixes],
        "attempts": [mix.attempts for mix in mixes],
    }

"""Fills the queue: everything or nothing."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from service.db import statement
from service.db.disposable import require_disposable
from service.db.errors import in_words
from service.errors import CommandError
from service.seed.plan import SeedPlan
from service.seed.traffic import Burst, bursts

CHUNK_MESSAGES = 50_000
# The moment at which every data set stands still. Fixed, so that its times are the same whenever it is made.
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
# A queue runs once a minute, and no retry waits for more than two hours or so.
DUE_ATS = [AS_OF + timedelta(minutes=minute) for minute in range(1, 129)]
# A draw of sql/seed/insert_bursts.sql is a whole number below this.
DRAWS = 2**36
# The oldest message has waited this long; what older ones there were has expired.
SPAN_US = 5 * 24 * 3600 * 1_000_000


async def seed(
    connection: Any,
    plan: SeedPlan,
    progress: Callable[[int], None],
    *,
    replace: bool = False,
    chunk_messages: int = CHUNK_MESSAGES,
) -> float:
    """Fills an empty queue in one transaction, or with `replace` a full one; how many seconds it took.

    Other writers wait until then. `progress` is told the messages written so far, after each chunk. `connection` is
    the owner's, in no transaction.

    Raises CommandError, with nothing changed, where the database is not marked disposable, the queue is not empty or
    PostgreSQL refuses.
    """
    began = time.perf_counter()
    try:
        async with connection.transaction():
            await _prepare(connection, replace)
            for chunk in chunks(bursts(plan), chunk_messages):
                await _run(connection, "seed/insert_bursts", **parameters(plan, chunk))
                progress(chunk.done + sum(burst.size for burst in chunk.bursts))
            # The ids are written out: they stand for the order of arrival, whatever the identity had given out before.
            await _run(connection, "seed/number_on", last_id=plan.messages)
        await _run(connection, "seed/analyze")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise CommandError(in_words(error)) from error
    return time.perf_counter() - began


async def _prepare(connection: Any, replace: bool) -> None:
    await require_disposable(connection)
    await connection.execute(statement("seed/limits").sql)
    if replace:
        await _run(connection, "seed/empty")
        return
    await _run(connection, "seed/lock")
    if await connection.fetchval(statement("seed/occupied").sql):
        raise CommandError("The queue is not empty, so nothing was written; --replace throws its messages away first.")


async def _run(connection: Any, name: str, **values: Any) -> None:
    asked = statement(name)
    await connection.execute(asked.sql, *asked.bind(values))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bursts, the first of which begins behind `done` messages."""

    done: int
    bursts: Sequence[Burst]


def chunks(bursts: Sequence[Burst], chunk_messages: int) -> Iterator[Chunk]:
    """All bursts in order, cut where a chunk has reached its size; a burst is never cut."""
    done, begin, size = 0, 0, 0
    for end, burst in enumerate(bursts, 1):
        size += burst.size
        if size >= chunk_messages or end == len(bursts):
            yield Chunk(done, bursts[begin:end])
            done, begin, size = done + size, end, 0


def parameters(plan: SeedPlan, chunk: Chunk) -> dict[str, Any]:
    """One array for each column of the bursts, in the order of arrival."""
    columns: dict[str, list[Any]] = {name: [] for name in ("first_ids", "created_ats")}
    done = chunk.done
    for burst in chunk.bursts:
        columns["first_ids"].append(done + 1)
        columns["created_ats"].append(AS_OF - timedelta(microseconds=_age_us(done, plan.messages)))
        done += burst.size
    return columns | {
        # Odd, and another for every seed.
        "salt": (2 * plan.seed * 1_640_531_527 + 1) % 2**32,
        "as_of": AS_OF,
        "due_ats": DUE_ATS,
        "sizes": [burst.size for burst in chunk.bursts],
        "sender_ids": [burst.sender_id for burst in chunk.bursts],
        "account_ids": [burst.account_id for burst in chunk.bursts],
        "campaign_ids": [burst.campaign_id for burst in chunk.bursts],
        "upto_news": [_below(burst.mix.new) for burst in chunk.bursts],
        "upto_procs": [_below(burst.mix.new + burst.mix.proc) for burst in chunk.bursts],
        "upto_retries": [_below(burst.mix.new + burst.mix.proc + burst.mix.retry) for burst in chunk.bursts],
        "attempts": [burst.mix.attempts for burst in chunk.bursts],
    }


def _below(percent: int) -> int:
    """The draw that so many percent of all draws stay below."""
    return percent * DRAWS // 100


def _age_us(done: int, messages: int) -> int:
    """How long the message behind `done` others has waited: of the older ones, fewer are left."""
    return SPAN_US * (messages - done) ** 2 // messages**2

"""Fills the queue: everything or nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from service.db import statement
from service.db.disposable import require_disposable
from service.errors import CommandError
from service.seed.plan import SeedPlan
from service.seed.portions import parameters, portions
from service.seed.traffic import Burst, bursts

PORTION_MESSAGES = 50_000


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was written, and how long it took."""

    messages: int
    senders: int
    accounts: int
    campaigns: int
    seconds: float


async def seed(
    connection: Any,
    plan: SeedPlan,
    progress: Callable[[int], None],
    *,
    replace: bool = False,
    portion_messages: int = PORTION_MESSAGES,
) -> SeedReport:
    """Fills an empty queue in one transaction, or with `replace` a full one. Other writers wait until then.

    `progress` is told the messages written so far, after each portion. `connection` is the owner's, in no transaction.

    Raises CommandError, with nothing changed, where the database is not marked disposable, the queue is not empty or
    PostgreSQL refuses.
    """
    began = time.perf_counter()
    try:
        async with connection.transaction():
            await _prepare(connection, replace)
            planned = bursts(plan)
            await _insert(connection, plan, planned, progress, portion_messages)
        await _run(connection, "seed/analyze")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise CommandError(f"The queue could not be filled: {str(error) or type(error).__name__}") from error
    return _report(plan, planned, time.perf_counter() - began)


async def _prepare(connection: Any, replace: bool) -> None:
    await require_disposable(connection)
    await connection.execute(statement("seed/limits").sql)
    if replace:
        await _run(connection, "seed/empty")
        return
    await _run(connection, "seed/lock")
    if await connection.fetchval(statement("seed/occupied").sql):
        raise CommandError("The queue is not empty, so nothing was written; --replace throws its messages away first.")


async def _insert(
    connection: Any, plan: SeedPlan, planned: list[Burst], progress: Callable[[int], None], portion_messages: int
) -> None:
    for portion in portions(planned, portion_messages):
        await _run(connection, "seed/insert_bursts", **parameters(plan, portion))
        progress(portion.done + portion.messages)
    # The ids are written out: they stand for the order of arrival, whatever the identity had given out before.
    await _run(connection, "seed/number_on", last_id=plan.messages)


async def _run(connection: Any, name: str, **values: Any) -> None:
    asked = statement(name)
    await connection.execute(asked.sql, *asked.bind(values))


def _report(plan: SeedPlan, planned: list[Burst], seconds: float) -> SeedReport:
    return SeedReport(
        messages=plan.messages,
        senders=plan.senders,
        accounts=len({burst.account_id for burst in planned}),
        campaigns=len({burst.campaign_id for burst in planned} - {0}),
        seconds=seconds,
    )

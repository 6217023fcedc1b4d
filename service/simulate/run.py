"""Several agents at once, each at its share of the rate, until the time is up or somebody says stop."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from service.db import connect
from service.db.disposable import require_disposable
from service.db.errors import is_disconnect
from service.errors import CommandError
from service.simulate.agent import Agent, SimulationPlan, Totals

RECONNECT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """The totals, and the messages that were really enqueued a second."""

    totals: Totals
    seconds: float

    @property
    def rate(self) -> float:
        return self.totals.enqueued / self.seconds


class Pace:
    """One agent's share of the rate. An agent that is late begins at once, and does not make up for what it missed."""

    def __init__(self, plan: SimulationPlan, stopped: asyncio.Event) -> None:
        self._stopped = stopped
        self._interval = plan.batch_messages * plan.connections / plan.rate
        self._next = time.monotonic()
        self._end = self._next + plan.seconds

    @property
    def over(self) -> bool:
        return self._stopped.is_set() or time.monotonic() >= self._end

    async def next_round(self) -> None:
        now = time.monotonic()
        self._next = max(self._next + self._interval, now)
        await self.wait(self._next - now)

    async def wait(self, seconds: float) -> None:
        """So long, but neither beyond the end nor after somebody says stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), min(seconds, self._end - time.monotonic()))


async def simulate(
    database_url: str, plan: SimulationPlan, stop: asyncio.Event | None = None, running: Totals | None = None
) -> SimulationReport:
    """Plays `plan`, or until `stop` is set; every agent then ends its round, so that nothing it took is left behind.

    An agent whose connection goes away makes a new one, for as long as it takes. `running`, where given, is kept up to
    date while it plays, for a progress bar say.

    Raises CommandError, with nothing written, where the database is out of reach or not marked disposable; later on,
    where it refuses a statement.
    """
    async with connect(database_url) as connection:
        await require_disposable(connection)
    totals, stopped, began = running or Totals(), stop or asyncio.Event(), time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(plan.connections):
                group.create_task(_run(Agent(plan, number, totals), database_url, Pace(plan, stopped), totals))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return SimulationReport(totals, time.monotonic() - began)


async def _run(agent: Agent, database_url: str, pace: Pace, totals: Totals) -> None:
    while not await _play_connected(agent, database_url, pace):
        totals.reconnects += 1
        await pace.wait(RECONNECT_SECONDS)


async def _play_connected(agent: Agent, database_url: str, pace: Pace) -> bool:
    """Plays on one connection; whether it is over, or else the connection could not be made or was lost."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(connect(database_url))
        except CommandError:
            return pace.over
        return await _play(agent, connection, pace)


async def _play(agent: Agent, connection: Any, pace: Pace) -> bool:
    while not pace.over:
        try:
            await agent.play_round(connection)
        except Exception as error:
            if is_disconnect(error):
                return False
            raise
        await pace.next_round()
    return True

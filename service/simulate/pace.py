"""When an agent's next round begins, and when there is none any more."""

import asyncio
import time
from contextlib import suppress

from service.simulate.plan import SimulationPlan


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

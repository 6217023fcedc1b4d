"""Whether a node of a cluster responds. While it does not respond, its requests are refused immediately.

Libraries for this count failures, so a slow statement looks like an unavailable node: docs/design/libraries.md.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakSet, WeakValueDictionary

from service.db import Database
from service.errors import Moved, ServiceError, TimedOut, Unavailable, Uncounted

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# If a statement takes longer, its node is probed. Probes of a node begin at least this time apart.
PROBE_SECONDS = 1.0
_BREAKERS: WeakValueDictionary[str, "Breaker"] = WeakValueDictionary()


class Breaker:
    """A circuit breaker; one for each node and process. A probe opens a new connection to the node.

    The breaker is open while the last probe has failed. A probe begins when a statement fails or takes long, and, while
    the breaker is open, when a request is refused. So a slow statement on a node that responds does not open it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pools: WeakSet[Database] = WeakSet()
        self._is_open = False
        self._probed_at = -float("inf")
        self._probe: asyncio.Task[None] | None = None

    def require_closed(self) -> None:
        """Raises Unavailable if the breaker is open."""
        if self._is_open:
            self._start_probe()
            raise Unavailable(": a node does not respond", f"The node {self._database.address} does not respond.")

    async def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Returns the result of `work`. Raises the errors of `work`, and Unavailable if the breaker is open."""
        self.require_closed()
        watch = asyncio.ensure_future(self._watch())
        try:
            return await work()
        except (Unavailable, TimedOut) as error:
            if not isinstance(error, Moved | Uncounted):
                self._start_probe()
            raise
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            self._start_probe()

    def _start_probe(self) -> None:
        if self._probe is None or (self._probe.done() and time.monotonic() - self._probed_at >= PROBE_SECONDS):
            self._probed_at = time.monotonic()
            self._probe = asyncio.ensure_future(self._run_probe())

    async def _run_probe(self) -> None:
        was_open = self._is_open
        try:
            await self._database.try_connection()
            self._is_open = False
        except ServiceError:
            self._is_open = True
        if self._is_open and not was_open:
            logger.warning("a node does not respond, its requests are refused node=%s", self._database.address)
            # So its running statements end now, and not at their time limit.
            for pool in self.pools:
                pool.cut()
        elif was_open and not self._is_open:
            logger.warning("a node responds again node=%s", self._database.address)


def breaker_of(pool: Database) -> Breaker:
    """The breaker of this process for the node of this pool. All pools of the process for the node share it."""
    breaker = _BREAKERS.setdefault(pool.url, Breaker(pool))
    breaker.pools.add(pool)
    return breaker

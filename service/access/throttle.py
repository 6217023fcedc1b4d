"""Slows down addresses that try tokens. A valid token never waits."""

import asyncio
import logging
import time
from collections import Counter

logger = logging.getLogger(__name__)

# An address that sends so many wrong tokens within a minute waits for each further refusal.
FREE_FAILURES = 100
FAILURE_WINDOW_SECONDS = 60.0
FAILURE_DELAY_SECONDS = 0.5
ADDRESSES_KEPT = 10_000
# Refusals that wait at once; beyond that they come undelayed, as each one that waits takes memory.
DELAYED_AT_ONCE = 1000


class FailedTokens:
    """The wrong tokens of the last minute, by address."""

    def __init__(self) -> None:
        self._since = -float("inf")
        self._failures: Counter[str] = Counter()
        self._delayed = 0

    async def slow_down(self, address: str) -> None:
        """Counts a wrong token of this address, and waits if there were many."""
        if time.monotonic() - self._since > FAILURE_WINDOW_SECONDS or len(self._failures) > ADDRESSES_KEPT:
            self._since = time.monotonic()
            self._failures.clear()
        self._failures[address] += 1
        logger.warning("wrong token address=%s", address)
        if self._failures[address] <= FREE_FAILURES or self._delayed >= DELAYED_AT_ONCE:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(FAILURE_DELAY_SECONDS)
        finally:
            self._delayed -= 1

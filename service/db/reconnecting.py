"""Limits the attempts of a process to connect to a database that is unreachable."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TypeVar

from service.db.errors import MALFORMED, in_words, translated
from service.errors import Unavailable

logger = logging.getLogger(__name__)

Connected = TypeVar("Connected")

FIRST_DELAY_SECONDS = 0.1
# With this limit, the service answers within 2 s after the end of an outage: docs/reliability.md.
LONGEST_DELAY_SECONDS = 1.0


class Reconnecting:
    """Limits the attempts of all pools of a process to one address: after a failure, one attempt at a time.

    The delay before the next attempt grows exponentially, with full jitter, so that processes do not synchronize.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._failed_at = self._next_at = 0.0
        self._because = ("", "")

    async def connect(self, connect: Callable[[], Awaitable[Connected]], patience_seconds: float) -> Connected:
        """The result of `connect`. Raises Unavailable if it fails, and at once before the delay is over."""
        began_at = time.monotonic()
        if self._failures:
            if began_at < self._next_at:
                raise Unavailable(*self._because)
            # No other attempt begins until this one has ended.
            self._next_at = began_at + patience_seconds
        try:
            connection = await connect()
        except asyncio.CancelledError:
            # The pool has stopped waiting.
            self._fail(TimeoutError(), began_at)
            raise
        except Exception as error:
            raise self._fail(error, began_at) from error
        self._failures = 0
        return connection

    def _fail(self, error: Exception, began_at: float) -> Unavailable:
        """Delays the next attempt, and returns the error from `translated`."""
        # Attempts that began together, before the first of them failed, are one failure.
        if began_at >= self._failed_at:
            self._failures = min(self._failures + 1, 30)
            self._failed_at = time.monotonic()
            longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**self._failures)
            self._next_at = self._failed_at + random.uniform(0, longest)  # noqa: S311 not a secret
        known = translated(error)
        if not isinstance(known, Unavailable):
            is_malformed = isinstance(error, ValueError | OverflowError)
            known = Unavailable(said=MALFORMED if is_malformed else in_words(error))
            logger.warning("%s error=%s", known.said, type(error).__name__)
        self._because = known.detail, known.said
        return known


@cache
def reconnecting_to(url: str) -> Reconnecting:
    """The object of this process for an address."""
    return Reconnecting()

"""Raises bounds that are too early, in the background: they cause useless look-ups in `top?order=oldest`."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from service.counters.background import BUSY_PAUSE_SECONDS, next_pause
from service.schema.columns import message_status

# The work takes at most a quarter of the time.
REST_PER_WORK = 3
# The most rows of a list. When this many of the earliest bounds are right, no list needs later ones.
MOST_ROWS = 1000
# The pause between two passes shrinks when many bounds were too early: a list should waste fewer than 1,000 look-ups.
LONGEST_PAUSE_SECONDS = 10.0
AIM_BOUNDS = 500


class Raiser:
    """Takes the statuses in turn. For each, starts at the earliest bound and stops when MOST_ROWS bounds were right."""

    def __init__(self, run: Callable[..., Awaitable[tuple[Any, ...] | None]]) -> None:
        """`run`: runs `raise_bounds` with these parameters. Returns its row; if it did nothing, None or another row."""
        self._run = run
        self._statuses = deque(message_status.enums)
        self._after: tuple[str | None, int] = None, 0
        self._right = self._raised = 0
        self._pause_seconds = LONGEST_PAUSE_SECONDS

    async def take_turn(self, max_senders: int) -> float:
        """Looks up the bounds of `max_senders` senders. Returns the pause in seconds until the next turn."""
        began_at = time.monotonic()
        status, (after, after_sender) = self._statuses[0], self._after
        done = await self._run(of_status=status, after=after, after_sender=after_sender, max_senders=max_senders)
        rest_seconds = REST_PER_WORK * (time.monotonic() - began_at)
        if done is None or len(done) == 2:
            return max(rest_seconds, BUSY_PAUSE_SECONDS)
        raised, is_more, *place = done
        self._raised += raised
        self._right += max_senders - raised
        if is_more and self._right < MOST_ROWS:
            self._after = place[0], place[1]
            return rest_seconds
        return max(rest_seconds, self._end_pass())

    def _end_pass(self) -> float:
        """Goes on to the next status. Returns the pause in seconds."""
        self._after, self._right = (None, 0), 0
        self._statuses.rotate(-1)
        if self._statuses[0] != message_status.enums[0]:
            return 0
        self._pause_seconds = next_pause(self._pause_seconds, self._raised, AIM_BOUNDS, LONGEST_PAUSE_SECONDS)
        self._raised = 0
        return self._pause_seconds

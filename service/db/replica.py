"""A streaming replica: answers that tell how far behind the primary they may be."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from service.db.pool import Database
from service.db.statements import Statement, statement
from service.errors import ServiceError, Unavailable
from service.settings import Settings

# Between looks at the primary's position: a lag is never told smaller than the age of the last look.
NOTE_PAUSE_SECONDS = 0.25
# Positions that are remembered: about a quarter of an hour. Beyond that, the replica's own word is taken.
REMEMBERED = 4096


class Positions:
    """Where the primary's log stood, and when: a replica that has come so far holds all that was committed by then."""

    def __init__(self, primary: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._primary = primary
        self._clock = clock
        self._noted: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)

    async def note_forever(self) -> None:
        """Until it is cancelled. While the primary is out of reach, what was noted grows old, and lags with it."""
        while True:
            with suppress(ServiceError):
                await self.note()
            await asyncio.sleep(NOTE_PAUSE_SECONDS)

    async def note(self) -> None:
        # The clock first: what is committed between the two reads is then called later than it was, never earlier.
        at = self._clock()
        (row,) = await self._primary.fetch(statement("queries/position"))
        if self._noted and self._noted[-1][0] == row["position"]:
            self._noted.pop()
        self._noted.append((row["position"], at))

    def lag_seconds(self, replayed: int) -> float | None:
        """All that was committed so long ago has been replayed; None where nothing that old is known any more."""
        for position, at in reversed(self._noted):
            if position <= replayed:
                return self._clock() - at
        return None


@dataclass(slots=True)
class Reading:
    """A few statements on the replica, and the worst lag among them; stands in for a Database."""

    replica: "Replica"
    lag_seconds: float = 0.0

    async def fetch(self, asked: Statement, **parameters: Any) -> Any:
        """As `Database.fetch`. Raises Unavailable also where the replica can't tell how far behind it is."""
        return await self._ask(asked.name, partial(self.replica.run, asked, parameters))

    async def fetch_scan(self, asked: Statement, **parameters: Any) -> Any:
        """As `fetch`, planned anew for these very values."""
        return await self._ask(asked.name, partial(self.replica.run_scan, asked, parameters))

    async def _ask(self, name: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
        lag_seconds, rows = await self.replica.ask(name, partial(self.replica.ask_with_lag, question))
        self.lag_seconds = max(self.lag_seconds, lag_seconds)
        return rows


class Replica(Database):
    """The pool of a replica; what is asked through a `Reading` comes with its lag. Nothing is ever written there."""

    positions: Positions

    @classmethod
    def of(cls, settings: Settings, url: str, positions: Positions) -> Self:
        replica = cls.from_settings(settings, url, settings.pool_size, "serve")
        replica.positions = positions
        return replica

    async def ask_with_lag(self, question: Callable[[Any], Awaitable[Any]], connection: Any) -> tuple[float, Any]:
        """The lag is that of this very server, and no smaller than that of the snapshot that is taken next."""
        (replayed,) = await self.run(statement("queries/replayed"), {}, connection)
        lag_seconds = self._lag_seconds(replayed)
        return lag_seconds, await question(connection)

    def _lag_seconds(self, replayed: Mapping[str, Any]) -> float:
        if replayed["position"] is None:
            raise Unavailable(": the replica is none.")
        by_position, by_its_word = self.positions.lag_seconds(replayed["position"]), replayed["age_seconds"]
        if by_position is not None:
            return by_position
        if by_its_word is None:
            raise Unavailable(": the replica can't tell how far behind it is.")
        return max(0.0, float(by_its_word))

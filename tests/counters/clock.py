"""The clock of the history, which tests set."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from service.db import load_statement
from tests.counters.observing import fold, roll_up

# The longest time between two folds. A longer time causes a gap.
FOLD_SECONDS = 4


async def hurry(connection: Any, times: int = 200) -> None:
    """Gives the history a clock that is `times` times as fast as the clock of the server."""
    now = f"timestamptz '{datetime.now(UTC)}'"
    await connection.execute(
        "CREATE OR REPLACE FUNCTION queuestats.history_clock() RETURNS timestamp with time zone LANGUAGE sql STABLE"
        f" AS $$ SELECT {now} + {times} * (clock_timestamp() - {now}) $$"
    )


class Clock:
    """The clock of the history, in place of the clock of the server."""

    def __init__(self, connection: Any, now: datetime = datetime(2026, 3, 1, 5, 55, tzinfo=UTC)) -> None:
        self._connection = connection
        self.now = now

    async def begin(self) -> None:
        """Counts all messages, and begins their history at the current time."""
        async with self._connection.transaction():
            # The folding of a service uses the new clock from here on.
            await self._connection.execute("LOCK TABLE queuestats.fold_lock IN EXCLUSIVE MODE")
            await self.set(self.now)
            await self._connection.execute(
                "DELETE FROM queuestats.history_begins; DELETE FROM queuestats.history_spans;"
                " DELETE FROM queuestats.history_steps; DELETE FROM queuestats.history_changes"
            )
            await self._connection.execute("SELECT queuestats.rebuild()")
        await self.fold()

    async def set(self, now: datetime) -> None:
        self.now = now
        await self._connection.execute(
            "CREATE OR REPLACE FUNCTION queuestats.history_clock() RETURNS timestamp with time zone LANGUAGE sql STABLE"
            f" AS $$ SELECT timestamptz '{now.isoformat()}' $$"
        )

    async def fold(self) -> None:
        # A service may be folding.
        while not await fold(self._connection):  # noqa: ASYNC110 another process
            await asyncio.sleep(0.01)

    async def run(self, seconds: int) -> None:
        """Advances the time, with folds in between and at the end."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            await self.set(min(end, self.now + timedelta(seconds=FOLD_SECONDS)))
            await self.fold()

    async def pause(self, seconds: int) -> None:
        """Advances the time without a fold."""
        await self.set(self.now + timedelta(seconds=seconds))

    async def roll_up(self, max_changes: int = 20_000, most: int = 1_000_000) -> None:
        """Runs all pending steps, at most `most`."""
        while most and await roll_up(self._connection, max_changes):
            most -= 1

    async def history(
        self,
        sender_id: int,
        step: int = 60,
        since: datetime | None = None,
        until: datetime | None = None,
        isp: str | None = None,
        *,
        is_by_isp: bool = False,
    ) -> Any:
        statement = load_statement("queries/history")
        given = {"sender_id": sender_id, "isp": isp, "is_by_isp": is_by_isp, "step": step, "until": until}
        given["since"] = since or self.now - timedelta(hours=1)
        return await self._connection.fetch(statement.sql, *statement.bind(given))

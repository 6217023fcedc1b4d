"""Whether the service can answer: asked as `stats` asks, on a connection of its own, at most once a second."""

import asyncio
import time

from service.cluster import find_topology
from service.db import Database
from service.model import StatsQuery
from service.queue.stats import fetch_report
from service.schema.contract import contract_mismatch
from service.schema.migrate import missing_rights

REMEMBERED_SECONDS = 1.0


class Readiness:
    """One for each process. Probes share a look-up, and cost the database the same however many there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._began_at = -float("inf")
        self._look_up: asyncio.Task[list[str]] | None = None

    async def pending(self) -> list[str]:
        """What keeps this code from serving, in words. Raises Unavailable or TimedOut, for want of a right too."""
        is_old = time.monotonic() - self._began_at > REMEMBERED_SECONDS
        if self._look_up is None or (is_old and self._look_up.done()):
            self._began_at = time.monotonic()
            self._look_up = asyncio.create_task(self._read())
            # Its error is for those who wait for it; they may all have left.
            self._look_up.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._look_up)

    async def _read(self) -> list[str]:
        pending: list[str] = await self._database.run("queries/contract", contract_mismatch)
        pending = pending or await self._database.run("doctor/rights", missing_rights)
        if not pending:
            for sender_id in (await find_topology(self._database)).probed_senders:
                await fetch_report(self._database, StatsQuery(sender_id))
        return pending

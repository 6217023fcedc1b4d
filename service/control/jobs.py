"""The use case: hold, release and purge. The database keeps the holds and the jobs; any process takes a job further.

A job is begun by one statement, and done in steps (sql/control/change.sql), each a transaction of its own.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from service.access.rules import Token
from service.cluster import find_topology
from service.cluster.topology import FILTERS, filters_of
from service.control.actor import Actor
from service.counters.background import Notes, repeat
from service.db import WRITING, WRITING_WITHOUT_LIMIT, Database, load_statement
from service.errors import BadRequest, Forbidden, ServiceError
from service.model import Action, ControlRequest, StatsQuery
from service.queue.stats import fetch_report
from service.telemetry.metrics import CHANGED

# While there is nothing to do: the longest that an expired hold stays active, or the job of a dead process rests.
IDLE_SECONDS = 1.0
# A job's first step reads all that it has to change; a request that waits for it has its own limit.
STEP_TIME_LIMIT_MS = 3_600_000
# While messages are locked, or deltas wait to be folded.
WAIT_SECONDS = 0.05
STATUSES_OF = {Action.HOLD: ("new", "retry"), Action.RELEASE: ("hold",), Action.PURGE: ("hold", "new", "proc", "retry")}
# Beyond that it does not matter how many are pending.
MOST_DELTAS = 1_000_000
# All that matched when the call came is done.
COMPLETE = ("settling", "done", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    """`changed` messages by now. `hold_id` is that of a hold that was begun, or ended by its id."""

    id: int
    hold_id: int | None
    state: str = "waiting"
    changed: int = 0

    @property
    def details(self) -> dict[str, int]:
        """What a client that asks for details gets."""
        return ({"hold_id": self.hold_id} if self.hold_id else {}) | {"job_id": self.id, "messages": self.changed}


class Control:
    """Begins jobs and takes them further; one for each process."""

    def __init__(self, database: Database, reading: Database, most_messages: int) -> None:
        self._database, self._reading, self._most_messages = database, reading, most_messages

    async def with_filter(self, request: ControlRequest) -> ControlRequest:
        """A release by `hold_id` with the filter of its hold. Raises BadRequest where the sender has no such hold."""
        if request.hold_id is None:
            return request
        rows = await self._reading.fetch(load_statement("queries/control/holds"), sender_id=request.query.sender_id)
        for row in rows:
            if row["id"] == request.hold_id:
                return msgspec.structs.replace(request, query=_query_of(row))
        raise BadRequest("hold_id must be the id of an active hold of this sender")

    async def matching(self, request: ControlRequest) -> dict[str, int]:
        """How many messages of which status the request would change. `request` is one `with_filter`.

        By the counters; of a release, which leaves what other holds match, by the messages on hold.
        """
        if request.action is Action.RELEASE:
            topology = await find_topology(self._reading)
            if (messages := await topology.releasable(request.query, request.hold_id)) is not None:
                return {"hold": messages}
        return await self._counted(request)

    async def _counted(self, request: ControlRequest) -> dict[str, int]:
        (row,) = (await fetch_report(self._reading, request.query)).rows
        return {status: getattr(row, status) for status in STATUSES_OF[request.action]}

    async def begin(self, request: ControlRequest, actor: Actor, request_id: str) -> Job:
        """The hold is active, or ended, when it returns. Raises Conflict where more than `at_most` messages match."""
        ((job_id, hold_id),) = await self._database.fetch(
            load_statement("queries/control/start"),
            WRITING_WITHOUT_LIMIT,
            **filters_of(request.query),
            action=request.action,
            reason=request.reason,
            actor_kind=actor.kind,
            actor_name=actor.name,
            request_id=request_id,
            expires_in=timedelta(seconds=request.expires_in_seconds) or None,
            at_most=request.at_most,
            hold_id=request.hold_id,
        )
        return Job(job_id, hold_id)

    async def carry_out(self, request: ControlRequest, actor: Actor, request_id: str) -> Job:
        """Begins, and returns when all that matched by then is done; at once where that is too much."""
        is_large = sum((await self._counted(request)).values()) > self._most_messages
        job = await self.begin(request, actor, request_id)
        while not is_large and job.state not in COMPLETE:
            job = await self.step(job)
        return job

    async def step(self, job: Job) -> Job:
        """One step further. Waits a moment where another process does it, or where it can't be done yet."""
        row = await _step(self._database, job.id)
        is_waiting = row is None or row["is_waiting"]
        if row is None:
            (row,) = await self._fetch("jobs", job_id=job.id, sender_id=None)
        if is_waiting and row["state"] not in COMPLETE:
            await asyncio.sleep(WAIT_SECONDS)
        return Job(job.id, job.hold_id, row["state"], row["changed"])

    async def holds(self, sender_id: int | None) -> list[dict[str, Any]]:
        """The active ones, each with `messages`: how many its filter finds on hold now."""
        rows = await self._reading.fetch(load_statement("queries/control/holds"), sender_id=sender_id)
        reports = [await fetch_report(self._reading, _query_of(row)) for row in rows]
        return [dict(row) | {"messages": report.rows[0].hold} for row, report in zip(rows, reports, strict=True)]

    async def measure(self) -> dict[str, int | None]:
        """What the metrics ask the database for: `telemetry.metrics.GAUGES`."""
        watched = await (await find_topology(self._reading)).watch(MOST_DELTAS)
        (measured,) = await self._reading.fetch(load_statement("queries/metrics"))
        held: dict[str, int | None] = {"holds": None, "held_messages": None}
        # They are counted as `stats` counts; the rest is there while that is refused.
        with suppress(ServiceError):
            holds = await self.holds(None)
            held = {"holds": len(holds), "held_messages": sum(hold["messages"] for hold in holds)}
        return {**watched, **measured, **held}

    async def jobs(self, sender_id: int | None = None) -> list[dict[str, Any]]:
        """The latest hundred, the newest first: the columns of sql/queries/control/jobs.sql."""
        return await self._fetch("jobs", job_id=None, sender_id=sender_id)

    async def cancel(self, job_id: int, actor: Actor) -> bool:
        """False where it has ended before."""
        statement = load_statement("queries/control/cancel")
        ((is_cancelled,),) = await self._database.fetch(
            statement, WRITING, job_id=job_id, actor_kind=actor.kind, actor_name=actor.name
        )
        return bool(is_cancelled)

    async def audit(self, sender_id: int | None, row_limit: int) -> list[dict[str, Any]]:
        """The latest first: the columns of sql/queries/control/audit.sql."""
        return await self._fetch("audit", sender_id=sender_id, row_limit=row_limit)

    async def _fetch(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        rows = await self._database.fetch(load_statement(f"queries/control/{name}"), **parameters)
        return [dict(row) for row in rows]


def _query_of(hold: Any) -> StatsQuery:
    return StatsQuery(*(hold[name] for name in FILTERS))


def require_control(token: Token, request: ControlRequest) -> None:
    """Raises Forbidden where the request is for more than the token is limited to."""
    token.limit(request.query)
    if token.account_ids is not None and request.query.account_id is None:
        needing = "request" if request.hold_id is None else "hold"
        raise Forbidden(f"this token is limited to accounts, so the {needing} must have an account_id")


async def _step(database: Database, job_id: int | None) -> Any:
    """The row of sql/queries/control/step.sql, its messages counted for the metrics; None where there was no step."""
    rows = await database.fetch(load_statement("queries/control/step"), WRITING_WITHOUT_LIMIT, job_id=job_id)
    for row in rows:
        CHANGED.labels(row["action"]).inc(row["newly_changed"])
    return rows[0] if rows else None


async def work_forever(database: Database) -> None:
    """Takes open jobs further and releases expired holds, until it is cancelled."""

    async def work() -> float:
        await database.fetch(load_statement("queries/control/expire"), WRITING)
        row = await _step(database, None)
        return IDLE_SECONDS if row is None or row["is_waiting"] else 0

    await repeat("jobs", work, IDLE_SECONDS, Notes(database, "jobs"))

"""The use case: hold, release and purge. The database stores the holds and the jobs; any process can run a job.

One statement begins a job. It runs in steps (sql/control/change.sql), and each step is a transaction.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from service.access.rules import UNLIMITED, Limits, Token
from service.cluster import Node, find_topology
from service.cluster.topology import FILTERS, filters_of
from service.control.actor import Actor
from service.counters.background import notes_of, repeat, work_on_nodes
from service.db import WRITING, WRITING_WITHOUT_LIMIT, Database, in_words, load_statement
from service.errors import BadRequest, Conflict, Forbidden, Moved, ServiceError
from service.model import Action, ControlRequest, StatsQuery
from service.queue.stats import fetch_report
from service.telemetry.metrics import CHANGED

logger = logging.getLogger(__name__)

# The pause while there is nothing to do, which delays the end of an expired hold or the job of a dead process.
IDLE_SECONDS = 1.0
# A job's first step reads all messages that it changes. A request that waits for it has its own limit.
STEP_TIME_LIMIT_MS = 3_600_000
# The pause while messages are locked, or deltas wait for a fold.
WAIT_SECONDS = 0.05
STATUSES_OF = {Action.HOLD: ("new", "retry"), Action.RELEASE: ("hold",), Action.PURGE: ("hold", "new", "proc", "retry")}
# The count of pending deltas ends here.
MOST_DELTAS = 1_000_000
# The rows of sql/queries/control/jobs.sql.
MOST_JOBS = 100
# All messages that matched at the time of the call are done, or can't be done.
COMPLETE = ("settling", "done", "failed", "cancelled")
# Errors of a step that do not depend on its job, by the beginning of the SQLSTATE: a lost connection, a standby, a
# refused login, no resources, a table that another transaction has locked, a shutdown, the system. A statement that was
# cancelled (57014) took too long.
_NOT_OF_JOB, _CANCELLED = ("08", "25", "28", "53", "55P03", "57", "58"), "57014"


@dataclass(frozen=True, slots=True)
class Job:
    """`changed`: number of messages so far. `hold_id`: the hold that was begun, or was ended by its id.

    `failed` messages could not be changed; `error` is the cause of the first one. `left_messages` are held by
    `left_holds` of tokens with other limits.
    """

    id: int
    sender_id: int
    hold_id: int | None
    state: str = "waiting"
    changed: int = 0
    failed: int = 0
    error: str | None = None
    left_holds: int = 0
    left_messages: int = 0

    @property
    def is_complete(self) -> bool:
        return self.state in COMPLETE

    @property
    def details(self) -> dict[str, object]:
        """The `details` of the response."""
        hold = {"hold_id": self.hold_id} if self.hold_id else {}
        return hold | {"job_id": self.id, "messages": self.changed} | left_details(self.left_holds, self.left_messages)

    def require_success(self) -> None:
        """Raises Conflict if messages could not be changed."""
        if self.failed or self.state == "failed":
            what = f"could not change {self.failed} messages" if self.failed else "failed"
            raise Conflict(f"job {self.id} {what}: {self.error}")


def left_details(holds: int, messages: int) -> dict[str, object]:
    """The holds and messages that a call leaves because the token may not end the holds; empty if there are none."""
    if not holds and not messages:
        return {}
    reason = "held by tokens with other limits than this one"
    return {"left_holds": holds, "left_messages": messages, "left_reason": reason}


class Control:
    """Begins and runs jobs; one object for each process.

    `most_holds` and `most_jobs`: the budget of a token for active holds and open jobs; None: no limit.
    """

    def __init__(
        self,
        database: Database,
        reading: Database,
        most_messages: int,
        *,
        most_holds: int | None = None,
        most_jobs: int | None = None,
    ) -> None:
        self._database, self._reading, self._most_messages = database, reading, most_messages
        self._budget = {"holds": most_holds, "jobs": most_jobs}

    async def with_filter(self, request: ControlRequest) -> ControlRequest:
        """A release by `hold_id` with the filter of its hold. Raises BadRequest if the sender has no such hold."""
        if request.hold_id is None:
            return request
        for row in await self.holds(request.query.sender_id):
            if row["id"] == request.hold_id:
                return msgspec.structs.replace(request, query=StatsQuery(*(row[name] for name in FILTERS)))
        raise BadRequest("hold_id must be the id of an active hold of this sender")

    async def matching(self, request: ControlRequest, limits: Limits = UNLIMITED) -> dict[str, int]:
        """The number of messages by status that the request would change. `request` comes from `with_filter`.

        From the counters; for a release, from the messages on hold. It would leave `left_holds` and `left_messages`.
        """
        counts = {} if request.action is Action.RELEASE else await self._counted(request)
        if request.action is Action.HOLD:
            return counts
        of_request = {"action": request.action, "hold_id": request.hold_id, **filters_of(request.query)}

        async def preview_at(node: Node) -> Any:
            return await node.fetch_scan(node.statement("control/preview"), **of_request, **limits.parameters)

        topology = await find_topology(self._reading)
        ((releasable, left_holds, left_messages),) = await topology.at_sender(request.query.sender_id, preview_at)
        hold = counts.get("hold", 0) - left_messages if releasable is None else releasable
        return counts | {"hold": hold} | left_details(left_holds, left_messages)

    async def _counted(self, request: ControlRequest) -> dict[str, int]:
        (row,) = (await fetch_report(self._reading, request.query)).rows
        return {status: getattr(row, status) for status in STATUSES_OF[request.action]}

    async def begin(self, request: ControlRequest, actor: Actor, request_id: str, limits: Limits = UNLIMITED) -> Job:
        """Begins a job. The hold is active, or ended, when this returns.

        Raises Conflict if more than `at_most` messages match, and Forbidden if `limits` do not permit to end the hold
        `hold_id`.
        """
        parameters = {
            **filters_of(request.query),
            "action": request.action,
            "reason": request.reason,
            "actor_kind": actor.kind,
            "actor_name": actor.name,
            "request_id": request_id,
            "expires_in": timedelta(seconds=request.expires_in_seconds) or None,
            "at_most": request.at_most,
            "hold_id": request.hold_id,
            **await self._share(request.query.sender_id, actor),
            **limits.parameters,
        }
        rows = await _fetch_at_sender(self._database, "start", parameters, WRITING_WITHOUT_LIMIT)
        ((job_id, hold_id),) = rows
        return Job(job_id, request.query.sender_id, hold_id)

    async def _share(self, sender_id: int, actor: Actor) -> dict[str, int | None]:
        """What the budget of a token leaves for the node of the sender."""
        limited = {name: most for name, most in self._budget.items() if most is not None and actor.kind == "token"}
        used = await (await find_topology(self._database)).used_elsewhere(sender_id, actor.name) if limited else {}
        return {f"most_{name}": limited[name] - used[name] if name in limited else None for name in self._budget}

    async def carry_out(
        self, request: ControlRequest, actor: Actor, request_id: str, limits: Limits = UNLIMITED
    ) -> Job:
        """Begins a job, and returns when all messages that matched are done; for too many messages it returns at once.

        Raises Conflict if messages could not be changed.
        """
        is_large = sum((await self._counted(request)).values()) > self._most_messages
        job = await self.begin(request, actor, request_id, limits)
        while not is_large and not job.is_complete:
            job = await self.step(job)
        job.require_success()
        return job

    async def step(self, job: Job) -> Job:
        """Runs one step. Waits a moment if another process runs it, or if it is not possible yet."""
        topology = await find_topology(self._database)
        row, is_waiting = None, True
        # The job moves together with the shard of its sender.
        with suppress(Moved):
            row = await topology.at_sender(job.sender_id, partial(_try_step, job_id=job.id))
            is_waiting = row is None or row["is_waiting"]
            row = row or await self._job(job)
        if is_waiting and (row is None or row["state"] not in COMPLETE):
            await asyncio.sleep(WAIT_SECONDS)
        known = ("state", "changed", "failed", "error", "left_holds", "left_messages")
        return replace(job, **{name: row[name] for name in known}) if row else job

    async def _job(self, job: Job) -> Any:
        of_job = {"sender_id": job.sender_id, "job_id": job.id, "account_ids": None}
        rows = await _fetch_at_sender(self._database, "jobs", of_job)
        return rows[0] if rows else None

    async def holds(self, sender_id: int | None) -> list[dict[str, Any]]:
        """The active holds, the oldest first: the columns of sql/queries/control/holds.sql."""
        return await self._list(self._reading, "holds", sender_id, lambda row: row["created_at"])

    async def measure(self) -> dict[str, Any]:
        """The metrics that come from the database: `telemetry.metrics.GAUGES`, and the rows of `budgets`."""
        topology = await find_topology(self._reading)
        watched = await topology.watch(MOST_DELTAS)
        (measured,) = await self._reading.fetch(load_statement("queries/metrics"))
        return {**measured, **watched, "budgets": await topology.budgets()}

    async def jobs(
        self, sender_id: int | None = None, account_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """A hundred jobs, the open ones first, then the newest: the columns of sql/queries/control/jobs.sql."""

        def order(row: Any) -> tuple[bool, float]:
            return row["finished_at"] is not None, -row["created_at"].timestamp()

        of_jobs = {"job_id": None, "account_ids": account_ids}
        return (await self._list(self._database, "jobs", sender_id, order, **of_jobs))[:MOST_JOBS]

    async def cancel(self, job_id: int, actor: Actor) -> bool:
        """Ends a job. False if it has ended before."""
        topology = await find_topology(self._database)
        return await topology.cancel(job_id=job_id, actor_kind=actor.kind, actor_name=actor.name)

    async def audit(self, sender_id: int | None, row_limit: int) -> list[dict[str, Any]]:
        """The latest entries first: the columns of sql/queries/control/audit.sql."""
        return await self._list(
            self._database, "audit", sender_id, lambda row: -row["at"].timestamp(), row_limit=row_limit
        )

    async def audit_of_sender(self, sender_id: int, token: Token, row_limit: int) -> list[dict[str, Any]]:
        """The latest first: the columns of sql/queries/control/audit_of_sender.sql. Of a limited token its own only.

        Others may have acted for reasons that are not for it to read.
        """
        own = None if token.is_unlimited else token.name
        limits = {"token": own, "account_ids": token.account_ids}
        of_sender = {"sender_id": sender_id, "row_limit": row_limit, **limits}
        return [dict(row) for row in await _fetch_at_sender(self._database, "audit_of_sender", of_sender)]

    async def _list(
        self, database: Database, name: str, sender_id: int | None, order: Callable[[Any], Any], **parameters: Any
    ) -> list[dict[str, Any]]:
        parameters["sender_id"] = sender_id
        if sender_id is None:
            rows = await (await find_topology(database)).of_all_senders(name, order, **parameters)
        else:
            rows = await _fetch_at_sender(database, name, parameters)
        return [dict(row) for row in rows]


def require_control(token: Token, request: ControlRequest) -> None:
    """Raises Forbidden if the request exceeds the limits of the token."""
    token.limit(request.query)
    if token.account_ids is not None and request.query.account_id is None:
        needing = "request" if request.hold_id is None else "hold"
        raise Forbidden(f"this token is limited to accounts, so the {needing} must have an account_id")


async def _fetch_at_sender(
    database: Database, name: str, parameters: Mapping[str, Any], begin_with: str = ""
) -> list[Any]:
    """The rows of a statement of `queries/control/`, from the node that has the holds and jobs of its `sender_id`."""

    async def fetch_at(node: Node) -> list[Any]:
        return await node.fetch(node.statement(f"control/{name}"), begin_with, **parameters)

    return await (await find_topology(database)).at_sender(parameters["sender_id"], fetch_at)


async def _try_step(node: Node, job_id: int) -> Any:
    """The row of sql/queries/control/step.sql, whose messages the metrics count; None if there was no step.

    After an error the job is skipped for a while. Raises ServiceError if the error does not depend on the job.
    """
    try:
        rows = await node.fetch(node.statement("control/step"), WRITING_WITHOUT_LIMIT, job_id=job_id)
    except ServiceError as error:
        is_of_job = _is_of_job(error)
        postponed = {"job_id": job_id, "error": in_words(error), "is_of_job": is_of_job}
        with suppress(ServiceError):
            await node.fetch(node.statement("control/postpone"), WRITING, **postponed)
        if not is_of_job:
            raise
        logger.warning("a step of job %s failed error=%r", job_id, in_words(error))
        return None
    for row in rows:
        CHANGED.labels(row["action"]).inc(row["newly_changed"])
    return rows[0] if rows else None


def _is_of_job(error: ServiceError) -> bool:
    state = getattr(error.__cause__, "sqlstate", None) or _NOT_OF_JOB[0]
    return state == _CANCELLED or not state.startswith(_NOT_OF_JOB)


async def work_forever(database: Database) -> None:
    """Runs open jobs in turns, until it is cancelled."""
    await work_on_nodes(
        database,
        lambda node: repeat("jobs", partial(_work, node, is_expiry=False), IDLE_SECONDS, notes_of(node, "jobs")),
    )


async def expire_forever(database: Database) -> None:
    """Ends expired holds and releases their messages, in parallel to other jobs, until it is cancelled."""

    async def work(node: Node) -> float:
        await node.fetch(node.statement("control/expire"), WRITING)
        return await _work(node, is_expiry=True)

    await work_on_nodes(
        database, lambda node: repeat("expiries", partial(work, node), IDLE_SECONDS, notes_of(node, "expiries"))
    )


async def _work(node: Node, *, is_expiry: bool) -> float:
    """Runs a step of the next job. Returns the pause before the next step, in seconds."""
    ((job_id,),) = await node.fetch(node.statement("control/next"), WRITING, is_expiry=is_expiry)
    if job_id is None:
        return IDLE_SECONDS
    await _try_step(node, job_id)
    return 0

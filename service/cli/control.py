import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from service.cli.options import (
    command,
    in_order,
    json_option,
    names_option,
    on_database,
    open_pool,
    option_once,
    owner_url,
    query_options,
)
from service.cli.output import add_names, print_table, progress
from service.cli.types import ID, Duration, Text
from service.control.actor import of_command
from service.errors import CommandError
from service.model import MAX_REASON_CHARACTERS, Action, ControlRequest, StatsQuery
from service.settings import Settings

if TYPE_CHECKING:
    from service.control.jobs import Control, Job

DONE = {Action.HOLD: "held", Action.RELEASE: "released", Action.PURGE: "removed"}
HOLD_COLUMNS = (
    *("id", "sender_id", "account_id", "campaign_id", "isp", "messages", "reason"),
    *("created_by_kind", "created_by", "created_at", "expires_at"),
)
JOB_COLUMNS = (
    *("id", "action", "sender_id", "account_id", "campaign_id", "isp", "state", "matched", "changed", "failed"),
    *("error", "waits_for", "waits_since", "requested_by_kind", "requested_by", "created_at", "finished_at"),
)
AUDIT_COLUMNS = (
    *("at", "action", "subject", "sender_id", "account_id", "campaign_id", "isp", "messages", "actor_kind"),
    *("actor_name", "request_id", "reason", "hold_id", "job_id", "hold_ids"),
)
REASON = Text(MAX_REASON_CHARACTERS, is_filled=True)
REQUEST_OPTIONS = in_order(
    query_options(option_once, isp=Text(is_filled=True)),
    option_once("--at-most", type=click.IntRange(0, 2**63 - 1), help="change nothing if more messages match"),
    click.option("--dry-run", "is_dry_run", is_flag=True, help="only count the messages that match, by status"),
    json_option(),
)
sender_option = click.option("--sender", type=ID, help="only those of this sender")


@command('hold --sender 119 --isp Gmail --reason "blocked there" --expires-in 2h')
@REQUEST_OPTIONS
@option_once("--reason", type=REASON, help="reason of the hold; queuestats holds shows it")
@option_once("--expires-in", type=Duration(365), help="time after which the hold ends: 12h, 30m  [default: never]")
@on_database
async def hold(
    settings: Settings,
    query: StatsQuery,
    reason: str | None,
    expires_in: timedelta | None,
    at_most: int | None,
    **output: bool,
) -> None:
    """Put new messages and retries on hold.

    This includes messages that arrive while the hold is active.
    """
    seconds = int(expires_in.total_seconds()) if expires_in else 0
    await _carry_out(settings, ControlRequest(Action.HOLD, query, reason or "", seconds, at_most), **output)


@command("release --sender 119 --isp Gmail")
@REQUEST_OPTIONS
@option_once("--hold", "hold_id", type=ID, help="end only this hold, in place of a filter; see queuestats holds")
@on_database
async def release(
    settings: Settings, query: StatsQuery, hold_id: int | None, at_most: int | None, **output: bool
) -> None:
    """End holds, and restore the status of their messages.

    The options select the holds with the same filter or a narrower one; --hold selects one hold.
    """
    if hold_id is not None and query != StatsQuery(query.sender_id):
        raise click.UsageError("--hold can't be combined with --account, --campaign and --isp: it has its own filter.")
    await _carry_out(settings, ControlRequest(Action.RELEASE, query, at_most=at_most, hold_id=hold_id), **output)


@command("purge --sender 119 --campaign 4591 --dry-run")
@REQUEST_OPTIONS
@click.option(
    "--yes",
    "is_confirmed",
    is_flag=True,
    help="skip the confirmation; required to purge a whole queue without a terminal",
)
@on_database
async def purge(
    settings: Settings, query: StatsQuery, at_most: int | None, is_confirmed: bool, is_dry_run: bool, as_json: bool
) -> None:
    """Remove all messages that match. This can't be undone.

    Messages of every status are removed. At a terminal, the command shows the number of messages and asks for
    confirmation. It removes nothing if more messages match when you confirm.
    """
    is_unconfirmed = not (is_dry_run or is_confirmed)
    is_terminal = sys.stdin.isatty()
    if is_unconfirmed and not is_terminal and query == StatsQuery(query.sender_id):
        raise click.UsageError("To remove the whole queue of a sender, add --yes.")
    request = ControlRequest(Action.PURGE, query, at_most=at_most)
    await _carry_out(settings, request, is_dry_run, as_json, is_asking=is_unconfirmed and is_terminal)


async def _carry_out(
    settings: Settings, request: ControlRequest, is_dry_run: bool, as_json: bool, *, is_asking: bool = False
) -> None:
    async with open_control(settings) as control:
        request = await control.with_filter(request)
        counts = await control.matching(request)
        total = sum(counts.values())
        if is_dry_run:
            print_table([*counts, "total"], [{**counts, "total": total}], as_json)
            return
        if is_asking:
            click.confirm(f"Remove {total:,} messages of {_filter_text(request.query)}?", abort=True)
            # At most the confirmed number, even if messages have arrived since.
            request = replace(request, at_most=total if request.at_most is None else min(total, request.at_most))
        job = await _run_job(control, request, total)
    if as_json:
        print_table(job.details, [job.details], as_json)
        return
    of_hold = f" Hold {job.hold_id} is active." if request.action is Action.HOLD else ""
    click.echo(f"{job.changed:,} messages {DONE[request.action]}.{of_hold}")


async def _run_job(control: "Control", request: ControlRequest, total: int) -> "Job":
    """Runs the job step by step, with its progress."""
    job = await control.begin(request, of_command(), uuid.uuid4().hex)
    try:
        with progress(request.action.capitalize(), total) as advance:
            while not job.is_complete:
                job = await control.step(job)
                advance(job.changed)
    except asyncio.CancelledError:
        click.echo(f"Job {job.id} continues in the service; queuestats jobs --cancel {job.id} ends it.", err=True)
        raise
    job.require_success()
    return job


def _filter_text(query: StatsQuery) -> str:
    names = {"sender": query.sender_id, "account": query.account_id, "campaign": query.campaign_id, "ISP": query.isp}
    return ", ".join(f"{name} {value!r}" for name, value in names.items() if value is not None)


@asynccontextmanager
async def open_control(settings: Settings) -> AsyncIterator["Control"]:
    """Two connections with the service's role: one has the time limit of reads, one that of a job's step."""
    from service.control.jobs import STEP_TIME_LIMIT_MS, Control

    async with (
        open_pool(settings) as reading,
        open_pool(replace(settings, request_time_limit_ms=STEP_TIME_LIMIT_MS)) as writing,
    ):
        yield Control(writing, reading, settings.control_messages)


@command("holds --sender 119")
@sender_option
@names_option
@json_option()
@on_database
async def holds(settings: Settings, sender: int | None, has_names: bool, as_json: bool) -> None:
    """List the active holds, with the numbers of messages on hold."""
    async with open_control(settings) as control, open_pool(settings) as database:
        found = await control.holds(sender)
        columns, rows = await add_names(database, HOLD_COLUMNS, found) if has_names else (HOLD_COLUMNS, found)
    print_table(columns, rows, as_json)


@command("jobs --cancel 12")
@click.option(
    "--cancel", "cancelled", type=ID, help="cancel this job; messages that it has already changed are not restored"
)
@names_option
@json_option()
@on_database
async def jobs(settings: Settings, cancelled: int | None, has_names: bool, as_json: bool) -> None:
    """List the latest jobs, or cancel one."""
    async with open_control(settings) as control, open_pool(settings) as database:
        if cancelled is not None:
            if not await control.cancel(cancelled, of_command()):
                raise CommandError(f"There is no open job {cancelled}.")
            click.echo(f"Job {cancelled} is cancelled.")
            return
        found = await control.jobs()
        columns, rows = await add_names(database, JOB_COLUMNS, found) if has_names else (JOB_COLUMNS, found)
    print_table(columns, rows, as_json)


@command("audit --sender 119")
@sender_option
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, help="number of entries")
@json_option()
@on_database
async def audit(settings: Settings, sender: int | None, limit: int, as_json: bool) -> None:
    """List the audit log, the latest entries first.

    The log contains holds, releases, purges, and changes of tokens.
    """
    async with open_control(settings) as control:
        print_table(AUDIT_COLUMNS, await control.audit(sender, limit), as_json)


@command("prune --older-than 90d --dry-run")
@click.option(
    "--older-than",
    type=Duration(),
    required=True,
    help="delete jobs that ended, and entries that were written, longer ago than this: 90d, 12h, 30m or 45s",
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="only count the rows that would be deleted")
@json_option()
@on_database
async def prune(settings: Settings, older_than: timedelta, is_dry_run: bool, as_json: bool) -> None:
    """Delete old jobs and entries of the audit log.

    The command connects as the owner, and prints the number of deleted rows by table. It keeps open jobs, rows of an
    active hold, and the newest result of verify. The service also deletes old rows automatically, after
    QUEUESTATS_RETENTION_DAYS days.
    """
    from service.cluster.commands import keepers
    from service.control.retention import count_prunable
    from service.control.retention import prune as delete
    from service.db import connect

    work = count_prunable if is_dry_run else delete
    deleted: Counter[str] = Counter()
    async with connect(owner_url(settings)) as connection:
        for keeper in await keepers(connection, owner_url(settings)):
            async with keeper.connect(connection) as at_keeper:
                deleted.update(await work(at_keeper, older_than, keeper.places))
    print_table(deleted, [deleted], as_json)

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from service.cli.options import filter_options, in_order, json_option, on_database, open_pool, option_once
from service.cli.output import print_table, progress
from service.cli.types import ID, Duration, Text
from service.control.actor import of_command
from service.model import MAX_REASON_CHARACTERS, Action, ControlRequest, StatsQuery
from service.settings import Settings

if TYPE_CHECKING:
    from service.control.jobs import Control, Job

DONE = {Action.HOLD: "held", Action.RELEASE: "released", Action.PURGE: "removed"}
REQUEST_OPTIONS = in_order(
    filter_options(option_once, isp=Text(is_filled=True)),
    option_once("--at-most", type=click.IntRange(0, 2**63 - 1), help="change nothing if more messages match"),
    click.option("--dry-run", "is_dry_run", is_flag=True, help="only count what would be changed, by status"),
    json_option(),
)


@click.command()
@REQUEST_OPTIONS
@option_once(
    "--reason", type=Text(MAX_REASON_CHARACTERS, is_filled=True), help="why, for those who find the messages on hold"
)
@option_once("--expires-in", type=Duration(365), help="when it ends by itself: 12h, 30m  [default: never]")
@on_database
async def hold(settings: Settings, is_dry_run: bool, as_json: bool, **of_request: Any) -> None:
    """Stop new messages and retries, and what arrives until the release.

    \b
    Example: queuestats hold --sender 119 --isp Gmail --reason "blocked there" --expires-in 2h
    """
    await _carry_out(settings, _request(Action.HOLD, **of_request), is_dry_run, as_json)


@click.command()
@REQUEST_OPTIONS
@option_once("--hold", "hold_id", type=ID, help="end only this hold, in place of a filter; see queuestats holds")
@on_database
async def release(settings: Settings, is_dry_run: bool, as_json: bool, **of_request: Any) -> None:
    """End the holds with this filter or a narrower one, or one hold; each message gets its former status back.

    \b
    Example: queuestats release --sender 119 --isp Gmail
    """
    request = _request(Action.RELEASE, **of_request)
    if request.hold_id is not None and request.query != StatsQuery(request.query.sender_id):
        raise click.UsageError("--hold can't be combined with --account, --campaign and --isp: it has its own filter.")
    await _carry_out(settings, request, is_dry_run, as_json)


@click.command()
@REQUEST_OPTIONS
@click.option("--yes", "is_confirmed", is_flag=True, help="do not ask; required for a whole queue without a terminal")
@on_database
async def purge(settings: Settings, is_dry_run: bool, as_json: bool, is_confirmed: bool, **of_request: Any) -> None:
    """Remove messages of every status. At a terminal it asks first, and removes nothing if more messages match by then.

    \b
    Example: queuestats purge --sender 119 --campaign 4591 --dry-run
    """
    request = _request(Action.PURGE, **of_request)
    is_whole = request.query == StatsQuery(request.query.sender_id)
    is_asking = not (is_dry_run or is_confirmed)
    if is_asking and is_whole and not sys.stdin.isatty():
        raise click.UsageError("The whole queue of a sender is removed with --yes only.")
    await _carry_out(settings, request, is_dry_run, as_json, is_asking=is_asking and sys.stdin.isatty())


def _request(
    action: Action,
    at_most: int | None,
    reason: str | None = None,
    expires_in: timedelta | None = None,
    hold_id: int | None = None,
    **of_query: Any,
) -> ControlRequest:
    seconds = int(expires_in.total_seconds()) if expires_in else 0
    return ControlRequest(action, StatsQuery(**of_query), reason or "", seconds, at_most, hold_id)


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
            # No more than was confirmed, even if messages have arrived since.
            request = replace(request, at_most=total if request.at_most is None else min(total, request.at_most))
        job = await _run_job(control, request, total)
    if as_json:
        print_table(job.details, [job.details], as_json)
        return
    of_hold = f" Hold {job.hold_id} is active." if request.action is Action.HOLD else ""
    click.echo(f"{job.changed:,} messages {DONE[request.action]}.{of_hold}")


async def _run_job(control: "Control", request: ControlRequest, total: int) -> "Job":
    """Does the job step by step, with its progress."""
    from service.control.jobs import COMPLETE

    job = await control.begin(request, of_command(), uuid.uuid4().hex)
    try:
        with progress(request.action.capitalize(), total) as advance:
            while job.state not in COMPLETE:
                job = await control.step(job)
                advance(job.changed)
    except asyncio.CancelledError:
        click.echo(f"Job {job.id} goes on while the service runs; queuestats jobs --cancel {job.id} ends it.", err=True)
        raise
    return job


def _filter_text(query: StatsQuery) -> str:
    names = {"sender": query.sender_id, "account": query.account_id, "campaign": query.campaign_id, "ISP": query.isp}
    return ", ".join(f"{name} {value!r}" for name, value in names.items() if value is not None)


@asynccontextmanager
async def open_control(settings: Settings) -> AsyncIterator["Control"]:
    """Two connections as the service's role: reading has its time limit, writing that of a job's step."""
    from service.control.jobs import STEP_TIME_LIMIT_MS, Control

    async with (
        open_pool(settings) as reading,
        open_pool(replace(settings, request_time_limit_ms=STEP_TIME_LIMIT_MS)) as writing,
    ):
        yield Control(writing, reading, settings.control_messages)

import asyncio
import functools
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec.structs import replace

from service.cli.options import ID, Duration, Number, Text, names_option, on_database, open_pool, option_once
from service.control.actor import of_command
from service.errors import CommandError
from service.model import MAX_REASON_CHARACTERS, Action, ControlRequest, StatsQuery
from service.settings import Settings

if TYPE_CHECKING:
    from service.control.jobs import Control

DONE = {Action.HOLD: "held", Action.RELEASE: "released", Action.PURGE: "removed"}
as_json_option = click.option("--json", "as_json", is_flag=True, help="print a list of objects as JSON")


def request_options(action: Action) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command the options of a filter, and `request` as an argument."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_request(*args: Any, sender: int, account: int, campaign: int, isp: str, **kwargs: Any) -> Any:
            expires_in, reason = kwargs.pop("expires_in", None), kwargs.pop("reason", None)
            request = ControlRequest(
                action,
                StatsQuery(sender, account, campaign, isp),
                reason or "",
                int(expires_in.total_seconds()) if expires_in else 0,
                at_most=kwargs.pop("at_most"),
                hold_id=kwargs.pop("hold_id", None),
            )
            return function(*args, request=request, **kwargs)

        command: Callable[..., Any] = with_request
        for option in (
            as_json_option,
            click.option("--dry-run", "is_dry_run", is_flag=True, help="only count what would be changed, by status"),
            option_once("--at-most", type=Number(0, 2**63 - 1), help="change nothing if more messages match"),
            option_once("--isp", type=Text(is_filled=True), help="only this ISP's messages, exact name"),
            option_once("--campaign", type=ID, help="only this campaign's messages"),
            option_once("--account", type=ID, help="only this account's messages"),
            option_once("--sender", type=ID, required=True, help="whose queue"),
        ):
            command = option(command)
        return command

    return decorate


@click.command()
@request_options(Action.HOLD)
@option_once(
    "--reason", type=Text(MAX_REASON_CHARACTERS, is_filled=True), help="why, for those who find the messages on hold"
)
@option_once("--expires-in", type=Duration(365), help="when it ends by itself: 12h, 30m  [default: never]")
@on_database
async def hold(settings: Settings, request: ControlRequest, is_dry_run: bool, as_json: bool) -> None:
    """Stop new messages and retries, and what arrives until the release.

    \b
    Example: queuestats hold --sender 119 --isp Gmail --reason "blocked there" --expires-in 2h
    """
    await _carry_out(settings, request, is_dry_run, as_json)


@click.command()
@request_options(Action.RELEASE)
@option_once("--hold", "hold_id", type=ID, help="end only this hold, in place of a filter; see queuestats holds")
@on_database
async def release(settings: Settings, request: ControlRequest, is_dry_run: bool, as_json: bool) -> None:
    """End the holds with this filter or a narrower one, or one hold; each message gets its former status back.

    \b
    Example: queuestats release --sender 119 --isp Gmail
    """
    if request.hold_id is not None and request.query != StatsQuery(request.query.sender_id):
        raise click.UsageError("--hold can't be combined with --account, --campaign and --isp: it has its own filter.")
    await _carry_out(settings, request, is_dry_run, as_json)


@click.command()
@request_options(Action.PURGE)
@click.option("--yes", "is_confirmed", is_flag=True, help="do not ask; required for a whole queue without a terminal")
@on_database
async def purge(
    settings: Settings, request: ControlRequest, is_dry_run: bool, as_json: bool, is_confirmed: bool
) -> None:
    """Remove messages of every status. At a terminal it asks first, and removes nothing if more messages match by then.

    \b
    Example: queuestats purge --sender 119 --campaign 4591 --dry-run
    """
    is_whole = request.query == StatsQuery(request.query.sender_id)
    is_asking = not (is_dry_run or is_confirmed)
    if is_asking and is_whole and not sys.stdin.isatty():
        raise click.UsageError("The whole queue of a sender is removed with --yes only.")
    await _carry_out(settings, request, is_dry_run, as_json, is_asking=is_asking and sys.stdin.isatty())


async def _carry_out(
    settings: Settings, request: ControlRequest, is_dry_run: bool, as_json: bool, *, is_asking: bool = False
) -> None:
    from service.cli.output import print_table, progress
    from service.control.jobs import COMPLETE

    async with _open_control(settings) as control:
        request = await control.with_filter(request)
        counts = await control.matching(request)
        total = sum(counts.values())
        if is_dry_run:
            print_table([*counts, "total"], [[*counts.values(), total]], as_json)
            return
        if is_asking:
            click.confirm(f"Remove {total:,} messages of {_described(request.query)}?", abort=True)
            # No more than was confirmed, even if messages have arrived since.
            at_most = total if request.at_most is None else min(total, request.at_most)
            request = msgspec.structs.replace(request, at_most=at_most)
        job = await control.begin(request, of_command(), uuid.uuid4().hex)
        try:
            with progress(request.action.capitalize(), total) as show:
                while job.state not in COMPLETE:
                    job = await control.step(job)
                    show(job.changed)
        except asyncio.CancelledError:
            click.echo(
                f"Job {job.id} goes on while the service runs; queuestats jobs --cancel {job.id} ends it.", err=True
            )
            raise
    if as_json:
        print_table([*job.details], [[*job.details.values()]], as_json)
        return
    of_hold = f" Hold {job.hold_id} is active." if request.action is Action.HOLD else ""
    click.echo(f"{job.changed:,} messages {DONE[request.action]}.{of_hold}")


def _described(query: StatsQuery) -> str:
    names = {"sender": query.sender_id, "account": query.account_id, "campaign": query.campaign_id, "ISP": query.isp}
    return ", ".join(f"{name} {value!r}" for name, value in names.items() if value is not None)


@click.command()
@click.option("--sender", type=ID, help="only this sender's")
@names_option
@as_json_option
@on_database
async def holds(settings: Settings, sender: int | None, has_names: bool, as_json: bool) -> None:
    """List the active holds, each with the number of messages that it holds now.

    \b
    Example: queuestats holds --sender 119
    """
    columns = ("id", "sender_id", "account_id", "campaign_id", "isp", "messages", "reason")
    created = ("created_by_kind", "created_by", "created_at", "expires_at")
    async with _open_control(settings) as control:
        found = await control.holds(sender)
        _print(*await _named(settings, (*columns, *created), found, has_names), as_json)


@click.command()
@click.option("--cancel", "cancelled", type=ID, help="end this job; what it has changed stays")
@names_option
@as_json_option
@on_database
async def jobs(settings: Settings, cancelled: int | None, has_names: bool, as_json: bool) -> None:
    """List the latest jobs, or end one.

    \b
    Example: queuestats jobs --cancel 12
    """
    columns = ("id", "action", "sender_id", "account_id", "campaign_id", "isp", "state", "matched", "changed")
    async with _open_control(settings) as control:
        if cancelled is None:
            requested = ("requested_by_kind", "requested_by", "created_at", "finished_at")
            found = await control.jobs()
            _print(*await _named(settings, (*columns, *requested), found, has_names), as_json)
        elif await control.cancel(cancelled, of_command()):
            click.echo(f"Job {cancelled} is cancelled.")
        else:
            raise CommandError(f"There is no open job {cancelled}.")


@click.command()
@click.option("--sender", type=ID, help="only this sender's")
@click.option("--limit", type=Number(1, 1_000_000), default=100, show_default=True, help="how many entries")
@as_json_option
@on_database
async def audit(settings: Settings, sender: int | None, limit: int, as_json: bool) -> None:
    """List the audit log, the latest entries first: holds, releases, purges, and changes of tokens.

    \b
    Example: queuestats audit --sender 119
    """
    columns = ("at", "action", "subject", "sender_id", "account_id", "campaign_id", "isp", "messages", "actor_kind")
    async with _open_control(settings) as control:
        _print(
            (*columns, "actor_name", "request_id", "reason", "hold_id", "job_id"),
            await control.audit(sender, limit),
            as_json,
        )


@asynccontextmanager
async def _open_control(settings: Settings) -> AsyncIterator["Control"]:
    from service.control.jobs import STEP_TIME_LIMIT_MS, Control

    async with (
        open_pool(settings) as reading,
        open_pool(replace(settings, request_time_limit_ms=STEP_TIME_LIMIT_MS)) as writing,
    ):
        yield Control(writing, reading, settings.control_messages)


async def _named(
    settings: Settings, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], has_names: bool
) -> tuple[Sequence[str], Sequence[Mapping[str, Any]]]:
    """The columns and the rows; with `has_names`, also the names of ids."""
    if not has_names:
        return columns, rows
    from service.queue.names import name_rows

    async with open_pool(settings) as database:
        return (*columns, "account_name", "campaign_name", "sender_name"), await name_rows(database, rows)


def _print(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    from service.cli.output import print_table

    print_table(columns, [[row[column] for column in columns] for row in rows], as_json)

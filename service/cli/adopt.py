import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.cli.options import in_order, on_database
from service.cli.output import echo
from service.errors import CommandError, WrongUsage
from service.settings import Settings

if TYPE_CHECKING:
    from service.adoption.trial import Trial
    from service.schema.files import Adopted
    from service.schema.mapping import QueueMapping

FILE = Path("queuestats.toml")
EXPRESSIONS = {
    "table": "name of the table, as schema.name",
    "sender": "expression for the sender, with columns of the table: an integer, text or uuid",
    "account": "expression for the account  [default: 0]",
    "campaign": "expression for the campaign  [default: 0]",
    "isp": "expression for the ISP  [default: '']",
    "status": "expression for the status, which returns new, proc, retry or hold",
    "where": "condition for the rows that are queued  [default: all]",
    "created": "expression for the time of arrival, a timestamp with time zone  [default: unknown]",
    "key": "expression that identifies a row  [default: the primary key]",
    "status_column": "column that hold and release write",
}
# The purpose of each index that adopt creates on the table.
INDEXES = {
    "queuestats_message_id": "for look-ups by hold and release",
    "queuestats_arrival": "for look-ups of the oldest messages",
}


@click.command()
@click.option("--file", "path", type=click.Path(path_type=Path), help=f"file with the mapping  [default: {FILE}]")
@in_order(*(click.option(f"--{name.replace('_', '-')}", help=meaning) for name, meaning in EXPRESSIONS.items()))
@click.option(
    "--stored", multiple=True, metavar="STATUS=VALUE", help="--status-column's value for a status; repeatable"
)
@click.option(
    "--attach",
    "is_attaching",
    is_flag=True,
    help="count the table from now on; without --attach or --detach, nothing is changed",
)
@click.option(
    "--detach", "is_detaching", is_flag=True, help="remove queuestats from the database: THE COUNTS AND TOKENS ARE LOST"
)
@click.option("--sql", "shows_sql", is_flag=True, help="print every statement that --attach runs")
@on_database
async def adopt(
    settings: Settings,
    path: Path | None,
    stored: tuple[str, ...],
    is_attaching: bool,
    is_detaching: bool,
    shows_sql: bool,
    **expressions: str | None,
) -> None:
    """Count an existing table, with any name and columns, as a queue.

    The command tests the mapping on a copy of 10,000 rows, and prints what the triggers and indexes would cost. With
    --attach, it then creates them while the table is in use.

    \b
    Example: queuestats adopt --table mail.outbox --sender sender_ref --isp "split_part(recipient, '@', 2)"
             --status "case state when 'queued' then 'new' when 'sending' then 'proc' end"
             --where "state in ('queued', 'sending')"
    """
    from service.adoption.attach import attach, detach, statements
    from service.adoption.trial import try_out

    url = settings.owner_url
    assert url is not None, "on_database has filled it in"
    if is_detaching:
        queue = await detach(url, lambda what: echo(f"Removed: {what}"))
        echo(f"{queue} is as it was before. The service's role remains: DROP ROLE removes it.")
        return
    adopted, trial = await try_out(url, _mapping(path, stored, expressions))
    if shows_sql:
        # A file or a pipe gets the statements as they run.
        show = echo if sys.stdout.isatty() else click.echo
        show(statements(adopted, trial.index))
        return
    _report(adopted, trial)
    if not is_attaching:
        click.echo("Nothing was changed. --attach counts the table; --sql prints every statement.")
        return
    await attach(url, settings.database_url, adopted, echo)
    echo(f"{adopted.queue} is counted. `queuestats verify` compares the counts with a recount.")


def _mapping(path: Path | None, stored: tuple[str, ...], expressions: dict[str, str | None]) -> "QueueMapping":
    """The mapping of the file, if there is one; options override its values."""
    from service.schema.mapping import QueueMapping

    given: dict[str, Any] = {}
    if path or FILE.is_file():
        try:
            given = tomllib.loads((path or FILE).read_text("utf-8"))["adopt"]
        except OSError as error:
            raise CommandError(f"The file {path or FILE} can't be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CommandError(f"The file {path or FILE} is not valid TOML: {error}.") from None
        except KeyError:
            raise CommandError(f"The file {path or FILE} has no table [adopt].") from None
    given |= {name: text for name, text in expressions.items() if text is not None}
    for pair in stored:
        status, mark, value = pair.partition("=")
        if not mark:
            raise WrongUsage("--stored must be STATUS=VALUE, for example new=queued.")
        given["stored"] = {**given.get("stored", {}), status: value}
    try:
        return msgspec.convert(given, QueueMapping)
    except msgspec.ValidationError as error:
        raise WrongUsage(f"The mapping is incomplete: {error}.") from None


def _report(adopted: "Adopted", trial: "Trial") -> None:
    from service.schema.files import adopted_table

    counted = max(trial.table_rows, trial.rows)
    lines = [f"{adopted.queue} can be counted: tested on a copy of {trial.rows:,} rows, which was removed."]
    if not trial.statement_us:
        lines.append("Writers: the cost of the triggers is measured only with at least 5,000 rows.")
    lines += [
        f"Writers: a statement of {size} rows takes {with_triggers:,.0f} us, {without:,.0f} without the triggers"
        f" ({with_triggers / without:.2f} times)."
        for size, (without, with_triggers) in trial.statement_us.items()
    ]
    roles = "has" if trial.may_create_roles else "lacks: see sql/roles.sql"
    files = len(adopted_table(adopted).paths)
    lines += [
        f"Locks: SHARE ROW EXCLUSIVE on the table for about {1000 * trial.attach_seconds:.0f} ms: writers wait.",
        "       It is requested for 100 ms, and again after a pause, until no writing transaction is open.",
        f"       ACCESS SHARE while {counted:,} rows are counted, for about"
        f" {trial.count_seconds * counted / max(trial.rows, 1):.1f} s: writers do not wait.",
        "Rights: CREATE on the database, SELECT and TRIGGER on the table, for hold and release its ownership: the role"
        " has them;",
        f"        CREATEROLE to create the service's role, which it {roles}.",
        f"New: the schema queuestats, {files} files of functions, and triggers on the table.",
    ]
    for name in adopted.indexes:
        lines.append(f"     The index {name}, built CONCURRENTLY: {INDEXES[name]}.")
    if adopted.indexes and adopted.is_partitioned:
        lines.append("     (on each partition; on the table itself with SHARE, requested as above.)")
    echo("\n".join(lines))

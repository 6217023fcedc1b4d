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
    "table": "the table, as schema.name",
    "sender": "what is the sender: an expression over its columns, an integer, text or uuid",
    "account": "what is the account  [default: 0]",
    "campaign": "what is the campaign  [default: 0]",
    "isp": "what is the ISP  [default: '']",
    "status": "what is the status: an expression that gives new, proc, retry or hold",
    "where": "the rows that are queued  [default: all]",
    "created": "when a message arrived, a timestamp with time zone  [default: not known]",
    "key": "what tells rows apart  [default: the primary key]",
    "status_column": "the column that hold and release write",
}
# What an index of ours on the table is for.
INDEXES = {
    "queuestats_message_id": "hold and release look messages up by it",
    "queuestats_arrival": "the oldest messages are found by it",
}


@click.command()
@click.option("--file", "path", type=click.Path(path_type=Path), help=f"the mapping as a file  [default: {FILE}]")
@in_order(*(click.option(f"--{name.replace('_', '-')}", help=meaning) for name, meaning in EXPRESSIONS.items()))
@click.option("--stored", multiple=True, metavar="STATUS=VALUE", help="what that column holds for a status; repeatable")
@click.option("--attach", "is_attaching", is_flag=True, help="do it; without this option nothing is changed")
@click.option(
    "--detach", "is_detaching", is_flag=True, help="take everything away again: THE COUNTS AND TOKENS ARE LOST"
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
    """Count a queue that exists already: a table of any name, with any columns.

    It tries the mapping on a copy of 10,000 rows, and says what attaching takes. --attach then does it, online.

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
        echo(f"{queue} is as it was before. The service's role is left: DROP ROLE removes it.")
        return
    adopted, trial = await try_out(url, _mapping(path, stored, expressions))
    if shows_sql:
        # A file or a pipe gets the statements as they run.
        show = echo if sys.stdout.isatty() else click.echo
        show(statements(adopted, trial.index))
        return
    _report(adopted, trial)
    if not is_attaching:
        click.echo("Nothing was changed: --attach does it, --sql prints every statement.")
        return
    await attach(url, settings.database_url, adopted, echo)
    echo(f"{adopted.queue} is counted. `queuestats verify` compares with a recount.")


def _mapping(path: Path | None, stored: tuple[str, ...], expressions: dict[str, str | None]) -> "QueueMapping":
    """The file's, where there is one, with what the options say in its place."""
    from service.schema.mapping import QueueMapping

    given: dict[str, Any] = {}
    if path or FILE.is_file():
        try:
            given = tomllib.loads((path or FILE).read_text("utf-8"))["adopt"]
        except OSError as error:
            raise CommandError(f"The file {path or FILE} can't be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CommandError(f"The file {path or FILE} is no TOML: {error}.") from None
        except KeyError:
            raise CommandError(f"The file {path or FILE} has no table [adopt].") from None
    given |= {name: text for name, text in expressions.items() if text is not None}
    for pair in stored:
        status, mark, value = pair.partition("=")
        if not mark:
            raise WrongUsage("--stored must be STATUS=VALUE, new=queued say.")
        given["stored"] = {**given.get("stored", {}), status: value}
    try:
        return msgspec.convert(given, QueueMapping)
    except msgspec.ValidationError as error:
        raise WrongUsage(f"The mapping is incomplete: {error}.") from None


def _report(adopted: "Adopted", trial: "Trial") -> None:
    from service.schema.files import adopted_table

    counted = max(trial.table_rows, trial.rows)
    lines = [f"{adopted.queue} can be counted: tried on a copy of {trial.rows:,} rows, which is gone again."]
    if not trial.statement_us:
        lines.append("Writers: what the triggers cost is measured from 5,000 rows on.")
    lines += [
        f"Writers: a statement of {size} rows takes {with_triggers:,.0f} us, {without:,.0f} without the triggers"
        f" ({with_triggers / without:.2f} times)."
        for size, (without, with_triggers) in trial.statement_us.items()
    ]
    roles = "has" if trial.may_create_roles else "lacks: see sql/roles.sql"
    files = len(adopted_table(adopted).paths)
    lines += [
        f"Locks: SHARE ROW EXCLUSIVE on the table for about {1000 * trial.attach_seconds:.0f} ms: writers wait.",
        "       It is asked for during 100 ms, and again after a pause, until no transaction that writes is open.",
        f"       ACCESS SHARE while {counted:,} rows are counted, for about"
        f" {trial.count_seconds * counted / max(trial.rows, 1):.1f} s: nobody waits.",
        "Rights: CREATE on the database, SELECT and TRIGGER on the table, for hold and release its ownership: the role"
        " has them;",
        f"        CREATEROLE to make the service's role, which it {roles}.",
        f"New: the schema queuestats, {files} files of functions, and triggers on the table.",
    ]
    for name in adopted.indexes:
        lines.append(f"     The index {name}, built CONCURRENTLY: {INDEXES[name]}.")
    if adopted.indexes and adopted.is_partitioned:
        lines.append("     (on each partition; on the table itself SHARE, asked for as above.)")
    echo("\n".join(lines))

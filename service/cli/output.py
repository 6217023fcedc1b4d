"""The output of commands: rows for a person or for a program, and the progress of long work."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from service.telemetry.text import escape

if TYPE_CHECKING:
    from rich.table import Table

    from service.db import Database

# Wider than any table: if the output is not a terminal, no line is wrapped.
UNLIMITED_WIDTH = 10_000

Rows = Sequence[Mapping[str, Any]]


async def add_names(
    database: "Database", columns: Sequence[str], rows: Sequence[Any], sender_id: int | None = None
) -> tuple[Sequence[str], Rows]:
    """The columns and the rows with the names of their ids; `sender_id` is the sender of rows that have no such id."""
    from service.queue.names import name_rows

    return (*columns, "account_name", "campaign_name", "sender_name"), await name_rows(database, rows, sender_id)


def print_table(columns: Iterable[str], rows: Rows, as_json: bool) -> None:
    """These columns of the rows as a table, or as JSON: a list of objects, times in ISO 8601."""
    if as_json:
        print_json([{column: row[column] for column in columns} for row in rows])
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH)
    console.print(table_of(columns, rows))


def echo(text: str, *, err: bool = False) -> None:
    """Prints lines that may quote the database, with control characters escaped."""
    click.echo("\n".join(map(escape, text.split("\n"))), err=err)


def print_json(value: Any) -> None:
    """One line, with times in ISO 8601; the characters that `escape` escapes are escaped as in JSON."""
    text = msgspec.json.encode(value).decode()
    click.echo("".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text))


def print_csv(columns: Sequence[str], rows: Rows) -> None:
    """With a header. A text that a spreadsheet would read as a formula gets a leading `'`."""
    from service.wire.rendering.as_csv import cell

    lines = [[_printed(cell(row[column])) for column in columns] for row in rows]
    csv.writer(sys.stdout).writerows([columns, *lines])


def _printed(value: Any) -> Any:
    return escape(value) if isinstance(value, str) and sys.stdout.isatty() else value


def table_of(columns: Iterable[str], rows: Rows) -> "Table":
    """Numbers are right-aligned, with thousands separators; ids have none."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in columns:
        is_numeric = rows and all(isinstance(row[column], int) for row in rows)
        # A number that does not fit is wrapped: if it were cut, it would be another number.
        table.add_column(column, justify="right" if is_numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_in_table(column, row[column])) for column in columns))
    return table


def _in_table(column: str, value: Any) -> str:
    is_id = column == "id" or column.endswith("_id")
    return f"{value:,}" if type(value) is int and not is_id else printable(value)


def printable(value: Any) -> str:
    """A value as text for a person; control characters in a name are escaped for the terminal."""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return ", ".join(map(printable, value))
    return "" if value is None else escape(str(value))


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the done part of `total`; without a terminal it prints every tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        due = 0

        def advance(done: int) -> None:
            nonlocal due
            if 10 * done >= due * total:
                due = 10 * done // max(total, 1) + 1
                click.echo(f"{title}: {done:,} of {total:,}", err=True)

        yield advance
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)

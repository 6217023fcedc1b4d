"""What commands print: rows for a person or for a machine, and how far long work has come."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table

# Wider than any table: what is not shown on a terminal is never folded.
UNLIMITED_WIDTH = 10_000


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], as_json: bool = False) -> None:
    """Prints rows as a table, numbers to the right; as JSON a list of objects, times in ISO 8601."""
    if as_json:
        click.echo(msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows]))
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH)
    console.print(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, column in enumerate(columns):
        is_numeric = rows and all(isinstance(row[number], int) for row in rows)
        # A number that does not fit goes on in the next line: with its end cut off it would be another number.
        table.add_column(column, justify="right" if is_numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(value)) for value in row))
    return table


def printable(value: Any) -> str:
    """In words for a person; a control character in a name must not reach the terminal as one."""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return ", ".join(map(printable, value))
    text = "" if value is None else str(value)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes how much is done by now, of `total`; a line for each tenth where no bar can be."""
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

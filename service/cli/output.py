"""What commands print: rows for a person or for a machine, and the progress of long work."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table

    from service.db import Database

# Wider than any table: where the output is no terminal, no line is folded.
UNLIMITED_WIDTH = 10_000


def values(columns: Iterable[str], rows: Iterable[Any]) -> list[list[Any]]:
    """The values of these columns in each row, which is a mapping or an object with such attributes."""
    return [
        [row[column] if hasattr(row, "__getitem__") else getattr(row, column) for column in columns] for row in rows
    ]


async def add_names(
    database: "Database", columns: Sequence[str], rows: Sequence[Any], sender_id: int | None = None
) -> tuple[Sequence[str], Sequence[Any]]:
    """The columns and the rows with the names of their ids; `sender_id` is the sender of rows that have no such id."""
    from service.queue.names import name_rows

    return (*columns, "account_name", "campaign_name", "sender_name"), await name_rows(database, rows, sender_id)


def print_table(columns: Iterable[str], rows: Iterable[Any], as_json: bool = False) -> None:
    """Prints these columns of the rows as a table, numbers to the right; as JSON a list of objects, times in ISO 8601.

    A row is a mapping, or an object with such attributes.
    """
    columns = list(columns)
    if as_json:
        click.echo(msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in values(columns, rows)]))
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH)
    console.print(table_of(columns, values(columns, rows)))


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
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes how much of `total` is done; where no bar can be drawn, it prints each tenth."""
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

"""Rows for a person, or for a machine."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

# Wider than any table: what is not shown on a terminal is never folded.
UNLIMITED_WIDTH = 10_000


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Prints rows as a table, numbers to the right; as JSON a list of objects, times in ISO 8601."""
    if as_json:
        click.echo(msgspec.json.encode([{column: row[column] for column in columns} for row in rows]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in columns:
        numeric = all(isinstance(row[column], int) for row in rows)
        # A number that does not fit goes on in the next line: with its end cut off it would be another number.
        table.add_column(column, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_visible(row[column])) for column in columns))
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED_WIDTH)
    console.print(table)


def _visible(value: Any) -> str:
    """A control character in a name must not reach the terminal as one."""
    text = "" if value is None else str(value)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)

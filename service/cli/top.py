import asyncio
import os
import sys
import termios
import tty
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from service.cli.options import ID, Number, names_option, on_database, open_pool
from service.errors import ServiceError
from service.model import Count, Key, TopQuery, TopReport
from service.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

COUNTS = (Count.NEW, Count.PROC, Count.RETRY, Count.HOLD, Count.TOTAL)
ORDER_OF_KEY = {"n": Count.NEW, "p": Count.PROC, "r": Count.RETRY, "h": Count.HOLD, "t": Count.TOTAL}
HELP = "order: n p r h t   pause: space   filter: /   end: q"
BARS = " ▁▂▃▄▅▆▇█"
SPARKLINE_POINTS = 30
HISTORY_SECONDS = 300


def _query(by: str, order: str, limit: int, sender: int | None) -> TopQuery:
    query = TopQuery(Key(by), Count(order), limit, sender)
    if (query.by is Key.SENDER) != (sender is None):
        raise click.UsageError("--sender goes with --by account, campaign or isp, and only with these.")
    return query


@click.command()
@click.option("--by", type=click.Choice([each.value for each in Key]), default="sender", help="what a row stands for")
@click.option(
    "--order", type=click.Choice([each.value for each in Count]), default="total", help="what the largest have most of"
)
@click.option("--limit", type=Number(1, 1000), default=20, show_default=True, help="how many rows")
@click.option("--sender", type=ID, help="whose accounts, campaigns or ISPs")
@click.option("--interval", "seconds", type=Number(0.1, 3600, float), default=1.0, help="seconds between two looks")
@click.option("--json", "as_json", is_flag=True, help="print a list of rows as JSON and end")
@names_option
@on_database
async def top(settings: Settings, seconds: float, as_json: bool, has_names: bool, **of_query: Any) -> None:
    """Show who has the most messages, live; on no terminal, one table.

    \b
    Example: queuestats top --by campaign --sender 119 --order retry
    """
    from service.cli.output import print_table
    from service.queue.names import name_rows
    from service.queue.top import fetch_top

    async def fetch(query: TopQuery) -> TopReport:
        report = await fetch_top(database, query)
        return TopReport(await name_rows(database, report.rows)) if has_names else report

    view = View(_query(**of_query), has_names)
    async with open_pool(settings) as database:
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            view.report = await fetch(view.query)
            print_table(view.columns, view.values, as_json)
            return
        await _live(view, lambda view: fetch(view.query), seconds)


@dataclass
class View:
    """What is shown; keys change it."""

    query: TopQuery
    has_names: bool = False
    filter: str = ""
    is_filtering: bool = False
    is_paused: bool = False
    is_over: bool = False
    error: str = ""
    report: TopReport = field(default_factory=lambda: TopReport([]))
    history: dict[Any, deque[int]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The key, its name where there are names, and the counts."""
        names = [f"{self.query.by}_name"] if self.has_names and self.query.by is not Key.ISP else []
        return [self.query.by.column, *names, *COUNTS]

    @property
    def values(self) -> list[list[Any]]:
        return [[row[column] for column in self.columns] for row in self.report.rows]

    def press(self, key: str) -> None:
        if self.is_filtering:
            self.is_filtering = key not in "\r\n\x1b"
            self.filter = "" if key == "\x1b" else self.filter[:-1] if key in "\x7f\b" else self.filter + key.strip()
        elif key in ORDER_OF_KEY:
            self.query = TopQuery(self.query.by, ORDER_OF_KEY[key], self.query.limit, self.query.sender_id)
            self.history.clear()
        elif key in "q\x04":
            self.is_over = True
        elif key in " /":
            self.is_paused, self.is_filtering = self.is_paused ^ (key == " "), key == "/"

    def look(self, report: TopReport, seconds: float) -> None:
        self.report, self.error = report, ""
        points = max(2, round(HISTORY_SECONDS / seconds))
        kept = defaultdict(lambda: deque[int](maxlen=points), self.history)
        for row in report.rows:
            kept[row[self.query.by.column]].append(int(row[self.query.order]))
        self.history = {row[self.query.by.column]: kept[row[self.query.by.column]] for row in report.rows}

    def draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        from service.cli.output import table_of

        rows = [row for row in self.values if self.filter.casefold() in _words(row).casefold()]
        drawn = [[*row, sparkline(self.history.get(row[0], ()))] for row in rows]
        state = [f"by {self.query.order}", "paused" if self.is_paused else "", self.error]
        if self.filter or self.is_filtering:
            state.append(f"filter: {self.filter}{'_' if self.is_filtering else ''}")
        head = "   ".join(filter(None, state))
        return Group(
            Text(head),
            table_of([*self.columns, "last minutes"], drawn),
            Text(HELP, style="dim"),
        )


def _words(row: list[Any]) -> str:
    """The text that the filter searches: the key and its name."""
    return " ".join(str(each) for each in row[: -len(COUNTS)] if each is not None)


def sparkline(points: Any) -> str:
    """The points as bars, from the lowest of them to the highest."""
    shown = list(points)[:: -(-len(points) // SPARKLINE_POINTS) or 1]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    return "".join(BARS[1 + (each - low) * 7 // max(1, high - low)] for each in shown)


async def _live(view: View, fetch: Any, seconds: float) -> None:
    """Until q or Ctrl-C. An outage is waited for."""
    from rich.live import Live

    pressed = asyncio.Event()

    def read_key() -> None:
        for key in os.read(sys.stdin.fileno(), 64).decode(errors="ignore"):
            view.press(key)
        pressed.set()

    with _keys(read_key), Live(auto_refresh=False, screen=True) as live, suppress(asyncio.CancelledError):
        while not view.is_over:
            if not view.is_paused:
                try:
                    view.look(await fetch(view), seconds)
                except ServiceError as error:
                    view.error = f"{error.text}."
            live.update(view.draw(), refresh=True)
            pressed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(pressed.wait(), seconds)


@contextmanager
def _keys(read_key: Any) -> Iterator[None]:
    """Meanwhile each key is told at once, and not shown."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    asyncio.get_running_loop().add_reader(sys.stdin, read_key)
    try:
        yield
    finally:
        asyncio.get_running_loop().remove_reader(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

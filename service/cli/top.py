import asyncio
import os
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from service.cli.options import command, json_option, names_option, on_database, open_pool
from service.cli.output import UNLIMITED_WIDTH, print_table, table_of
from service.cli.types import ID, FiniteRange, Member
from service.errors import ServiceError
from service.model import Dimension, Measure, Order, TopQuery
from service.reports import TopReport
from service.settings import Settings
from service.telemetry.text import escape
from service.wire.parsing.parameters import ORDER

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

MEASURES = (Measure.NEW, Measure.PROC, Measure.RETRY, Measure.HOLD, Measure.TOTAL)
ORDER_OF_KEY = {"n": Measure.NEW, "p": Measure.PROC, "r": Measure.RETRY, "h": Measure.HOLD, "t": Measure.TOTAL}
HELP = "order: n p r h t   oldest: o   pause: space   filter: /   end: q"
BARS = " ▁▂▃▄▅▆▇█"
SPARKLINE = "last minutes"
SPARKLINE_POINTS = 30
# Around the rows: the state, the header, its borders, the lower border and the keys.
FRAME_LINES = 6
HISTORY_SECONDS = 300


@command("top --by campaign --sender 119 --order retry")
@click.option("--by", type=Member(Dimension), default="sender", help="key of a row")
@click.option(
    "--order",
    type=Member(ORDER.words),
    default="total",
    help="sort rows by a count, or by the age of the oldest message",
)
@click.option("--status", type=Member(Measure), help="with --order oldest: only messages of this status")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="number of rows")
@click.option("--sender", "sender_id", type=ID, help="sender of the accounts, campaigns or ISPs")
@click.option("--interval", "seconds", type=FiniteRange(0.1, 3600), default=1.0, help="seconds between two reports")
@json_option("a list of rows")
@names_option
@on_database
async def top(settings: Settings, seconds: float, as_json: bool, has_names: bool, **of_query: Any) -> None:
    """Show the largest or the oldest queues as a live table.

    With --by account, campaign or isp, the rows are those of one sender (--sender). If the output is not a terminal,
    the table is printed once.
    """
    from service.queue.names import name_rows
    from service.queue.top import fetch_top

    async def read(query: TopQuery) -> TopReport:
        report = await fetch_top(database, query)
        return TopReport(await name_rows(database, report.rows)) if has_names else report

    query = _query(**of_query)
    names = [f"{query.by}_name"] if has_names and query.by is not Dimension.ISP else []
    view = View(query, [query.by.column, *names])
    async with open_pool(settings) as database:
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            rows = (await read(query)).rows
            print_table(view.all_columns, rows if as_json else list(map(view.row, rows)), as_json)
        else:
            await _live(view, read, seconds)


def _query(order: Order, status: Measure | None, **others: Any) -> TopQuery:
    by_age = order is Order.OLDEST
    query = TopQuery(order=(status or Measure.TOTAL) if by_age else Measure(order), by_age=by_age, **others)
    if (query.by is Dimension.SENDER) != (query.sender_id is None):
        raise click.UsageError("--by account, campaign and isp need --sender, and only they accept it.")
    if (by_age and query.by is not Dimension.SENDER) or (status and not by_age):
        raise click.UsageError("--order oldest needs --by sender, and --status needs --order oldest.")
    return query


@dataclass
class View:
    """The state of the view, which keys change. `columns` come before the measures."""

    query: TopQuery
    columns: Sequence[str]
    filter: str = ""
    is_filtering: bool = False
    is_paused: bool = False
    is_over: bool = False
    error: str = ""
    report: TopReport = field(default_factory=lambda: TopReport([]))
    history: dict[Any, list[int]] = field(default_factory=dict)

    @property
    def all_columns(self) -> Sequence[str]:
        return [*self.columns, *MEASURES, *["oldest"] * self.query.by_age]

    def row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row for the table: of `oldest`, only the time by which the table is ordered."""
        return {**row, "oldest": row.get("oldest", {}).get(self.query.order)}

    def press(self, key: str) -> None:
        if self.is_filtering:
            self.is_filtering = key not in "\r\n\x1b"
            self.filter = "" if key == "\x1b" else self.filter[:-1] if key in "\x7f\b" else self.filter + key.strip()
        elif key in ORDER_OF_KEY:
            self.query = replace(self.query, order=ORDER_OF_KEY[key])
            self.history.clear()
        elif key == "o" and self.query.by is Dimension.SENDER:
            self.query = replace(self.query, by_age=not self.query.by_age)
        elif key in "q\x04":
            self.is_over = True
        elif key in " /":
            self.is_paused, self.is_filtering = self.is_paused ^ (key == " "), key == "/"

    def show(self, report: TopReport, seconds: float) -> None:
        """Shows a report, and adds its rows to the history; deletes the history of other rows."""
        self.report, self.error = report, ""
        points = max(2, round(HISTORY_SECONDS / seconds))
        counts = {row[self.query.by.column]: int(row[self.query.order]) for row in report.rows}
        self.history = {key: [*self.history.get(key, ()), count][-points:] for key, count in counts.items()}

    def draw(self, width: int = 80, height: int = 24) -> "RenderableType":
        """Sets the size; rows and last minutes that do not fit are left out."""
        from rich.console import Group
        from rich.text import Text

        text = self.filter.casefold()
        found = [
            {**row, "oldest": age(self.row(row)["oldest"])}
            for row in self.report.rows
            if text in " ".join(str(row[name]) for name in self.columns if row[name] is not None).casefold()
        ]
        rows = found[: max(1, height - FRAME_LINES)]
        order = f"oldest {self.query.order}" if self.query.by_age else self.query.order
        state = [f"by {order}", "paused" if self.is_paused else "", self.error]
        if len(rows) < len(found):
            state.append(f"{len(rows)} of {len(found)} rows")
        if self.filter or self.is_filtering:
            state.append(f"filter: {self.filter}{'_' if self.is_filtering else ''}")
        return Group(_line("   ".join(filter(None, state))), self._table(rows, width), Text(HELP, style="dim"))

    def _table(self, rows: Sequence[Mapping[str, Any]], width: int) -> "Table":
        """A line for each row: with the last minutes if there is room, otherwise with a shorter name."""
        from rich.console import Console

        measure = Console(width=UNLIMITED_WIDTH).measure
        table = table_of(self.all_columns, rows)
        room = width - measure(table).maximum
        if room >= len(SPARKLINE) + len("│  "):
            lines = [sparkline(self.history.get(row[self.query.by.column], ())) for row in rows]
            wider = [{**row, SPARKLINE: line[3 - room :]} for row, line in zip(rows, lines, strict=True)]
            return table_of([*self.all_columns, SPARKLINE], wider)
        if room < 0:
            table.padding = (0, 0)
            for column in table.columns:
                if column.justify == "left" and (excess := measure(table).maximum - width) > 0:
                    longest = max(len(str(cell)) for cell in column.cells)
                    column.max_width, column.no_wrap, column.overflow = max(8, longest - excess), True, "ellipsis"
        return table


def _line(text: str) -> "Text":
    from rich.text import Text

    return Text(escape(text), no_wrap=True, overflow="ellipsis")


def age(at: str | None) -> str:
    """The time since `since`, in its two largest units; "" for None."""
    if at is None:
        return ""
    minutes = max(0, int((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds() // 60))
    if minutes >= 24 * 60:
        return f"{minutes // 1440:,} d {minutes // 60 % 24} h"
    return f"{minutes // 60} h {minutes % 60} min"


def sparkline(points: Sequence[int]) -> str:
    """The points as bars, scaled from the lowest to the highest."""
    drawn = points[:: max(1, -(-len(points) // SPARKLINE_POINTS))]
    low, high = min(drawn, default=0), max(drawn, default=0)
    return "".join(BARS[1 + (point - low) * 7 // max(1, high - low)] for point in drawn)


async def _live(view: View, read: Callable[[TopQuery], Awaitable[TopReport]], seconds: float) -> None:
    """Runs until q or Ctrl-C. Continues after an outage."""
    from rich.live import Live

    pressed = asyncio.Event()

    def read_keys() -> None:
        for key in os.read(sys.stdin.fileno(), 64).decode(errors="ignore"):
            view.press(key)
        pressed.set()

    with _keys(read_keys), Live(auto_refresh=False, screen=True) as live, suppress(asyncio.CancelledError):
        while not view.is_over:
            if not view.is_paused:
                try:
                    view.show(await read(view.query), seconds)
                except ServiceError as error:
                    view.error = f"{error.text}."
            live.update(view.draw(*live.console.size), refresh=True)
            pressed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(pressed.wait(), seconds)


@contextmanager
def _keys(read_keys: Callable[[], None]) -> Iterator[None]:
    """Calls `read_keys` when a key is pressed, without echo."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    asyncio.get_running_loop().add_reader(sys.stdin, read_keys)
    try:
        yield
    finally:
        asyncio.get_running_loop().remove_reader(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

"""The results of queries: reports and their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec


class StatsRow(msgspec.Struct, frozen=True, gc=False):
    """Messages by status, in the order of the members in responses; a key outside the grouping is 0 or ""."""

    account_id: int
    campaign_id: int
    hold: int
    isp: str
    new: int
    proc: int
    retry: int
    total: int

    @property
    def is_negative(self) -> bool:
        """Whether a count is below zero, which only drift causes. Such a row is not sent."""
        return self.new < 0 or self.proc < 0 or self.retry < 0 or self.hold < 0


class Oldest(msgspec.Struct, frozen=True, gc=False):
    """Arrival of the oldest message of each status, and of all (RFC 3339, UTC, microseconds); None if there is none."""

    hold: str | None
    new: str | None
    proc: str | None
    retry: str | None
    total: str | None


class StatsRowWithOldest(StatsRow, frozen=True, gc=False):
    oldest: Oldest


class Window(msgspec.Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """The five full minutes of the rates."""

    from_: datetime
    to: datetime


class StatsRowWithRates(StatsRow, frozen=True, gc=False):
    """`arrived`, `left`: None if the history does not cover all of the window. `empty_in`: seconds until the queue is
    empty at this rate; None if it does not shrink. `last_left`: the minute of the last departure; None if unknown.
    """

    arrived: int | None
    empty_in: int | None
    last_left: datetime | None
    left: int | None
    window: Window
    oldest: Oldest | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class StatsReport:
    """The rows of one response, from one snapshot, in ascending order of their keys; may be empty."""

    rows: Sequence[StatsRow]


@dataclass(frozen=True, slots=True)
class TopReport:
    """The rows of a TopQuery from one snapshot, in its order; equal ones in the order of their keys.

    A row has the column of its key and the counts by name, in alphabetical order; by age, it also has `oldest`, with
    times by name. A key without such messages has no row.
    """

    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """The rows of a ReportQuery, from one snapshot, in its order; equal ones in the order of their keys.

    A row has `columns`: the keys, and the counts in alphabetical order; by age, it also has `oldest`, with times by
    name. `more` follows the rows: `next`, which is None on the last page (other pages may have fewer rows than the
    limit), and on request `count`, the number of rows of all pages, None if it is not known.
    """

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryReport:
    """The rows of a HistoryQuery from one snapshot, in ascending order of their steps and ISPs.

    A row has the end of its step, the counts at that time, and how many messages arrived and left within the step. The
    last row is the current step; these two numbers are None if it is not fully recorded. Other such steps have no row.
    """

    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`sql` as in its file, its parameters by name, and the plan as lines of text and as PostgreSQL's JSON.

    `warnings`: a sentence for each difference between the plan and the intended one.
    """

    statement: str
    sql: str
    parameters: dict[str, Any]
    lines: Sequence[str]
    tree: dict[str, Any]
    warnings: Sequence[str] = ()

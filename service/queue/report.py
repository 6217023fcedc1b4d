"""The use case: the counts of many senders by the requested keys, one page at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from service.cluster import find_topology
from service.cluster.topology import SLICE_ROWS
from service.db import Database
from service.errors import BadRequest, Unavailable, Uncounted
from service.model import Dimension, Measure, Order, ReportQuery, TopQuery
from service.queue.coalescer import Coalescer, Limits
from service.queue.top import fetch_top
from service.reports import ReportPage
from service.settings import Settings
from service.telemetry.metrics import refuse_negative
from service.wire.cursor import BY_AGE, BY_COUNT, BY_KEYS, read_cursor, write_cursor


class Asked(NamedTuple):
    """A query, and the token that asks it."""

    query: ReportQuery
    token_name: str


Report: TypeAlias = Coalescer[Asked, ReportPage]
Position: TypeAlias = tuple[int | str, ...]
"""The row that a page begins after: what it is sorted by, and its keys. Of the largest: their number is last."""

MOST_READ: Final = 100_000
"""The most counters, and the most look-ups, of a page."""
MOST_LARGEST: Final = 10_000
MOST_OLDEST: Final = 1_000
CONNECTIONS: Final = 2
"""Of a process: the statements that run at once, each of another token."""
MOST_SLICES: Final = 100
"""The most look-ups of a sender."""
MAX_ID: Final = 2**63 - 1
ALL_IDS: Final = (0, MAX_ID)
_KEYS: Final = tuple(dimension.column for dimension in Dimension)
_COUNTS: Final = ("hold", "new", "proc", "retry", "total")
# From so many senders on, all pending deltas are read once (0.5 us each) in place of those of each sender (3.3 us).
_WIDE_SENDERS: Final = 250


def open_report(database: Database, settings: Settings) -> Report:
    """One for each process. Tokens take turns; equal queries of a token that wait together share a statement."""

    async def fetch(batch: Sequence[Asked]) -> list[ReportPage]:
        return [await fetch_page(database, asked.query) for asked in batch]

    wait_seconds = settings.request_time_limit_ms / 2000
    limits = Limits(CONNECTIONS, 1, settings.waiting_requests, wait_seconds, has_turns=True)
    return Coalescer(fetch, limits, kind=lambda asked: asked.token_name)


async def fetch_page(database: Database, query: ReportQuery) -> ReportPage:
    """From one snapshot taken after the call. Raises BadRequest, Unavailable or TimedOut."""
    if _is_of_largest(query):
        return await _fetch_largest(database, query)
    position = read_cursor(query, BY_KEYS)
    topology = await find_topology(database)

    async def read(read_limit: int) -> tuple[list[dict[str, Any]], Position | None, int | None]:
        try:
            rows = await topology.report(report_parameters(query, position, read_limit))
        except Uncounted as error:
            raise Unavailable(": the queue is being counted") from error
        return *await _page(query, rows), rows[0]["number"]

    page, following, number = await read(_enough(query) if _is_by_sender(query) else MOST_READ + 1)
    if following and not page:
        page, following, number = await read(MOST_READ + 1)
        # A client can read a cursor: without a row, it would name a sender that a limited token may not see.
        names_other = query.is_limited and query.sender_ids is None
        if following and not page and (names_other or (position and following <= position)):
            raise _too_much(query)
    return _report(query, page, following, number)


async def fetch_definition(database: Database, query: ReportQuery) -> ReportPage:
    """All rows of a query, added up from the messages themselves, in time that grows with the queue.

    Raises BadRequest for a search and for the order oldest, Unavailable or TimedOut.
    """
    if query.search or query.order is Order.OLDEST:
        raise BadRequest("search and order=oldest are not read from the messages")
    parameters = _filters(query) | {"sender_ids": query.sender_ids}
    rows = await (await find_topology(database)).scan_report(parameters)
    return _report(query, [_row(query, row) for row in rows], None, len(rows))


def _report(
    query: ReportQuery, rows: Sequence[Mapping[str, Any]], following: Position | None, number: int | None
) -> ReportPage:
    if not (rows or query.by or query.status):
        rows = [dict.fromkeys(_COUNTS, 0)]
    columns = [*_columns(query), *["oldest"] * (query.order is Order.OLDEST)]
    more: dict[str, Any] = {"next": None if following is None else write_cursor(query, following)}
    return ReportPage(columns, rows, more | ({"count": number} if query.has_count else {}))


def _columns(query: ReportQuery) -> tuple[str, ...]:
    return (*(dimension.column for dimension in query.by), *_COUNTS)


def _row(query: ReportQuery, row: Mapping[str, Any]) -> dict[str, Any]:
    columns = _columns(query)
    return dict(zip(columns, itemgetter(*columns)(row), strict=True))


async def _page(query: ReportQuery, rows: Sequence[Any]) -> tuple[list[dict[str, Any]], Position | None]:
    """The rows of a page, and the position of the next one. Raises BadRequest where not all of it may be read."""
    cut = rows[0]["cut"]
    if cut is not None and not _is_by_sender(query):
        raise _too_much(query)
    found = [row for row in rows if row["total"] is not None and (cut is None or row["sender_id"] < cut)]
    following: Position | None = None if cut is None else (0, cut, -1, -1, "")
    if len(found) > query.limit or (found and following):
        # Rather than the cut, which a limited token may not see.
        last = found[: query.limit][-1]
        following = (0 if query.order is Order.KEY else last[query.order], *itemgetter(*_KEYS)(last))
    columns = _columns(query)
    values, page = itemgetter(*columns), []
    for number, row in enumerate(found[: query.limit], 1):
        if min(row["new"], row["proc"], row["retry"], row["hold"]) < 0:
            raise refuse_negative(row["sender_id"])
        page.append(dict(zip(columns, values(row), strict=True)))
        if number % SLICE_ROWS == 0:
            await asyncio.sleep(0)
    return page, following


def _too_much(query: ReportQuery) -> BadRequest:
    advice = "ask for fewer senders" if query.sender_ids else "name senders"
    is_open = {Dimension.ACCOUNT, Dimension.ISP} <= {*query.by} and not (query.account_ids or query.isps)
    if query.campaign_ids and is_open:
        advice += ", or name accounts"
    if not _is_by_sender(query):
        advice += ", or ask by sender in the order key without count, which has pages"
    return BadRequest(f"this page would take more than {MOST_READ:,} counters or look-ups: {advice}")


def _is_by_sender(query: ReportQuery) -> bool:
    """Whether its rows are in the order in which senders are read, so that a page may end before all are read."""
    return Dimension.SENDER in query.by and query.order is Order.KEY and not query.has_count


def _enough(query: ReportQuery) -> int:
    """Counters for a full page: one for each row, and some more for hot senders and what is pending; or look-ups."""
    slices = len(_slices(query)["slice_isps"])
    return min(MOST_READ, slices * (query.limit + query.limit // 8 + 100))


def report_parameters(query: ReportQuery, position: Position | None, read_limit: int) -> dict[str, Any]:
    """Those of sql/queries/report/from_counters.sql."""
    first_sender = int(position[1]) if position and _is_by_sender(query) else 1
    senders = [sender_id for sender_id in query.sender_ids or () if sender_id >= first_sender]
    ranges: Sequence[tuple[int, int]] = ()
    if query.sender_ids is None:
        ranges = _ranges("" if query.has_names else query.search, first_sender)
    elif not query.has_names:
        senders = [sender_id for sender_id in senders if str(sender_id).startswith(query.search)]
    after = zip(("rank", "sender", "account", "campaign", "isp"), position or [None] * 5, strict=True)
    return {
        **_filters(query),
        **_slices(query),
        **{f"after_{name}": value for name, value in after},
        "sender_ids": senders,
        "first_ids": [first for first, _ in ranges],
        "last_ids": [last for _, last in ranges],
        "is_wide": query.sender_ids is None or len(senders) >= _WIDE_SENDERS,
        "search": query.search if query.search and query.has_names else None,
        "has_count": query.has_count,
        "read_limit": read_limit,
        "row_limit": query.limit + 1,
    }


def _filters(query: ReportQuery) -> dict[str, Any]:
    return {
        **{f"by_{dimension}": dimension in query.by for dimension in Dimension},
        "account_ids": query.account_ids,
        "campaign_ids": query.campaign_ids,
        "isps": query.isps,
        "status": query.status,
        "sort_by": query.order,
    }


def _ranges(search: str, first: int) -> list[tuple[int, int]]:
    """The ranges of ids from `first` on whose digits begin so: 12, 120 to 129, 1200 to 1299 and so on."""
    if not search:
        return [(first, MAX_ID)]
    if not (search.isascii() and search.isdigit()):
        return []
    powers = [10**digits for digits in range(20 - len(search))]
    ranges = [(max(first, int(search) * power), min(MAX_ID, (int(search) + 1) * power - 1)) for power in powers]
    return [(least, most) for least, most in ranges if least <= most and not search.startswith("0")]


def _slices(query: ReportQuery) -> dict[str, Any]:
    """What of a sender's counters is read, and in which pieces; each piece is one descent of an index."""
    filters = {"account": query.account_ids, "campaign": query.campaign_ids, "isp": query.isps}
    grouping_set = "_".join(name for name, ids in filters.items() if ids or Dimension(name) in query.by) or "total"
    accounts = _bounds(query.account_ids, Dimension.ACCOUNT in query.by)
    campaigns = _bounds(query.campaign_ids, Dimension.CAMPAIGN in query.by)
    isps: Sequence[str | None] = query.isps or [None]
    if query.account_ids and (campaigns == [ALL_IDS] or len(accounts) * len(campaigns) * len(isps) > MOST_SLICES):
        isps = [None]
    elif accounts == [ALL_IDS] and isps == [None]:
        if Dimension.ISP in query.by:
            # Neither index has campaigns first: all counters are read.
            campaigns = [ALL_IDS]
        else:
            isps = [""]
    if len(accounts) * len(campaigns) * len(isps) > MOST_SLICES:
        campaigns = [(campaigns[0][0], campaigns[-1][-1])]
    slices = [(*account, *campaign, isp) for account in accounts for campaign in campaigns for isp in isps]
    names = ("first_accounts", "last_accounts", "first_campaigns", "last_campaigns", "slice_isps")
    return {"grouping_set": grouping_set, **dict(zip(names, map(list, zip(*slices, strict=True)), strict=True))}


def _bounds(ids: Sequence[int] | None, is_key: bool) -> list[tuple[int, int]]:
    """The first and the last id of each range in the counters; 0 where they are not kept by it."""
    return [(id_, id_) for id_ in ids] if ids else [ALL_IDS if is_key else (0, 0)]


def _is_of_largest(query: ReportQuery) -> bool:
    """Whether it is a list of senders that `top` has, longer."""
    if query.order is Order.OLDEST:
        return True
    is_of_all = query.by == (Dimension.SENDER,) and query.sender_ids is None
    # The list of a count lacks senders that have no such messages.
    has_its_rows = query.order.value == (query.status or Measure.TOTAL).value
    return is_of_all and has_its_rows and not query.has_filters and not query.search


async def _fetch_largest(database: Database, query: ReportQuery) -> ReportPage:
    by_age = query.order is Order.OLDEST
    position = read_cursor(query, BY_AGE if by_age else BY_COUNT)
    measure = query.status or Measure.TOTAL
    before, most = int(position[-1]) if position else 0, MOST_OLDEST if by_age else MOST_LARGEST
    if before + query.limit > most:
        raise BadRequest(f"order={query.order} lists the first {most:,} senders; the order key lists all")
    top = TopQuery(Dimension.SENDER, measure, before + query.limit + 1, sender_ids=query.sender_ids, by_age=by_age)

    def place(row: Mapping[str, Any]) -> Position:
        return (row["oldest"][measure] if by_age else -row[measure], row["sender_id"])

    # Those of the pages before may have changed: the page begins after the last row, wherever that is now.
    found = (await fetch_top(database, top)).rows
    rows = [row for row in found if not position or place(row) > position[:-1]]
    page = [{column: row[column] for column in [*_columns(query), *["oldest"] * by_age]} for row in rows[: query.limit]]
    last = place(page[-1]) if page else (position or ())[:-1]
    has_more = len(rows) > query.limit or len(found) > before + query.limit
    following = (*last, before + query.limit) if has_more else None
    return _report(query, page, following, None)

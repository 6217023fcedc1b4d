"""A queue on one machine, whose database has the messages and the counters. citus.py has the subclass for a cluster."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

from service.db import WRITING, WRITING_WITHOUT_LIMIT, Connection, Database, Statement, load_statement
from service.errors import Moved, ServiceError, Uncounted
from service.model import Dimension, Grouping, HistoryQuery, StatsQuery, TopQuery
from service.reports import Oldest, StatsRow, StatsRowWithOldest, StatsRowWithRates, Window
from service.telemetry.metrics import DRIFT_FOUND, PROVED_SENDERS, refuse_negative

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

FILTERS = ("sender_id", "account_id", "campaign_id", "isp")
# Number of rows that are converted, in about a millisecond, before the event loop runs other tasks.
SLICE_ROWS = 1000
_COLUMNS = len(StatsRow.__struct_fields__)
_ISP = StatsRow.__struct_fields__.index("isp")
# Number of columns that statements with rates add: arrived, left, start and end of the window, last_left.
_RATES = 5
_OLDEST = 4


@dataclass(frozen=True)
class Node:
    """A server that has counters: the single machine, or, as a subclass, a node of a cluster."""

    folder: ClassVar[str] = "queries"
    keeps_notes: ClassVar[bool] = True
    """Whether it has all tables of queuestats, including `background_tasks`."""

    database: Database

    def statement(self, name: str) -> Statement:
        """A statement that maintains counters, or changes or lists holds and jobs, such as fold or control/start."""
        return load_statement(f"{self.folder}/{name}")

    async def fetch(self, statement: Statement, begin_with: str = "", /, **parameters: Any) -> list[Any]:
        """The same as `Database.fetch`. Also raises Unavailable as soon as the node of a cluster stops responding."""
        return await self.database.fetch(statement, begin_with, **parameters)

    async def fetch_scan(self, statement: Statement, **parameters: Any) -> list[Any]:
        """The same as `Database.fetch_scan`."""
        return await self.database.fetch_scan(statement, **parameters)

    async def count(self) -> bool:
        """One step of counting messages that the counters lack. False if nothing is left to count."""
        ((is_done,),) = await self.database.fetch(self.statement("recount"), WRITING_WITHOUT_LIMIT)
        if is_done:
            logger.warning("messages that were not counted, or were counted wrongly, were counted again")
        return bool(is_done)

    async def prove(self, share: float) -> None:
        """Audits a few senders and records drift, if an audit is due."""
        statement = load_statement("queries/prove_sample")
        for row in await self.database.fetch(statement, WRITING_WITHOUT_LIMIT, share=share):
            PROVED_SENDERS.inc(row["senders"])
            DRIFT_FOUND.inc(row["drifted"])
            if row["drifted"]:
                logger.error("counts differ from a recount senders=%s; they are counted again", row["drifted"])


class Explained(NamedTuple):
    """A statement that answers queries, its database, and the statement for the data with which its plan is compared.

    `unseen_indexes`: the indexes that the plan shows under other names, or not at all.
    """

    database: Database
    statement: Statement
    parameters: dict[str, Any]
    tables: Statement
    unseen_indexes: Sequence[str] = ()


class Topology:
    """The operations of use cases on a queue. Methods raise Unavailable or TimedOut."""

    # The greatest number that a sender can have, so that wrong counts of one customer do not make the service unready.
    probed_senders: Sequence[int] = (2**63 - 1,)
    """The service is ready only if it can return the totals of these senders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def nodes(self) -> Sequence[Node]:
        """The current nodes that have counters, also those that do not respond."""
        return [Node(self._database)]

    def queue_of(self, sender_id: int) -> Hashable:
        """The node that has the counts of a sender, by the last look-up. Queries with the same value wait in one queue.

        Raises Unavailable immediately if that node does not respond.
        """
        return None

    async def sample_senders(self, known_nodes: Set[Hashable]) -> Mapping[Hashable, int | None]:
        """For each node of a cluster that is not in `known_nodes`, a number of a sender that is placed on the node.

        The keys are values of `queue_of`. The value is None if no small number is placed on the node.
        """
        return {}

    async def read(self, queries: Sequence[StatsQuery]) -> Sequence[list[StatsRow] | ServiceError]:
        """For each query, its rows from the counters, or an error in their place. All have the same statement name.

        If `scan` can answer, the error is `Uncounted`: in place of the rows of one query, or raised for all queries.
        """
        statement, parameters = from_counters(queries)
        try:
            rows = await self._database.fetch(statement, **parameters)
        except Uncounted:
            # After this statement, a partition that has just been created is counted.
            (followed,) = await self._database.fetch(load_statement("queries/follow_partitions"), WRITING)
            if not followed["is_counted"]:
                raise
            rows = await self._database.fetch(statement, **parameters)
        return await rows_by_query(rows, queries)

    async def scan(self, query: StatsQuery) -> list[StatsRow]:
        """The rows of a query from the messages."""
        statement, parameters = from_messages(query)
        return [row_of(row) for row in await self._database.fetch_scan(statement, **parameters)]

    async def top(self, query: TopQuery) -> Sequence[Any]:
        """The rows of a query without `sender_ids`, in its order: the columns of sql/queries/top/, and `oldest`."""
        statement, parameters = top_statement("queries/top/", query)
        rows = await self._database.fetch(statement, **parameters)
        return [with_oldest(row) for row in rows] if query.by_age else rows

    async def report(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The columns of sql/queries/report/from_counters.sql, at least one row.

        Raises Uncounted if the counters do not include all messages.
        """
        return await self._database.fetch(load_statement("queries/report/from_counters"), **parameters)

    async def scan_report(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The columns of sql/queries/report/from_messages.sql."""
        return await self._database.fetch_scan(load_statement("queries/report/from_messages"), **parameters)

    async def history(self, query: HistoryQuery) -> Sequence[Any]:
        """The columns of sql/queries/history.sql. Raises Uncounted if the counters do not include all messages."""
        return await self._database.fetch(load_statement("queries/history"), **history_parameters(query))

    async def watch(self, most_deltas: int) -> dict[str, int | None]:
        """`pending_deltas` and `oldest_snapshot_transactions` of responding nodes; `silent_nodes`: how many do not."""
        (row,) = await self._database.fetch(load_statement("queries/watch"), most_deltas=most_deltas)
        return {name: row[name] for name in ("pending_deltas", "oldest_snapshot_transactions")} | {"silent_nodes": 0}

    async def at_each_node(
        self, name: str, work: Callable[[Connection, str], Awaitable[Result]], seconds: float
    ) -> dict[str, Result | ServiceError]:
        """For each node of a cluster, by its address, the result of `work` or an error; empty on one machine.

        `work` gets a connection and the address. It runs on all nodes at the same time, on each at most `seconds`.
        """
        return {}

    async def keepers(self) -> Sequence[Node]:
        """The servers that have jobs and entries of the audit log."""
        return await self.nodes()

    async def at_sender(self, sender_id: int, run: Callable[[Node], Awaitable[Result]]) -> Result:
        """The result of `run` on the node with the holds and jobs of a sender. Raises Moved if no node has them now.

        If `run` raises Moved, it may be called again with another node.
        """
        return await run(Node(self._database))

    async def of_all_senders(self, name: str, order: Callable[[Any], Any], /, **parameters: Any) -> list[Any]:
        """The rows of `queries/control/<name>` of all senders, sorted by `order`; at most `row_limit`, if given."""
        return await self._database.fetch(load_statement(f"queries/control/{name}"), **parameters)

    async def used_elsewhere(self, sender_id: int, token: str) -> Mapping[str, int]:
        """The numbers of `holds` and `jobs` of a token on all nodes except the node of the sender."""
        return {"holds": 0, "jobs": 0}

    async def cancel(self, **parameters: Any) -> bool:
        """Ends a job of any sender. False if the job has ended before."""
        ((is_cancelled,),) = await self._database.fetch(load_statement("queries/control/cancel"), WRITING, **parameters)
        return bool(is_cancelled)

    async def budgets(self) -> Sequence[Any]:
        """The columns of sql/queries/budgets.sql."""
        return await self._database.fetch(load_statement("queries/budgets"))

    async def is_explained_by_counters(self, sender_id: int) -> bool:
        """Whether queries of a sender are answered from the counters now."""
        (state,) = await self._database.fetch(load_statement("queries/baseline"))
        return bool(state["is_counted"])

    async def explained(self, queries: Sequence[StatsQuery], *, is_scan: bool) -> Explained:
        """The database and the statement that answer queries of one sender now. A scan answers one query."""
        statement, parameters = from_messages(queries[0]) if is_scan else from_counters(queries)
        return Explained(self._database, statement, parameters, load_statement("explain/tables"))


def with_oldest(row: Any) -> dict[str, Any]:
    """A row of sql/queries/top/oldest.sql, with `oldest` added."""
    return {**row, "oldest": msgspec.to_builtins(_oldest(tuple(row)[-_OLDEST:]))}


async def rows_by_query(rows: Iterable[Any], queries: Sequence[StatsQuery]) -> list[list[StatsRow] | ServiceError]:
    """Splits the rows of a statement of `queries/from_counters/`: for each query its rows, or an error."""
    found: list[list[StatsRow]] = [[] for _ in queries]
    errors: dict[int, ServiceError] = {}
    for number, (position, *values) in enumerate(rows, 1):
        # A row without counts means that the shard of the query is not proved: sql/citus/proved.sql.
        if values[_COLUMNS - 1] is None:
            has_moved = values[_ISP].startswith("mov")
            errors[position] = Moved() if has_moved else Uncounted(": its shard is not counted yet")
            continue
        row = row_of(values)
        found[position - 1].append(row)
        if row.is_negative and position not in errors:
            errors[position] = refuse_negative(queries[position - 1].sender_id)
        if number % SLICE_ROWS == 0:
            await asyncio.sleep(0)
    return [errors.get(position, own) for position, own in enumerate(found, 1)]


def statement_name(query: StatsQuery) -> str:
    """The file of `queries/from_counters/` that answers a query.

    It lists the keys of the grouping, except keys that a filter fixes. If filters fix all keys, the result is one sum.
    """
    if query.has_oldest:
        return "total_with_oldest"
    if query.has_rates:
        return f"{query.grouping}_with_rates"
    if query.grouping is Grouping.TOTAL:
        return "total"
    listed = [key for key in query.grouping.keys if getattr(query, key) is None]
    name = "_".join(key.removesuffix("_id") for key in listed) or "total"
    return "account_campaign_of_isp" if name == "account_campaign" and query.isp is not None else name


def added_columns(name: str) -> int:
    """The number of columns that a statement of `queries/from_counters/` has after the columns of a StatsRow."""
    if name.endswith("_with_oldest"):
        return _OLDEST + _RATES
    return _RATES if name.endswith("_with_rates") else 0


def from_counters(queries: Sequence[StatsQuery]) -> tuple[Statement, dict[str, Any]]:
    """The statement on the counters for queries of one statement name, and its parameters, all of them arrays."""
    statement = load_statement(f"queries/from_counters/{statement_name(queries[0])}")
    return statement, {name: [getattr(query, name) for query in queries] for name in statement.types}


def from_messages(query: StatsQuery) -> tuple[Statement, dict[str, Any]]:
    """The statement on the messages that defines the answer, and its parameters."""
    statement = load_statement(f"queries/from_messages/{'total_with_oldest' if query.has_oldest else query.grouping}")
    return statement, {name: getattr(query, name) for name in statement.types}


def history_parameters(query: HistoryQuery) -> dict[str, Any]:
    """The parameters of sql/queries/history.sql."""
    names = ("sender_id", "isp", "is_by_isp", "since", "until")
    return {**{name: getattr(query, name) for name in names}, "step": query.step_seconds}


def filters_of(query: StatsQuery) -> dict[str, Any]:
    return {name: getattr(query, name) for name in FILTERS}


def row_of(values: Any) -> StatsRow:
    """A row of a statement of `from_counters/` or `from_messages/`, without its position."""
    counts, more = values[:_COLUMNS], values[_COLUMNS:]
    if not more:
        return StatsRow(*counts)
    if len(more) == _RATES:
        return _with_rates(counts, more)
    oldest, rates = _oldest(more[:_OLDEST]), more[_OLDEST:]
    # The end of the window is NULL if the query does not have rates.
    if rates and rates[3] is not None:
        return _with_rates(counts, rates, oldest)
    return StatsRowWithOldest(*counts, oldest)  # type: ignore[call-arg] # counts has the right length


def _oldest(by_status: Sequence[datetime | None]) -> Oldest:
    known = [at for at in by_status if at is not None]
    times = (*by_status, min(known, default=None))
    return Oldest(*(at.isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None for at in times))


def _with_rates(counts: Any, rates: Any, oldest: Oldest | msgspec.UnsetType = msgspec.UNSET) -> StatsRow:
    arrived, left, since, until, last_left = rates
    shrinking = 0 if arrived is None else left - arrived
    empty_in = math.ceil(counts[-1] * (until - since).total_seconds() / shrinking) if shrinking > 0 else None
    added = (arrived, empty_in, last_left, left, Window(since, until), oldest)
    return StatsRowWithRates(*counts, *added)  # type: ignore[call-arg] # counts has the right length


def sub_queries(query: StatsQuery) -> tuple[StatsQuery, ...]:
    """The queries whose sum is the report: the query itself, or one for each account that a limited token may see.

    All have the same statement, so they have one snapshot.
    """
    if query.account_ids is None:
        return (query,)
    return tuple(msgspec.structs.replace(query, account_id=id_, account_ids=None) for id_ in query.account_ids)


def top_statement(prefix: str, query: TopQuery) -> tuple[Statement, dict[str, Any]]:
    """The statement for the largest or oldest senders, or the largest keys of one sender, and its parameters."""
    if query.by_age:
        return load_statement(f"{prefix}oldest"), {"oldest_in": query.order, "row_limit": query.limit}
    parameters = {"largest_by": query.order, "row_limit": query.limit}
    if query.by is Dimension.SENDER:
        return load_statement(f"{prefix}senders"), parameters
    return load_statement(f"{prefix}keys"), {**parameters, "sender_id": query.sender_id, "grouping_set": query.by}

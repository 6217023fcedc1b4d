"""Reports and a recount of messages in one snapshot, and their differences."""

import itertools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from service.db import Database, Statement, load_statement
from service.db.errors import translated
from service.model import Grouping, StatsQuery
from service.queue.stats import CounterReader, fetch_report
from service.reports import StatsRow
from tests.conftest import successful

STATUSES = ("hold", "new", "proc", "retry")
FIRST_SENDERS = 3


class OneConnection:
    """Replaces the pool of the service: statements run on one connection, within its current transaction."""

    def __init__(self, connection: Any) -> None:
        self.topology: Any = None
        self._connection = connection

    async def fetch(self, asked: Statement, begin_with: str = "", /, **parameters: Any) -> Any:
        # An error does not abort the transaction.
        is_in_transaction = self._connection.is_in_transaction()
        if is_in_transaction:
            await self._connection.execute("SAVEPOINT asked")
        try:
            return await self._connection.fetch(asked.sql, *asked.bind(parameters))
        except asyncpg.PostgresError as error:
            if is_in_transaction:
                await self._connection.execute("ROLLBACK TO asked")
            raise translated(error) from error

    fetch_scan = fetch


def on(connection: Any) -> Database:
    return cast(Database, OneConnection(connection))


async def answer(connection: Any, query: StatsQuery) -> list[StatsRow]:
    """The rows that the service reports in the snapshot of the connection."""
    return list((await fetch_report(on(connection), query)).rows)


async def answers(database: Database, queries: Sequence[StatsQuery]) -> list[list[StatsRow]]:
    """The rows for many queries. Queries of one kind share a statement, as in a batch of the service."""
    wanted = list(dict.fromkeys(queries))
    reports = dict(zip(wanted, successful(await CounterReader(database).read(wanted)), strict=True))
    return [list(reports[query].rows) for query in queries]


async def scanned(connection: Any, query: StatsQuery) -> list[StatsRow]:
    """The rows of the definition, a scan, in the snapshot of the connection."""
    return list((await fetch_report(on(connection), query, is_from_messages=True)).rows)


def every_question(
    sender_ids: Iterable[int], account_ids: Iterable[int], campaign_ids: Iterable[int], isps: Iterable[str]
) -> list[StatsQuery]:
    """All groupings with all combinations of these filters, and without filters."""
    filters = ((None, *account_ids), (None, *campaign_ids), (None, *isps))
    return [StatsQuery(*each) for each in itertools.product(sender_ids, *filters, Grouping)]


@asynccontextmanager
async def snapshot(connection: Any) -> AsyncIterator[Any]:
    """A REPEATABLE READ transaction in which messages can be compared with counters.

    It takes the lock before the snapshot, because TRUNCATE empties a table for older snapshots too.
    """
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE")
        yield connection


async def audited(connection: Any, sender_id: int | None = None) -> list[dict[str, Any]]:
    """The differences that `audit` finds, in its order."""
    async with snapshot(connection):
        return [dict(row) for row in await connection.fetch("SELECT * FROM queuestats.audit($1)", sender_id)]


async def drift(connection: Any, sender_id: int | None = None) -> list[dict[str, Any]]:
    """The same, and the differences of the oldest messages, of their bounds and of the history."""
    found = await audited(connection, sender_id)
    async with snapshot(connection):
        for name in ("bound_differences", "history_differences"):
            found += map(dict, await connection.fetch(f"SELECT * FROM queuestats.{name}($1)", sender_id))
        found += await oldest_differences(connection)
        # A wrong value of a sender also makes the lists wrong.
        return found or await list_differences(connection)


async def oldest_differences(connection: Any) -> list[dict[str, Any]]:
    """For each sender, the oldest times of the counters if they differ from those of the messages."""
    expected = await defined(connection)
    senders, differences = list(expected), []
    statement = load_statement("queries/from_counters/total_with_oldest")
    values = statement.bind({"sender_id": senders, "has_rates": [False] * len(senders)})
    for row in map(dict, await connection.fetch(statement.sql, *values)):
        of_messages = expected[senders[row["position"] - 1]]
        if (found := {name: row[name] for name in of_messages}) != of_messages:
            differences.append({"sender_id": senders[row["position"] - 1], "answer": found, "expected": of_messages})
    return differences


async def list_differences(connection: Any) -> list[dict[str, Any]]:
    """The lists of senders with the oldest messages, in a status or in all, that differ from those of the messages."""
    by_sender, differences = await defined(connection), []
    for order in (*STATUSES, "total"):
        found = await connection.fetch(load_statement("queries/top/oldest").sql, order, FIRST_SENDERS)
        first = oldest_first(by_sender, order)[:FIRST_SENDERS]
        if list(map(dict, found)) != first:
            differences.append({"order": order, "answer": list(map(dict, found)), "expected": first})
    return differences


async def defined(connection: Any) -> dict[int, dict[str, Any]]:
    """The oldest times by sender, from the statement on messages."""
    senders = [row[0] for row in await connection.fetch("SELECT DISTINCT sender_id FROM queuestats.queued_messages")]
    statement = load_statement("queries/from_messages/total_with_oldest")
    return {sender_id: dict(*await connection.fetch(statement.sql, sender_id)) for sender_id in senders}


def oldest_first(by_sender: Mapping[int, Mapping[str, Any]], order: str) -> list[dict[str, Any]]:
    """The rows of queries/top/oldest.sql, without a limit, computed from the counts and times of each sender."""
    names = STATUSES if order == "total" else (order,)
    columns = ("hold", "new", "proc", "retry", "total", *(f"oldest_{status}" for status in STATUSES))
    rows = [{"sender_id": sender_id} | {name: row[name] for name in columns} for sender_id, row in by_sender.items()]
    times = {row["sender_id"]: [row[f"oldest_{name}"] for name in names if row[f"oldest_{name}"]] for row in rows}
    rows = [row for row in rows if times[row["sender_id"]]]
    return sorted(rows, key=lambda row: (min(times[row["sender_id"]]), row["sender_id"]))


async def fold(
    connection: Any, max_deltas: int = 20_000, mark_every: float = 2000.0, *, is_compacting: bool = False
) -> Any:
    """Runs one fold, after a compact if `is_compacting`. Returns its row, or None if another fold was running."""
    if is_compacting:
        await compact(connection)
    return await connection.fetchrow("SELECT * FROM queuestats.fold($1, $2)", max_deltas, mark_every)


async def compact(connection: Any, max_counters: int = 40_000) -> Any:
    """Runs one compact of the epochs of all hot senders. Returns its row, or None if another one was running."""
    return await connection.fetchrow("SELECT * FROM queuestats.compact($1, '0')", max_counters)


async def roll_up(connection: Any, max_changes: int = 20_000) -> bool:
    """Rolls up one piece of the history. Returns whether there is more to do."""
    statement = "SELECT is_more FROM queuestats.roll_up_history($1, '1 day', '7 days', '90 days')"
    return bool(await connection.fetchval(statement, max_changes))


async def row_count(connection: Any, table: str) -> int:
    found: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return found

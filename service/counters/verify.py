"""In one snapshot: the counters against a recount of the messages, and what the service answers against its definition.

Then, the repair.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.cluster.distribute import cluster_state
from service.control.actor import of_command
from service.db import AS_A_SCAN, connect, fetch
from service.db.address import at_host
from service.errors import CommandError
from service.model import Grouping, StatsQuery, StatsRow
from service.queue.stats import from_counters, from_messages
from service.schema.migrate import require_countable

# "other": whatever the service has no answer for, so that none of it is kept.
STATUSES = ("new", "proc", "retry", "hold", "other")


@dataclass(frozen=True, slots=True)
class Difference:
    """A count that is kept wrongly: whose it is, by which keys it is kept, the recount, and what the service says."""

    sender_id: int
    grouping_set: str
    account_id: int
    campaign_id: int
    isp: str
    status: str
    counted: int
    kept: int


async def verify_database(
    connection: Any, url: str, sender_id: int | None, *, is_repairing: bool = False
) -> tuple[list[Difference], list[Difference]]:
    """The differences, and those that are left where they were to be repaired. Of a distributed queue: of all nodes.

    `connection` is one to the database at `url`. Raises CommandError as `find_differences`, and where a node is away.
    """
    if not (await cluster_state(connection))["is_distributed"]:
        found = await find_differences(connection, sender_id)
        uncounted = await fetch(connection, "queries/uncounted")
        if is_repairing and (found or uncounted):
            await repair(connection, [None] if uncounted else _senders_of(found))
            return found, await find_differences(connection, sender_id)
        if uncounted and not found:
            raise CommandError(
                f"The counts agree with the messages, and are not trusted: {uncounted[0]['reason']}."
                " The service counts anew by itself; `queuestats verify --repair` does it now."
            )
        return found, found
    differences, left = [], []
    for node in await fetch(connection, "queries/citus/nodes"):
        async with connect(at_host(url, node["host"], node["port"])) as node_connection:
            found = still = await find_differences_at_node(node_connection, sender_id)
            if found and is_repairing:
                await repair(node_connection, _senders_of(found), "queries/citus")
                still = await find_differences_at_node(node_connection, sender_id)
        differences += found
        left += still
    return differences, left


async def find_differences(connection: Any, sender_id: int | None) -> list[Difference]:
    """Every difference of one sender, or of all; none where all is exact. It may run under full load at any moment.

    The recount has every counter. Beside it each answer of the sender, or of some senders taken by chance, is compared
    with the file of sql/queries/from_messages/ that defines it. `connection` may read, and is in no transaction. Raises
    CommandError where the table can't be counted at all.
    """
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(AS_A_SCAN)
        # A TRUNCATE between the snapshot and the recount would look like drift: it has to wait.
        await connection.execute("LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE")
        await require_countable(connection)
        rows = await fetch(connection, "queries/differences", sender_id=sender_id)
        found = [difference for row in rows for difference in _by_status(row)]
        # From here on one sender at a time, by index.
        await connection.execute("SET LOCAL enable_seqscan = off")
        known = {each.sender_id for each in found}
        senders = [sender_id] if sender_id else [row[0] for row in await fetch(connection, "queries/some_senders")]
        if await fetch(connection, "queries/uncounted"):
            # The service answers none of them from the counters.
            senders = []
        for each in senders:
            # A sender whose counters differ is in the list already.
            if each not in known:
                found += await _compare_answers(connection, each)
    return found


async def _compare_answers(connection: Any, sender_id: int) -> list[Difference]:
    """Where an answer of the service is another one than its definition says."""
    found = []
    for grouping in Grouping:
        query = StatsQuery(sender_id, grouping=grouping)
        statement, values = from_messages(query)
        defined = _by_key(StatsRow(*each) for each in await fetch(connection, statement.name, **values))
        statement, values = from_counters([query])
        answered = _by_key(StatsRow(*each[1:]) for each in await fetch(connection, statement.name, **values))
        for key in sorted(defined.keys() | answered.keys()):
            for status in STATUSES[:-1]:
                counted, kept = (getattr(each.get(key), status, 0) for each in (defined, answered))
                if counted != kept:
                    found.append(Difference(sender_id, grouping, *key, status, counted, kept))
    return found


def _by_key(rows: Iterable[StatsRow]) -> dict[tuple[int, int, str], StatsRow]:
    return {(row.account_id, row.campaign_id, row.isp): row for row in rows}


async def find_differences_at_node(connection: Any, sender_id: int | None) -> list[Difference]:
    """As `find_differences`, of the shards on a node of a cluster. Answers are not compared with their definitions."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL statement_timeout = 0")
        rows = await fetch(connection, "queries/citus/differences", sender_id=sender_id)
    return [difference for row in rows for difference in _by_status(row)]


def _senders_of(differences: Iterable[Difference]) -> list[int]:
    return list(dict.fromkeys(difference.sender_id for difference in differences))


async def repair(connection: Any, sender_ids: Sequence[int | None], statements: str = "queries") -> None:
    """Counts senders (None: all of them) anew, while writers go on. `connection` is the owner's."""
    for sender_id in sender_ids:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL transaction_read_only = off; SET LOCAL statement_timeout = 0")
            await fetch(connection, f"{statements}/rebuild", sender_id=sender_id)


async def keep_result(connection: Any, differences: int) -> None:
    """For the metrics, in the audit log; not on a standby, which can't be written to."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL transaction_read_only = off")
        actor = of_command()
        await fetch(
            connection, "queries/verified", actor_kind=actor.kind, actor_name=actor.name, differences=differences
        )


def _by_status(row: Any) -> list[Difference]:
    whose: tuple[int, str, int, int, str] = row[:5]
    return [
        Difference(*whose, status, counted, kept)
        for status in STATUSES
        if (counted := row[f"counted_{status}"]) != (kept := row[f"kept_{status}"])
    ]

"""In one snapshot: the counters against a recount of the messages, and what the service answers against its definition.

Then, the repair.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.cluster.commands import CountedNode, counted_nodes
from service.cluster.topology import from_counters, from_messages
from service.control.actor import of_command
from service.db import Connection, fetch
from service.errors import CommandError
from service.model import Grouping, StatsQuery, StatsRow

# "other": a status that the service has no answer for, so none of it is kept.
STATUSES = ("new", "proc", "retry", "hold", "other")
ONE_MACHINE = CountedNode()


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
    connection: Connection, url: str, sender_id: int | None, *, is_repairing: bool = False
) -> tuple[list[Difference], list[Difference]]:
    """The differences, and those that are left where they were to be repaired; of all nodes of a distributed queue.

    `connection` is one to the database at `url`. Raises CommandError as `find_differences`, where a node is away, and
    where the counters are exact but not trusted.
    """
    differences, left = [], []
    for node in await counted_nodes(connection, url):
        async with node.connect(connection) as at_node:
            found = remaining = await find_differences(at_node, sender_id, node)
            uncounted = await node.uncounted(at_node)
            if is_repairing and (found or uncounted):
                await repair(at_node, [None] if uncounted else _senders_of(found), node)
                remaining = await find_differences(at_node, sender_id, node)
            elif uncounted and not found:
                raise CommandError(
                    f"The counts agree with the messages, and are not trusted: {uncounted[0]['reason']}."
                    " The service counts anew by itself; `queuestats verify --repair` does it now."
                )
        differences += found
        left += remaining
    return differences, left


async def find_differences(
    connection: Connection, sender_id: int | None, node: CountedNode = ONE_MACHINE
) -> list[Difference]:
    """Every difference of one sender, or of all; none where all is exact. It may run under full load at any moment.

    Beside the counters, the answers of `comparable_senders` are compared with the files of sql/queries/from_messages/
    that define them. `connection` is in no transaction. Raises CommandError where the table can't be counted at all.
    """
    async with node.comparing(connection):
        rows = await fetch(connection, f"{node.folder}/differences", sender_id=sender_id)
        found = [difference for row in rows for difference in _by_status(row)]
        # From here on one sender at a time, by index.
        await connection.execute("SET LOCAL enable_seqscan = off")
        known = _senders_of(found)
        for id_ in await node.comparable_senders(connection, sender_id):
            if id_ not in known:
                found += await _compare_answers(connection, id_)
    return found


async def _compare_answers(connection: Connection, sender_id: int) -> list[Difference]:
    """Where an answer of the service is another one than its definition says."""
    found = []
    for grouping in Grouping:
        query = StatsQuery(sender_id, grouping=grouping)
        statement, values = from_messages(query)
        defined = _by_key(await fetch(connection, statement.name, **values))
        statement, values = from_counters([query])
        answered = _by_key(row[1:] for row in await fetch(connection, statement.name, **values))
        for key in sorted(defined.keys() | answered.keys()):
            for status in STATUSES[:-1]:
                counted, kept = (getattr(rows.get(key), status, 0) for rows in (defined, answered))
                if counted != kept:
                    found.append(Difference(sender_id, grouping, *key, status, counted, kept))
    return found


def _by_key(values: Iterable[Iterable[Any]]) -> dict[tuple[int, int, str], StatsRow]:
    rows = (StatsRow(*row) for row in values)
    return {(row.account_id, row.campaign_id, row.isp): row for row in rows}


def _senders_of(differences: Iterable[Difference]) -> list[int]:
    return list(dict.fromkeys(difference.sender_id for difference in differences))


async def repair(connection: Connection, sender_ids: Sequence[int | None], node: CountedNode = ONE_MACHINE) -> None:
    """Counts senders (None: all of them) anew, while writers go on. `connection` is the owner's."""
    for sender_id in sender_ids:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL transaction_read_only = off; SET LOCAL statement_timeout = 0")
            await fetch(connection, f"{node.folder}/rebuild", sender_id=sender_id)


async def keep_result(connection: Connection, differences: int) -> None:
    """For the metrics, in the audit log; not on a standby, which can't be written to."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return
    actor = of_command()
    found = {"actor_kind": actor.kind, "actor_name": actor.name, "differences": differences}
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL transaction_read_only = off")
        await fetch(connection, "queries/verified", **found)


def _by_status(row: Any) -> list[Difference]:
    keys: tuple[int, str, int, int, str] = row[:5]
    return [
        Difference(*keys, status, counted, kept)
        for status in STATUSES
        if (counted := row[f"counted_{status}"]) != (kept := row[f"kept_{status}"])
    ]

"""In one snapshot, compares the counters with a recount of the messages, and answers with their definition.

Then repairs the differences.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from service.cluster.commands import CountedNode, NotCompared, counted_nodes, not_compared
from service.cluster.topology import from_counters
from service.control.actor import of_command
from service.db import Connection, fetch
from service.errors import CommandError
from service.model import Grouping, StatsQuery
from service.reports import StatsRow

# "other": a status that no report counts, so it has no counter.
STATUSES = ("new", "proc", "retry", "hold", "other")
ONE_MACHINE = CountedNode()
UNTRUSTED = (
    "the counts agree with the messages, but are not trusted, so no answer was compared: {}."
    " The service recounts automatically; `queuestats verify --repair` recounts now"
)
# Sender, group mode, account, campaign and ISP of a row.
_Key = tuple[int, str, int, int, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A wrong count: its sender and keys, the recount, and the count of the service.

    For grouping_set `hold`, it is the number of messages that the hold `hold_id` holds, which is not part of `stats`.
    For `oldest`, it is the number of messages that an answer with `oldest` misses. For `history`, it is a count at the
    end of a step, and the count that follows from the step before.
    """

    sender_id: int
    grouping_set: str
    account_id: int
    campaign_id: int
    isp: str
    status: str
    counted: int
    kept: int
    hold_id: int | None = None

    @property
    def is_of_hold(self) -> bool:
        return self.grouping_set == "hold"


class Verified(NamedTuple):
    """The differences, those that remain after a repair, and what could not be compared."""

    differences: list[Difference]
    left: list[Difference]
    not_compared: list[NotCompared]


async def verify_database(
    connection: Connection, url: str, sender_id: int | None, *, is_repairing: bool = False
) -> Verified:
    """Compares all nodes of a distributed queue. A node that does not respond does not keep it from the others.

    `connection` is one to the database at `url`. Raises CommandError as `find_differences`.
    """
    verified = Verified([], [], [])
    states: dict[int, str] = {}
    silent: dict[str, str] = {}
    for node in await counted_nodes(connection, url):
        try:
            async with node.connect(connection) as at_node:
                await _verify_node(at_node, sender_id, node, verified, states, is_repairing=is_repairing)
        except CommandError as error:
            if not node.url:
                raise
            silent[node.name] = str(error)
    verified.not_compared.extend(await not_compared(connection, sender_id, states, silent))
    return verified


async def _verify_node(
    connection: Connection,
    sender_id: int | None,
    node: CountedNode,
    verified: Verified,
    states: dict[int, str],
    *,
    is_repairing: bool,
) -> None:
    if is_repairing:
        await node.count(connection)
    found, reached = await _differences(connection, sender_id, node)
    uncounted = await node.uncounted(connection)
    left = found
    verified.differences.extend(found)
    try:
        if is_repairing and (found or uncounted):
            await repair(connection, [None] if uncounted else _senders_of(found), node)
            await _repair_held(connection, found, node)
            left, reached = await _differences(connection, sender_id, node)
        elif uncounted and not found:
            verified.not_compared.append(NotCompared(UNTRUSTED.format(uncounted[0]["reason"])))
    finally:
        verified.left.extend(left)
    states.update(reached)


async def find_differences(
    connection: Connection, sender_id: int | None, node: CountedNode = ONE_MACHINE
) -> list[Difference]:
    """All differences of one sender, or of all senders. The call is possible at any time, also under full load.

    It also compares the answers for `comparable_senders` with their definition. The messages are read twice: for the
    counters, and for these senders. `connection` has no open transaction. Raises CommandError if the table can't be
    counted.
    """
    return (await _differences(connection, sender_id, node))[0]


async def _differences(
    connection: Connection, sender_id: int | None, node: CountedNode
) -> tuple[list[Difference], dict[int, str]]:
    """The differences, and the states of the shards of a node of a cluster."""
    found, states, is_locked = await _compare(connection, sender_id, node)
    if found and not is_locked:
        # The service's role can't lock an adopted table. A TRUNCATE between the snapshot and the recount looks like
        # drift, but a second snapshot does not have the same differences.
        places = {_place(difference) for difference in found}
        again, states, _ = await _compare(connection, sender_id, node)
        found = [difference for difference in again if _place(difference) in places]
    return found, states


def _place(difference: Difference) -> Difference:
    return replace(difference, counted=0, kept=0)


async def _compare(
    connection: Connection, sender_id: int | None, node: CountedNode
) -> tuple[list[Difference], dict[int, str], bool]:
    """The differences, the states of shards, and whether a TRUNCATE can't be the cause of the differences."""
    async with node.comparing(connection) as is_locked:
        rows = await fetch(connection, f"{node.folder}/differences", sender_id=sender_id)
        # A row without a sender: audit_shards() in sql/citus/node.sql.
        states = {row["account_id"]: row["grouping_set"] for row in rows if row["sender_id"] is None}
        found = [difference for row in rows if row["sender_id"] is not None for difference in _by_status(row)]
        held = await fetch(connection, f"{node.control_folder}/held_differences", sender_id=sender_id)
        missed = await fetch(connection, f"{node.folder}/bound_differences", sender_id=sender_id)
        broken = await fetch(connection, f"{node.folder}/history_differences", sender_id=sender_id)
        # From here on only some senders are read, by index if possible.
        await connection.execute("SET LOCAL enable_seqscan = off")
        known = _senders_of(found)
        sender_ids = [id_ for id_ in await node.comparable_senders(connection, sender_id) if id_ not in known]
        found += await _compare_answers(connection, sender_ids)
    found += [
        Difference(row["sender_id"], "hold", 0, 0, "", "hold", row["counted"], row["kept"], row["hold_id"])
        for row in held
    ]
    found += [Difference(row["sender_id"], "oldest", 0, 0, "", row["status"], row["missed"], 0) for row in missed]
    found += [
        Difference(row["sender_id"], "history", 0, 0, row["isp"] or "", row["status"], row["expected"], row["kept"])
        for row in broken
    ]
    return found, states, is_locked


async def _compare_answers(connection: Connection, sender_ids: Sequence[int]) -> list[Difference]:
    """Reports of the service that differ from their definition, in the order of the senders."""
    if not sender_ids:
        return []
    defined = _by_key(await fetch(connection, "queries/defined_answers", sender_ids=sender_ids))
    answered: dict[_Key, StatsRow] = {}
    for grouping in Grouping:
        statement, values = from_counters([StatsQuery(id_, grouping=grouping) for id_ in sender_ids])
        rows = await fetch(connection, statement.name, **values)
        answered |= _by_key((sender_ids[row[0] - 1], grouping, *row[1:]) for row in rows)
    found = []
    for key in sorted(defined.keys() | answered.keys()):
        for status in STATUSES[:-1]:
            counted, kept = (getattr(rows.get(key), status, 0) for rows in (defined, answered))
            if counted != kept:
                found.append(Difference(*key, status, counted, kept))
    return found


def _by_key(values: Iterable[Iterable[Any]]) -> dict[_Key, StatsRow]:
    """The rows of answers by sender and group mode."""
    rows = ((sender_id, grouping, StatsRow(*row)) for sender_id, grouping, *row in values)
    return {(id_, str(mode), row.account_id, row.campaign_id, row.isp): row for id_, mode, row in rows}


def _senders_of(differences: Iterable[Difference]) -> list[int]:
    """The senders whose counters are wrong."""
    return list(dict.fromkeys(difference.sender_id for difference in differences if not difference.is_of_hold))


async def repair(connection: Connection, sender_ids: Sequence[int | None], node: CountedNode = ONE_MACHINE) -> None:
    """Recounts senders (None: all), while writers continue. `connection` is the owner's."""
    for sender_id in sender_ids:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL transaction_read_only = off; SET LOCAL statement_timeout = 0")
            await fetch(connection, f"{node.folder}/rebuild", sender_id=sender_id)


async def _repair_held(connection: Connection, found: Iterable[Difference], node: CountedNode) -> None:
    for sender_id in {difference.sender_id for difference in found if difference.is_of_hold}:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL transaction_read_only = off; SET LOCAL statement_timeout = 0")
            actor_name = of_command().name
            await fetch(connection, f"{node.control_folder}/repair_held", sender_id=sender_id, actor_name=actor_name)


async def keep_result(connection: Connection, sender_id: int | None, verified: Verified) -> None:
    """Records the remaining differences, so that the service recounts their senders; not on a standby.

    For all senders (None), it also adds an entry to the audit log, unless no difference was found in only a part of the
    queue. `connection` has no open transaction.
    """
    left = verified.left
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL transaction_read_only = off")
        if sender_id is None and (left or not verified.not_compared):
            actor = of_command()
            found = {"actor_kind": actor.kind, "actor_name": actor.name, "differences": len(left)}
            await fetch(connection, "queries/verified", **found)
        senders = Counter(difference.sender_id for difference in left if not difference.is_of_hold)
        kept = {"sender_ids": list(senders), "differences": list(senders.values())}
        await fetch(connection, "queries/record_drift", **kept)


def _by_status(row: Any) -> list[Difference]:
    keys: tuple[int, str, int, int, str] = row[:5]
    return [
        Difference(*keys, status, counted, kept)
        for status in STATUSES
        if (counted := row[f"counted_{status}"]) != (kept := row[f"kept_{status}"])
    ]

"""The audit: in one snapshot, what the service would answer against a recount of the messages. Then, the repair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.db import AS_A_SCAN, statement
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


async def find_differences(connection: Any, sender_id: int | None) -> list[Difference]:
    """Every difference of one sender, or of all; none where all is exact. It may run under full load at any moment.

    `connection` may read, and is in no transaction. Raises CommandError where the table can't be counted at all.
    """
    asked = statement("queries/differences")
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(AS_A_SCAN)
        # A TRUNCATE between the snapshot and the recount would look like drift: it has to wait.
        await connection.execute("LOCK TABLE queuestats.queued_messages IN ACCESS SHARE MODE")
        await require_countable(connection)
        rows = await connection.fetch(asked.sql, *asked.bind({"sender_id": sender_id}))
    return [difference for row in rows for difference in _by_status(row)]


async def repair(connection: Any, differences: Sequence[Difference]) -> None:
    """Counts every sender with a difference anew, while writers go on. `connection` is the owner's."""
    asked = statement("queries/rebuild")
    for sender_id in dict.fromkeys(difference.sender_id for difference in differences):
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SET LOCAL transaction_read_only = off; SET LOCAL statement_timeout = 0")
            await connection.execute(asked.sql, *asked.bind({"sender_id": sender_id}))


async def keep_result(connection: Any, differences: int) -> None:
    """For the metrics, in the audit log; not on a standby, which can't be written to."""
    asked = statement("queries/verified")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL transaction_read_only = off")
        await connection.execute(asked.sql, *asked.bind({"token_name": "verify", "differences": differences}))


def _by_status(row: Any) -> list[Difference]:
    return [
        Difference(
            row["sender_id"],
            row["grouping_set"],
            row["account_id"],
            row["campaign_id"],
            row["isp"],
            status,
            counted,
            kept,
        )
        for status in STATUSES
        if (counted := row[f"counted_{status}"]) != (kept := row[f"kept_{status}"])
    ]

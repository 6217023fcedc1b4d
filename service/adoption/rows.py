"""Whether the rows of a table fit a mapping of it: each has a sender and a status, and keys that can be told apart."""

from typing import Any

import asyncpg

from service.db.statements import literal
from service.errors import CommandError
from service.schema.columns import message_status
from service.schema.files import Adopted

# Of what is mapped wrongly, the sentence names so many kinds.
MOST_NAMED = 5


async def require_rows(connection: Any, adopted: Adopted) -> None:
    """Raises CommandError with a sentence that names the rows that do not fit. It reads the whole table."""
    table: str = adopted.source["table"]
    try:
        await connection.execute("SET row_security = off")
        rows = await _wrong_rows(connection, adopted)
    except asyncpg.InsufficientPrivilegeError:
        raise CommandError(
            f"Row-level security hides rows of {table} from the role of QUEUESTATS_ADMIN_DATABASE_URL:"
            " it must own the table, or have BYPASSRLS."
        ) from None
    if without := sum(row["without_sender"] for row in rows):
        raise CommandError(
            f"{without:,} rows have a sender that is NULL or not above 0: leave them out by the mapping's where."
        )
    await _require_distinct_keys(connection, adopted)
    wrong = [f"{row['rows']:,} rows to {row['status'] or 'nothing'}" for row in rows]
    if wrong:
        raise CommandError(
            f"The mapping's status maps {', '.join(wrong)}, which is none of {', '.join(message_status.enums)}:"
            " map it, or leave these rows out by the mapping's where."
        )
    await _require_distinct_numbers(connection, adopted)


async def _wrong_rows(connection: Any, adopted: Adopted) -> list[Any]:
    values = adopted.values
    status = f'CAST({values["own_status"]} AS text) COLLATE "C"'
    # Without our functions: they are not there yet.
    is_sender = f"CAST({values['sender_number']} AS bigint) > 0"
    if values["sender_text"] != "NULL":
        is_sender = f"{values['sender_text']} IS NOT NULL"
    statuses = ", ".join(map(literal, message_status.enums))
    rows: list[Any] = await connection.fetch(
        f"SELECT {status} AS status, count(*) AS rows,"
        f" count(*) FILTER (WHERE ({is_sender}) IS NOT TRUE) AS without_sender"
        f" FROM {adopted.queue} WHERE {values['condition']}"
        f" AND (({is_sender}) IS NOT TRUE OR {status} IS NULL OR {status} NOT IN ({statuses}))"
        f" GROUP BY 1 ORDER BY rows DESC LIMIT {MOST_NAMED}"
    )
    return rows


async def _require_distinct_keys(connection: Any, adopted: Adopted) -> None:
    """Hold and release look a message up by the key that the mapping gives."""
    key = adopted.source.get("key")
    if not key or not adopted.source.get("stored"):
        return
    doubled = await connection.fetchrow(
        f"SELECT ({key})::text FROM {adopted.queue} WHERE {adopted.values['condition']}"
        f" GROUP BY {adopted.values['id']}, 1 HAVING count(*) > 1 OR ({key}) IS NULL LIMIT 1"
    )
    if doubled:
        raise CommandError(f"The mapping's key does not tell rows apart: several have {doubled[0] or 'none'}.")


async def _require_distinct_numbers(connection: Any, adopted: Adopted) -> None:
    """No two texts are counted by one number: see key_id in sql/adopt/queued_messages.sql."""
    if not adopted.names:
        return
    same = await connection.fetchrow(
        "SELECT min(named.word) AS one, max(named.word) AS other FROM ("
        f"SELECT unnest(ARRAY[{', '.join(adopted.names)}]) AS word"
        f" FROM {adopted.queue} WHERE {adopted.values['condition']}) AS named"
        ' GROUP BY greatest(hashtextextended(named.word COLLATE "C", 0) & 9223372036854775807, 1)'
        " HAVING min(named.word) <> max(named.word) LIMIT 1"
    )
    if same:
        raise CommandError(
            f"The keys {same['one']} and {same['other']} have the same number, and would be counted as one: change the"
            " mapping, so that one of them is written in another way."
        )

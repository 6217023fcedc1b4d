"""Whether a table that exists already can be counted by a mapping: the table, the expressions, every row."""

from service.db import Connection, InsufficientPrivilegeError, Record, fetch
from service.errors import CommandError
from service.schema.files import Adopted, adopted_table
from service.schema.mapping import STATUSES, QueueMapping, derive, find_table, in_parentheses


async def check(connection: Connection, mapping: QueueMapping) -> tuple[Record, Adopted]:
    """The table, and the mapping as SQL. Reads the catalog and the whole table; changes nothing.

    `connection` is in no transaction. Raises CommandError with a sentence that names what is wrong with the table or
    the mapping.
    """
    table = await find_table(connection, mapping)
    (layout,) = await fetch(connection, "queries/layout", messages_schema="queuestats")
    if layout["is_foreign"]:
        raise CommandError("The schema queuestats of this database holds something else: rename it first.")
    if table["refusal"]:
        raise CommandError(table["refusal"])
    adopted = await derive(connection, table, mapping)
    try:
        # A session look-up: with it, rows that a policy hides are an error.
        await connection.execute("SET row_security = off")
        await _require_rows(connection, adopted, mapping)
    except InsufficientPrivilegeError:
        raise CommandError(
            f"Row-level security hides rows of {mapping.table} from the role of QUEUESTATS_ADMIN_DATABASE_URL:"
            " it must own the table, or have BYPASSRLS."
        ) from None
    return table, adopted


async def _require_rows(connection: Connection, adopted: Adopted, mapping: QueueMapping) -> None:
    """Raises CommandError with a sentence that names the rows that do not fit."""
    places = adopted_table(adopted).places
    rows = await fetch(connection, "adopt/wrong_rows", places)
    if without := sum(row["without_sender"] for row in rows):
        raise CommandError(
            f"{without:,} rows have a sender that is NULL or not above 0: leave them out by the mapping's where."
        )
    # Hold and release look a message up by the key that the mapping gives.
    if mapping.key and mapping.stored:
        key = {"key": in_parentheses(mapping.key)}
        for row in await fetch(connection, "adopt/same_key", {**places, **key}):
            raise CommandError(f"The mapping's key does not tell rows apart: several have {row['key'] or 'none'}.")
    if rows:
        wrong = ", ".join(f"{row['rows']:,} rows to {row['status'] or 'nothing'}" for row in rows)
        raise CommandError(
            f"The mapping's status maps {wrong}, which is none of {', '.join(STATUSES)}:"
            " map it, or leave these rows out by the mapping's where."
        )
    if not adopted.names:
        return
    for row in await fetch(connection, "adopt/same_number", places):
        raise CommandError(
            f"The keys {row['one']} and {row['other']} have the same number, and would be counted as one: change the"
            " mapping, so that one of them is written in another way."
        )

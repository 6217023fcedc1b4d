"""Whether a command may overwrite a database: only one that its owner has marked."""

from typing import Any

from service.db.statements import statement
from service.errors import CommandError


async def require_disposable(connection: Any) -> None:
    """Raises CommandError, which says how to mark the database, where it is not marked disposable.

    The mark is read from the catalog: a connection's own options cannot stand in for it.
    """
    database, disposable, marking = await connection.fetchrow(statement("queries/disposable").sql)
    if not disposable:
        raise CommandError(
            f"The database {database} is not marked disposable, and was left alone; its owner marks it by {marking}"
        )

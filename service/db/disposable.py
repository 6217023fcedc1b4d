"""Whether a command may overwrite a database: only one that its owner has marked."""

from typing import Any

from service.db.statements import statement
from service.errors import CommandError


async def require_disposable(connection: Any, *, must_be_migrated: bool = True) -> None:
    """Raises CommandError, which says what to do first, where it is not migrated, or not marked disposable.

    The mark is read from the catalog: a connection's own options cannot stand in for it.
    """
    database, is_migrated, disposable, marking = await connection.fetchrow(statement("queries/disposable").sql)
    if must_be_migrated and not is_migrated:
        raise CommandError(f"The database {database} is not migrated; run `queuestats migrate` first.")
    if not disposable:
        raise CommandError(
            f"The database {database} is not marked disposable, and was left alone; its owner marks it by {marking}"
        )

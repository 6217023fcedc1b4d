"""The use case: the texts of adopted keys, which are counted by numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.db import Database, load_statement
from service.model import Presentation
from service.queue.coalescer import Coalescer, Limits
from service.settings import Settings
from service.wire.rendering.rows import Rows, Shape, named_ids


class Names:
    """The look-ups of one process; those that wait at the same time share a statement."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        limits = Limits(1, settings.batch_queries, settings.waiting_requests, settings.request_time_limit_ms / 2000)
        self._coalescer: Coalescer[frozenset[int], Mapping[int, str]] = Coalescer(self._read, limits)

    async def shape(self, presentation: Presentation, rows: Rows, sender_id: int | None = None) -> Shape | None:
        """How to write these rows, which are of `sender_id` if they name no sender; None for documented rows.

        The names are from a later snapshot than the rows; a recorded name never changes. Raises Unavailable, TimedOut.
        """
        if presentation == Presentation():
            return None
        if not presentation.has_names:
            return Shape(presentation.ids)
        ids = frozenset(named_ids(rows, sender_id))
        names = (await self._coalescer.run(ids)).result if ids else {}
        return Shape(presentation.ids, names, sender_id)

    async def _read(self, queries: Sequence[frozenset[int]]) -> list[Mapping[int, str]]:
        names = await read_names(self._database, frozenset().union(*queries))
        return [names for _ in queries]


async def read_names(database: Database, ids: Iterable[int]) -> dict[int, str]:
    """The text of each id that has one. Raises Unavailable or TimedOut."""
    return {row["id"]: row["value"] for row in await database.fetch(load_statement("queries/names"), ids=list(ids))}


async def name_rows(database: Database, rows: Rows, sender_id: int | None = None) -> list[dict[str, Any]]:
    """The rows with the names of their ids, as `Names.shape`. Raises Unavailable or TimedOut."""
    names = await read_names(database, frozenset(named_ids(rows, sender_id)))
    return Shape(names=names, sender_id=sender_id).apply(rows)

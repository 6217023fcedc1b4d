"""Rows with optional parts beyond the documented members: ids as strings, names of adopted keys."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from service.model import Ids
from service.reports import StatsRow

Rows = Sequence[StatsRow] | Sequence[Mapping[str, Any]]
IDS: Final = ("account_id", "campaign_id", "id", "sender_id")
NAMES_OF: Final = {"account_id": "account_name", "campaign_id": "campaign_name", "sender_id": "sender_name"}


@dataclass(frozen=True, slots=True)
class Shape:
    """`names`: the texts of ids, for rows with names. `sender_id`: the sender of rows without this member."""

    ids: Ids = Ids.NUMBER
    names: Mapping[int, str] | None = None
    sender_id: int | None = None

    def apply(self, rows: Rows) -> list[dict[str, Any]]:
        """The rows with their documented members first; an id without a name has the name None."""
        return [self._apply(_members(row)) for row in rows]

    def columns(self, columns: Sequence[str]) -> list[str]:
        """These columns, a column for the sender, and the added columns."""
        return [*columns, *(NAMES_OF[id_] for id_ in NAMES_OF if self.names is not None and id_ in columns)]

    def _apply(self, members: dict[str, Any]) -> dict[str, Any]:
        added: dict[str, str | None] = {}
        if self.names is not None:
            added = {name: self.names.get(members[id_]) for id_, name in NAMES_OF.items() if id_ in members}
            if self.sender_id is not None:
                added["sender_name"] = self.names.get(self.sender_id)
        if self.ids is Ids.STRING:
            for name in IDS:
                if members.get(name) is not None:
                    members[name] = str(members[name])
        return members | added


def named_ids(rows: Rows, sender_id: int | None) -> Iterator[int]:
    """The ids that may have a name, with repeats."""
    if sender_id is not None:
        yield sender_id
    for members in map(_members, rows):
        yield from (members[name] for name in NAMES_OF if members.get(name))


def _members(row: StatsRow | Mapping[str, Any]) -> dict[str, Any]:
    if type(row) is StatsRow:
        return msgspec.structs.asdict(row)
    return msgspec.to_builtins(row) if isinstance(row, StatsRow) else dict(row)

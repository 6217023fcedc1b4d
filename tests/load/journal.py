"""Compares responses under load with the writes, after the run, by their times.

Writers and clients are separate processes on one machine, so they have the same clock. The journals are replayed into
the ledgers of `make soak`, in the order of their times.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.model import Grouping, StatsQuery
from tests.soak.ledger import Before, Cell, Changes, Ledger


class Entry(NamedTuple):
    """A change of a sender's ledger by a writer, with its time."""

    at: float
    sender_id: int
    method: str
    changes: Changes


@dataclass
class Answer:
    """A response to a client: the rows of a report."""

    sent_at: float
    received_at: float
    sender_id: int
    group: str
    rows: list[dict[str, Any]]
    before: Before | None = field(default=None, repr=False)


class NotedLedger(Ledger):
    """A ledger that also records the changes of its writers in a journal."""

    def __init__(self, sender_id: int, journal: list[Entry]) -> None:
        super().__init__(is_controlled=False)
        self._sender_id, self._journal = sender_id, journal

    def attempt(self, changes: Changes) -> None:
        self._note("attempt", changes)
        super().attempt(changes)

    def commit(self, changes: Changes) -> None:
        super().commit(changes)
        self._note("commit", changes)

    def roll_back(self, changes: Changes) -> None:
        super().roll_back(changes)
        self._note("roll_back", changes)

    def _note(self, method: str, changes: Mapping[Cell, int]) -> None:
        self._journal.append(Entry(time.monotonic(), self._sender_id, method, Counter(changes)))


def read_answers(lines: Iterable[str]) -> list[Answer]:
    """Reads the file that the clients write: a JSON array in each line."""
    return [Answer(*json.loads(line)) for line in lines]


def wrong_answers(journal: Iterable[Entry], answers: Iterable[Answer]) -> Iterator[str]:
    """A sentence for each row that was in no snapshot between request and response."""
    ledgers: dict[int, Ledger] = {}
    moments: list[tuple[float, Entry | Answer]] = [(entry.at, entry) for entry in journal]
    for answer in answers:
        moments += [(answer.sent_at, answer), (answer.received_at, answer)]
    for _, moment in sorted(moments, key=lambda each: each[0]):
        ledger = ledgers.setdefault(moment.sender_id, Ledger(is_controlled=False))
        if isinstance(moment, Entry):
            getattr(ledger, moment.method)(moment.changes)
        elif moment.before is None:
            moment.before = ledger.before()
        else:
            query = StatsQuery(moment.sender_id, grouping=Grouping(moment.group))
            for fault in ledger.faults(moment.before, query, moment.rows):
                yield f"Sender {moment.sender_id}, group {moment.group}, at {moment.sent_at:.3f} s: {fault}"

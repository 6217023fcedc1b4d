"""What is to be played, and one mail transfer agent: what it does with one sender's messages in one round."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from service.db import statement

ISPS = ("Gmail", "Gmail", "Gmail", "Gmail", "Outlook", "Outlook", "Yahoo", "iCloud", "GMX", "")
# A sender's new messages are of one of so many campaigns, numbered above those of a data set.
CAMPAIGNS = 10
FIRST_CAMPAIGN = 1_000_000


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """How fast, in what batches, on how many connections, for how long.

    `rate` is in messages enqueued a second, all connections together. Sender 1 has most of them, as in a data set.
    """

    rate: float
    seconds: float
    batch_messages: int = 100
    connections: int = 2
    senders: int = 1000
    retry_share: float = 0.15
    retry_delay_seconds: float = 5.0
    seed: int = 1


@dataclass(slots=True)
class Totals:
    """Messages by what was done to them, and how often a connection was lost."""

    enqueued: int = 0
    taken: int = 0
    retaken: int = 0
    retried: int = 0
    finished: int = 0
    reconnects: int = 0


class Agent:
    """Enqueues a burst, takes as many messages, and lets as many leave: the queue keeps its size.

    What it took and could not settle, since its connection went away, it settles in its next round.
    """

    def __init__(self, plan: SimulationPlan, number: int, totals: Totals) -> None:
        self._totals = totals
        self._plan = plan
        self._chance = Random(plan.seed * 1000 + number)
        self._sender_id = 1
        self._finishing: list[int] = []
        self._retrying: list[int] = []

    async def play_round(self, connection: Any) -> None:
        """One burst; each statement is a transaction of its own. Raises the driver's errors."""
        await self._settle(connection)
        plan = self._plan
        # Evenly on a logarithmic scale: sender 1 has as much as senders 2 and 3 together.
        self._sender_id = int((plan.senders + 1) ** self._chance.random())
        await self._enqueue(connection)
        # All agents add to the same totals: never across an await, between whose ends another may add.
        taken = await self._take(connection, "new", plan.batch_messages)
        self._totals.taken += taken
        # Of these too a share will fail again; so many make up for the share that did not leave.
        again = round(plan.batch_messages * plan.retry_share / (1 - plan.retry_share))
        if again:
            retaken = await self._take(connection, "retry", again)
            self._totals.retaken += retaken
        await self._settle(connection)

    async def _enqueue(self, connection: Any) -> None:
        chance, number = self._chance, self._plan.batch_messages
        recipients = [f"{chance.getrandbits(40):x}@example.com" for _ in range(number)]
        await _ids(
            connection,
            "enqueue",
            sender_id=self._sender_id,
            campaign_id=FIRST_CAMPAIGN + self._sender_id * CAMPAIGNS + chance.randrange(CAMPAIGNS),
            isps=[chance.choice(ISPS) for _ in range(number)],
            recipients=recipients,
        )
        self._totals.enqueued += number

    async def _take(self, connection: Any, status: str, number: int) -> int:
        ids = await _ids(connection, "take", sender_id=self._sender_id, status=status, batch_messages=number)
        for each in ids:
            failed = self._chance.random() < self._plan.retry_share
            (self._retrying if failed else self._finishing).append(each)
        return len(ids)

    async def _settle(self, connection: Any) -> None:
        if self._finishing:
            done = await _ids(connection, "finish", sender_id=self._sender_id, ids=self._finishing)
            self._totals.finished += len(done)
            self._finishing = []
        if self._retrying:
            delay = self._plan.retry_delay_seconds
            done = await _ids(connection, "retry", sender_id=self._sender_id, ids=self._retrying, delay_seconds=delay)
            self._totals.retried += len(done)
            self._retrying = []


async def _ids(connection: Any, name: str, **values: Any) -> list[int]:
    asked = statement(f"simulate/{name}")
    rows: Iterable[Any] = await connection.fetch(asked.sql, *asked.bind(values))
    return [row[0] for row in rows]

"""A simulated mail transfer agent for disposable databases, which writes like a real one, at a given rate."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from service.db import Connection, connect, fetch, is_disconnect, require_disposable

ISPS = ("Gmail", "Gmail", "Gmail", "Gmail", "Outlook", "Outlook", "Yahoo", "iCloud", "GMX", "")
# The new messages of a sender belong to this many campaigns, with numbers above those of a data set.
CAMPAIGNS = 10
FIRST_CAMPAIGN = 1_000_000
RETRY_SHARE = 0.15
RETRY_DELAY_SECONDS = 5.0
RECONNECT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """`rate`: messages enqueued per second, by all connections together. Sender 1 has most of them."""

    rate: float
    seconds: float
    batch_messages: int = 100
    connections: int = 2
    senders: int = 1000


@dataclass(slots=True)
class Totals:
    """The numbers of messages by action, and of lost connections."""

    enqueued: int = 0
    taken: int = 0
    retaken: int = 0
    retried: int = 0
    finished: int = 0
    reconnects: int = 0


async def simulate(database_url: str, plan: SimulationPlan, totals: Totals, stop: asyncio.Event) -> float:
    """Runs until `stop` is set, or until the end of the plan's time. Returns the duration in seconds.

    `totals` is updated continuously. Every agent completes its round, so that no message is left in delivery.

    Raises CommandError, before any change, if the database is unreachable or not marked disposable; later, if it
    refuses a statement.
    """
    async with connect(database_url) as connection:
        await require_disposable(connection)
    began = time.monotonic()
    timer = asyncio.get_running_loop().call_later(plan.seconds, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(plan.connections):
                group.create_task(Agent(plan, number, totals, stop).run(database_url))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        timer.cancel()
    return time.monotonic() - began


class Agent:
    """Enqueues a burst, takes as many messages, and finishes as many, so that the queue keeps its size.

    Messages that it took before its connection was lost are finished or retried in its next round.
    """

    def __init__(self, plan: SimulationPlan, number: int, totals: Totals, stop: asyncio.Event) -> None:
        self._plan, self._totals, self._stop = plan, totals, stop
        self._chance = Random(1000 + number)
        self._round_at = time.monotonic()
        self._sender_id = 1
        self._finishing: list[int] = []
        self._retrying: list[int] = []

    async def run(self, database_url: str) -> None:
        """Replaces a lost connection, without a time limit. Raises CommandError if a statement is refused."""
        interval = self._plan.batch_messages * self._plan.connections / self._plan.rate
        while not self._stop.is_set():
            is_connected = False
            try:
                async with connect(database_url) as connection:
                    is_connected = True
                    while not self._stop.is_set():
                        await self._run_round(connection)
                        # A late agent begins at once, and does not catch up missed rounds.
                        self._round_at = max(self._round_at + interval, time.monotonic())
                        await self._wait(self._round_at - time.monotonic())
            except Exception as error:
                if is_connected and not is_disconnect(error.__cause__ or error):
                    raise
                self._totals.reconnects += 1
                await self._wait(RECONNECT_SECONDS)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _run_round(self, connection: Connection) -> None:
        """Each statement is a separate transaction."""
        plan, chance, totals = self._plan, self._chance, self._totals
        number = plan.batch_messages
        await self._end_delivery(connection)
        # Evenly on a logarithmic scale: sender 1 has as much as senders 2 and 3 together.
        self._sender_id = int((plan.senders + 1) ** chance.random())
        await fetch(
            connection,
            "simulate/enqueue",
            sender_id=self._sender_id,
            campaign_id=FIRST_CAMPAIGN + self._sender_id * CAMPAIGNS + chance.randrange(CAMPAIGNS),
            isps=[chance.choice(ISPS) for _ in range(number)],
            recipients=[f"{chance.getrandbits(40):x}@example.com" for _ in range(number)],
        )
        totals.enqueued += number
        # All agents add to the same totals, so no addition spans an await, during which another agent may add.
        taken = await self._take(connection, "new", number)
        totals.taken += taken
        # Some of these fail again; this number compensates for the messages that did not leave.
        if again := round(number * RETRY_SHARE / (1 - RETRY_SHARE)):
            retaken = await self._take(connection, "retry", again)
            totals.retaken += retaken
        await self._end_delivery(connection)

    async def _take(self, connection: Connection, status: str, number: int) -> int:
        sender_id = self._sender_id
        taken = await fetch(connection, "simulate/take", sender_id=sender_id, status=status, batch_messages=number)
        for row in taken:
            failed = self._chance.random() < RETRY_SHARE
            (self._retrying if failed else self._finishing).append(row["id"])
        return len(taken)

    async def _end_delivery(self, connection: Connection) -> None:
        """Messages that are delivered leave the queue; the others wait for their next attempt."""
        sender_id = self._sender_id
        if ids := self._finishing:
            rows = await fetch(connection, "simulate/finish", sender_id=sender_id, ids=ids)
            self._totals.finished += len(rows)
            self._finishing = []
        if ids := self._retrying:
            delay = RETRY_DELAY_SECONDS
            rows = await fetch(connection, "simulate/retry", sender_id=sender_id, ids=ids, delay_seconds=delay)
            self._totals.retried += len(rows)
            self._retrying = []

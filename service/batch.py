"""Many askers, one question: the harder it is asked, the cheaper an answer becomes.

Questions that arrive while a round is on its way wait for the next one, never for a clock: a lone question goes out in
the same turn of the event loop. A round that is already running is never joined, since its snapshot may be older than
the request; so every answer comes from a snapshot that was taken after its request arrived.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from service.errors import Unavailable
from service.origin import request_ids

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

# Questions with large answers that are known at once, the latest asked.
REMEMBERED = 10_000


class Answered(msgspec.Struct, Generic[Answer], frozen=True):
    """An answer, and where its time went: waiting for a round, and in the round."""

    answer: Answer
    wait_seconds: float
    round_seconds: float


class _Asker(NamedTuple):
    # Each waits for a future of its own: whoever leaves takes nothing along.
    answered: asyncio.Future[Any]
    is_gone: Callable[[], bool]
    request_ids: tuple[str, ...]


@dataclass(slots=True)
class _Ticket(Generic[Answer]):
    """One question that waits or is on its way, for all who ask it."""

    queued_at: float
    askers: list[_Asker] = field(default_factory=list)
    began_at: float = 0.0

    def is_wanted(self) -> bool:
        return any(not asker.is_gone() for asker in self.askers)

    def answer(self, answer: Answer) -> None:
        for asker in self.askers:
            if not asker.answered.done():
                asker.answered.set_result(answer)

    def fail(self, error: Exception) -> None:
        for asker in self.askers:
            if not asker.answered.done():
                asker.answered.set_exception(error)


@dataclass(frozen=True, slots=True)
class Limits:
    """`rounds` on their way at once, questions in a round, askers that wait, and for how long."""

    rounds: int
    questions: int
    waiting: int
    wait_seconds: float


class Batcher(Generic[Question, Answer]):
    """Puts questions together for `ask_all`, which answers them in their order or raises for all of them.

    A question whose last answer `is_large` goes out alone, and never twice at once: it holds up nobody else, however
    often it is asked.
    """

    def __init__(
        self,
        ask_all: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]],
        limits: Limits,
        is_large: Callable[[Answer], bool] = lambda answer: False,
    ) -> None:
        self._ask_all = ask_all
        self._limits = limits
        self._is_large = is_large
        self._waiting: dict[Question, _Ticket[Answer]] = {}
        self._on_their_way: set[Question] = set()
        self._large: dict[Question, None] = {}
        self._askers_waiting = 0
        self._rounds: set[asyncio.Task[None]] = set()
        self._is_starting = False
        self._expiry: asyncio.TimerHandle | None = None

    async def ask(self, question: Question, is_gone: Callable[[], bool] = lambda: False) -> Answered[Answer]:
        """The answer, from a round that begins after this call.

        `is_gone` tells whether the asker has left: a question that nobody waits for any more is not asked. Raises
        Unavailable at once where too many wait, or after the longest wait; else whatever the question itself raises.
        """
        if self._askers_waiting >= self._limits.waiting:
            raise Unavailable(": too many requests are waiting")
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        ticket = self._waiting.get(question)
        if ticket is None:
            ticket = self._waiting[question] = _Ticket(asked_at)
            self._begin_soon(loop)
        asker = _Asker(loop.create_future(), is_gone, request_ids.get())
        ticket.askers.append(asker)
        self._askers_waiting += 1
        try:
            answer = await asker.answered
        except asyncio.CancelledError:
            self._withdraw(question, ticket, asker)
            raise
        return Answered(answer, max(0.0, ticket.began_at - asked_at), loop.time() - ticket.began_at)

    def _withdraw(self, question: Question, ticket: _Ticket[Answer], asker: _Asker) -> None:
        if self._waiting.get(question) is ticket:
            ticket.askers.remove(asker)
            self._askers_waiting -= 1

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the next turn, so that all requests of this turn come along.
        if not self._is_starting and len(self._rounds) < self._limits.rounds:
            self._is_starting = True
            loop.call_soon(self._begin)
        if self._expiry is None:
            self._expiry = loop.call_later(self._limits.wait_seconds, self._expire)

    def _begin(self) -> None:
        self._is_starting = False
        while len(self._rounds) < self._limits.rounds:
            batch = self._take()
            if not batch:
                return
            self._on_their_way.update(batch)
            task = asyncio.create_task(self._round(batch))
            self._rounds.add(task)
            task.add_done_callback(partial(self._end, batch))

    def _end(self, batch: dict[Question, _Ticket[Answer]], task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        self._on_their_way.difference_update(batch)
        self._begin()

    def _take(self) -> dict[Question, _Ticket[Answer]]:
        """The next questions, the longest waiting first, without those that nobody waits for any more."""
        now = asyncio.get_running_loop().time()
        batch: dict[Question, _Ticket[Answer]] = {}
        for question in self._choose():
            ticket = self._leave(question)
            if ticket.is_wanted():
                ticket.began_at = now
                batch[question] = ticket
            else:
                ticket.fail(Unavailable(": nobody waits for the answer any more"))
        return batch

    def _choose(self) -> list[Question]:
        chosen: list[Question] = []
        for question in self._waiting:
            if question in self._on_their_way:
                continue
            if question not in self._large:
                chosen.append(question)
            elif not chosen:
                return [question]
            if len(chosen) == self._limits.questions:
                break
        return chosen

    def _leave(self, question: Question) -> _Ticket[Answer]:
        ticket = self._waiting.pop(question)
        self._askers_waiting -= len(ticket.askers)
        return ticket

    async def _round(self, batch: dict[Question, _Ticket[Answer]]) -> None:
        # The round is a task of its own: it works for all who wait for it, not for the one who happened to start it.
        request_ids.set(tuple(chain.from_iterable(asker.request_ids for asker in _askers(batch.values()))))
        try:
            answers = await self._ask_all(list(batch))
            for ticket, answer in zip(batch.values(), answers, strict=True):
                ticket.answer(answer)
            self._remember(batch, answers)
        except Unavailable as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 a fault of one question must not become everybody's
            if len(batch) == 1:
                self._fail(batch, error)
            else:
                # One of them is to blame, and nobody knows which: each is asked again, alone.
                await asyncio.gather(*(self._round({question: batch[question]}) for question in batch))

    def _remember(self, questions: Iterable[Question], answers: Sequence[Answer]) -> None:
        for question, answer in zip(questions, answers, strict=True):
            self._large.pop(question, None)
            if self._is_large(answer):
                self._large[question] = None
        while len(self._large) > REMEMBERED:
            del self._large[next(iter(self._large))]

    def _fail(self, batch: dict[Question, _Ticket[Answer]], error: Exception) -> None:
        for ticket in batch.values():
            ticket.fail(error)

    def _expire(self) -> None:
        """Refuses those who have waited too long; looks again when the next one's time is up."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        for question, ticket in list(self._waiting.items()):
            left = ticket.queued_at + self._limits.wait_seconds - loop.time()
            if left > 0:
                self._expiry = loop.call_later(left, self._expire)
                return
            self._fail({question: self._leave(question)}, Unavailable(": the request waited too long"))


def _askers(tickets: Iterable[_Ticket[Answer]]) -> Iterable[_Asker]:
    return chain.from_iterable(ticket.askers for ticket in tickets)

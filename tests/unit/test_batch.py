"""Many askers, one question: who is answered from which round, and what a failure takes along."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from service.batch import Batcher, Limits
from service.errors import TimedOut, Unavailable

LIMITS = Limits(rounds=1, questions=10, waiting=100, wait_seconds=5)


class Rounds:
    """Answers a question with the number of its round; a round ends when it is told to."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: dict[str, Exception] = {}

    async def __call__(self, questions: Sequence[str]) -> Sequence[int]:
        self.asked.append(list(questions))
        number = len(self.asked)
        await self.gate.wait()
        for question in questions:
            if question in self.bad:
                raise self.bad[question]
        return [number for _ in questions]


async def ask_each(batcher: Batcher[str, int], *questions: str) -> list[int]:
    return [each.answer for each in await asyncio.gather(*(batcher.ask(question) for question in questions))]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_question_is_asked_without_waiting_for_a_clock() -> None:
    rounds = Rounds()
    batcher = Batcher[str, int](rounds, LIMITS)
    task = asyncio.create_task(batcher.ask("a"))
    await turns()
    assert rounds.asked == [["a"]]
    assert (await task).answer == 1


async def test_questions_of_one_turn_go_out_together_and_equal_ones_once() -> None:
    rounds = Rounds()
    assert await ask_each(Batcher[str, int](rounds, LIMITS), "a", "b", "a") == [1, 1, 1]
    assert rounds.asked == [["a", "b"]]


async def test_a_late_question_is_never_let_in_on_a_round_that_has_begun() -> None:
    rounds = Rounds()
    rounds.gate.clear()
    batcher = Batcher[str, int](rounds, LIMITS)
    early = asyncio.create_task(batcher.ask("a"))
    await turns()
    late = asyncio.create_task(batcher.ask("a"))
    await turns()
    rounds.gate.set()
    assert ((await early).answer, (await late).answer) == (1, 2)


async def test_a_round_takes_no_more_questions_than_its_limit_and_the_longest_waiting_first() -> None:
    rounds = Rounds()
    questions = [str(number) for number in range(25)]
    await ask_each(Batcher[str, int](rounds, LIMITS), *questions)
    assert rounds.asked == [questions[:10], questions[10:20], questions[20:]]


@pytest.mark.parametrize("error", [TimedOut(), ValueError()])
async def test_a_question_that_fails_does_not_take_its_round_along(error: Exception) -> None:
    rounds = Rounds()
    rounds.bad["b"] = error
    batcher = Batcher[str, int](rounds, LIMITS)
    answers: list[Any] = await asyncio.gather(*(batcher.ask(each) for each in "abc"), return_exceptions=True)
    assert [type(each).__name__ for each in answers] == ["Answered", type(error).__name__, "Answered"]
    assert rounds.asked == [["a", "b", "c"], ["a"], ["b"], ["c"]]


async def test_a_database_out_of_reach_is_not_asked_again_for_each_question() -> None:
    rounds = Rounds()
    rounds.bad["b"] = Unavailable()
    answers = await asyncio.gather(
        *(Batcher[str, int](rounds, LIMITS).ask(each) for each in "b"), return_exceptions=True
    )
    assert isinstance(answers[0], Unavailable)
    assert len(rounds.asked) == 1


async def test_beyond_the_limit_of_waiting_askers_the_refusal_comes_at_once() -> None:
    rounds = Rounds()
    rounds.gate.clear()
    batcher = Batcher[str, int](rounds, Limits(rounds=1, questions=10, waiting=2, wait_seconds=5))
    accepted = [asyncio.create_task(batcher.ask("first"))]
    await turns()
    accepted += [asyncio.create_task(batcher.ask("same")) for _ in range(2)]
    await turns()
    with pytest.raises(Unavailable):
        await batcher.ask("same")
    rounds.gate.set()
    assert [each.answer for each in await asyncio.gather(*accepted)] == [1, 2, 2]


async def test_who_waits_too_long_is_refused_while_the_round_goes_on() -> None:
    rounds = Rounds()
    rounds.gate.clear()
    batcher = Batcher[str, int](rounds, Limits(rounds=1, questions=10, waiting=100, wait_seconds=0.05))
    running = asyncio.create_task(batcher.ask("a"))
    await turns()
    with pytest.raises(Unavailable):
        await batcher.ask("b")
    rounds.gate.set()
    assert (await running).answer == 1
    assert rounds.asked == [["a"]]


async def test_what_only_clients_that_have_left_wanted_is_not_asked() -> None:
    rounds = Rounds()
    rounds.gate.clear()
    batcher = Batcher[str, int](rounds, LIMITS)
    running = asyncio.create_task(batcher.ask("a"))
    await turns()
    left = asyncio.create_task(batcher.ask("b", is_gone=lambda: True))
    shared = [asyncio.create_task(batcher.ask("c", is_gone=is_gone)) for is_gone in (lambda: True, lambda: False)]
    cancelled = asyncio.create_task(batcher.ask("d"))
    await turns()
    cancelled.cancel()
    await turns()
    rounds.gate.set()
    await asyncio.gather(running, left, *shared, cancelled, return_exceptions=True)
    assert rounds.asked == [["a"], ["c"]]


async def test_an_answer_tells_how_long_it_waited_and_how_long_its_round_took() -> None:
    rounds = Rounds()
    rounds.gate.clear()
    batcher = Batcher[str, int](rounds, LIMITS)
    first = asyncio.create_task(batcher.ask("a"))
    await turns()
    second = asyncio.create_task(batcher.ask("b"))
    await asyncio.sleep(0.05)
    rounds.gate.set()
    assert (await first).round_seconds >= 0.04
    assert (await second).wait_seconds >= 0.04

"""Requests that wait together: which batch a request gets its result from, and which requests a failure affects."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import TimedOut, Unavailable
from service.queue.coalescer import Coalescer, Limits

LIMITS = Limits(batches=1, queries=10, waiters=100, wait_seconds=5)


class Batches:
    """The result of a query is the number of its batch. A batch ends when `gate` is set."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: dict[str, Exception] = {}

    async def __call__(self, queries: Sequence[str]) -> Sequence[int]:
        self.asked.append(list(queries))
        number = len(self.asked)
        await self.gate.wait()
        for query in queries:
            if query in self.bad:
                raise self.bad[query]
        return [number for _ in queries]


async def ask_each(coalescer: Coalescer[str, int], *queries: str) -> list[int]:
    return [each.result for each in await asyncio.gather(*(coalescer.run(query) for query in queries))]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_single_query_runs_without_a_timer() -> None:
    batches = Batches()
    coalescer = Coalescer[str, int](batches, LIMITS)
    task = asyncio.create_task(coalescer.run("a"))
    await turns()
    assert batches.asked == [["a"]]
    assert (await task).result == 1


async def test_queries_of_one_turn_share_a_batch_and_equal_queries_run_once() -> None:
    batches = Batches()
    assert await ask_each(Coalescer[str, int](batches, LIMITS), "a", "b", "a") == [1, 1, 1]
    assert batches.asked == [["a", "b"]]


async def test_a_query_never_joins_a_batch_that_has_begun() -> None:
    batches = Batches()
    batches.gate.clear()
    coalescer = Coalescer[str, int](batches, LIMITS)
    early = asyncio.create_task(coalescer.run("a"))
    await turns()
    late = asyncio.create_task(coalescer.run("a"))
    await turns()
    batches.gate.set()
    assert ((await early).result, (await late).result) == (1, 2)


async def test_a_batch_has_a_largest_size_and_takes_the_queries_that_wait_longest() -> None:
    batches = Batches()
    queries = [str(number) for number in range(25)]
    await ask_each(Coalescer[str, int](batches, LIMITS), *queries)
    assert batches.asked == [queries[:10], queries[10:20], queries[20:]]


async def test_one_batch_of_a_kind_is_in_flight_and_other_kinds_run_at_the_same_time() -> None:
    batches = Batches()
    batches.gate.clear()
    limits = Limits(batches=3, queries=10, waiters=100, wait_seconds=5)
    coalescer = Coalescer[str, int](batches, limits, kind=lambda query: query[0])
    tasks = [asyncio.create_task(coalescer.run(each)) for each in ("a1", "b1", "a2")]
    await turns()
    tasks += [asyncio.create_task(coalescer.run(each)) for each in ("a3", "b2", "c1", "a4")]
    await turns()
    assert batches.asked == [["a1", "a2"], ["b1"], ["c1"]]
    batches.gate.set()
    await asyncio.gather(*tasks)
    assert batches.asked[3:] == [["a3", "a4"], ["b2"]]


@pytest.mark.parametrize("error", [ValueError()])
async def test_a_query_that_fails_does_not_fail_its_batch(error: Exception) -> None:
    batches = Batches()
    batches.bad["b"] = error
    coalescer = Coalescer[str, int](batches, LIMITS)
    answers: list[Any] = await asyncio.gather(*(coalescer.run(each) for each in "abc"), return_exceptions=True)
    assert [type(each).__name__ for each in answers] == ["Outcome", type(error).__name__, "Outcome"]
    assert batches.asked == [["a", "b", "c"], ["a"], ["b"], ["c"]]


async def test_an_unavailable_database_fails_the_batch_and_queries_do_not_run_alone() -> None:
    batches = Batches()
    batches.bad["b"] = Unavailable()
    answers = await asyncio.gather(
        *(Coalescer[str, int](batches, LIMITS).run(each) for each in "b"), return_exceptions=True
    )
    assert isinstance(answers[0], Unavailable)
    assert len(batches.asked) == 1


async def test_a_query_beyond_the_limit_of_waiters_is_refused_at_once() -> None:
    batches = Batches()
    batches.gate.clear()
    coalescer = Coalescer[str, int](batches, Limits(batches=1, queries=10, waiters=2, wait_seconds=5))
    accepted = [asyncio.create_task(coalescer.run("first"))]
    await turns()
    accepted += [asyncio.create_task(coalescer.run("same")) for _ in range(2)]
    await turns()
    with pytest.raises(Unavailable):
        await coalescer.run("same")
    batches.gate.set()
    assert [each.result for each in await asyncio.gather(*accepted)] == [1, 2, 2]


async def test_a_waiter_that_waits_too_long_is_refused_and_its_batch_continues() -> None:
    batches = Batches()
    batches.gate.clear()
    coalescer = Coalescer[str, int](batches, Limits(batches=1, queries=10, waiters=100, wait_seconds=0.05))
    running = asyncio.create_task(coalescer.run("a"))
    await turns()
    with pytest.raises(Unavailable):
        await coalescer.run("b")
    batches.gate.set()
    assert (await running).result == 1
    assert batches.asked == [["a"]]


async def test_a_query_whose_waiters_are_all_cancelled_does_not_run() -> None:
    batches = Batches()
    batches.gate.clear()
    coalescer = Coalescer[str, int](batches, LIMITS)
    running = asyncio.create_task(coalescer.run("a"))
    await turns()
    left, other, kept = (asyncio.create_task(coalescer.run(each)) for each in "bcc")
    await turns()
    left.cancel()
    other.cancel()
    await turns()
    batches.gate.set()
    await asyncio.gather(running, left, other, kept, return_exceptions=True)
    assert batches.asked == [["a"], ["c"]]
    assert kept.result().result == 2


@pytest.mark.parametrize("error", [TimedOut(), Unavailable()])
async def test_a_batch_that_was_too_slow_or_not_possible_fails_as_a_whole(error: Exception) -> None:
    batches = Batches()
    batches.bad["b"] = error
    coalescer = Coalescer[str, int](batches, LIMITS)
    answers: list[Any] = await asyncio.gather(*(coalescer.run(each) for each in "abc"), return_exceptions=True)
    assert [type(each) for each in answers] == [type(error)] * 3
    assert batches.asked == [["a", "b", "c"]]


async def test_an_outcome_has_the_time_in_the_queue_and_the_time_of_its_batch() -> None:
    batches = Batches()
    batches.gate.clear()
    coalescer = Coalescer[str, int](batches, LIMITS)
    first = asyncio.create_task(coalescer.run("a"))
    await turns()
    second = asyncio.create_task(coalescer.run("b"))
    await turns()
    began = time.perf_counter()
    await asyncio.sleep(0.05)
    waited_seconds = time.perf_counter() - began
    batches.gate.set()
    assert (await first).batch_seconds >= waited_seconds
    assert (await second).wait_seconds >= waited_seconds

"""Which queries a coalescer runs apart, how many it runs at once, and what it reports of a query."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from prometheus_client import REGISTRY

from service.errors import Conflict, ServiceError, Unavailable
from service.queue.coalescer import Coalescer, Limits, Outcome
from service.telemetry.origin import Origin, origins

LIMITS = Limits(batches=3, queries=10, waiters=100, wait_seconds=3600)


class Batches:
    """The batches in the order in which they begin. A query's result is the query, or its entry in `results`."""

    def __init__(self) -> None:
        self.begun: list[list[str]] = []
        self.requests: list[tuple[str, ...]] = []
        self.results: dict[str, str | ServiceError] = {}
        self.may_end = asyncio.Event()

    async def __call__(self, queries: Sequence[str]) -> list[str | ServiceError]:
        self.begun.append(list(queries))
        self.requests.append(tuple(origin.request_id for origin in origins.get()))
        await self.may_end.wait()
        return [self.results.get(query, query) for query in queries]


def coalescer_of(batches: Callable[[Sequence[str]], Awaitable[Sequence[str | ServiceError]]]) -> Coalescer[str, str]:
    """All queries are of one kind; a query that begins with L has a large result."""
    return Coalescer(batches, LIMITS, lambda result: result.startswith("L"), lambda query: "kind")


def run(coalescer: Coalescer[str, str], *queries: str) -> list[asyncio.Task[Outcome[str]]]:
    return [asyncio.create_task(coalescer.run(query)) for query in queries]


def waiting_requests() -> float:
    waiting = REGISTRY.get_sample_value("queuestats_waiting_requests")
    assert waiting is not None
    return waiting


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_batch_begins_after_the_rest_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.queue.coalescer.MOST_REST_SECONDS", 3600.0)
    times = []

    async def fetch(queries: Sequence[str]) -> Sequence[str]:
        times.append(time.perf_counter())
        await asyncio.sleep(0.02)
        times.append(time.perf_counter())
        return queries

    resting = Coalescer[str, str](fetch, Limits(batches=1, queries=1, waiters=10, wait_seconds=3600, rest=3))
    await asyncio.gather(*run(resting, "a", "b"))
    first_began, first_ended, second_began, _ = times
    assert second_began - first_ended >= 3 * (first_ended - first_began)


async def test_a_rest_ends_after_its_limit(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.queue.coalescer.MOST_REST_SECONDS", 0.01)
    resting = Coalescer[str, str](batches, Limits(batches=1, queries=1, waiters=10, wait_seconds=3600, rest=1e9))
    batches.may_end.set()
    await asyncio.gather(*run(resting, "a", "b"))
    assert batches.begun == [["a"], ["b"]]


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.fixture
async def coalescer(batches: Batches) -> Coalescer[str, str]:
    """It has seen the results of the queries L1 and L2, which are large."""
    coalescer = coalescer_of(batches)
    batches.may_end.set()
    await asyncio.gather(*run(coalescer, "L1", "L2"))
    batches.begun.clear()
    batches.may_end.clear()
    return coalescer


async def test_no_more_batches_are_in_flight_than_the_limit(batches: Batches) -> None:
    coalescer = Coalescer[str, str](batches, Limits(batches=2, queries=1, waiters=100, wait_seconds=3600))
    tasks = run(coalescer, *"abcd")
    await turns()
    assert batches.begun == [["a"], ["b"]]
    tasks += run(coalescer, "e")
    await turns()
    assert batches.begun == [["a"], ["b"]]
    batches.may_end.set()
    await asyncio.gather(*tasks)
    assert batches.begun == [["a"], ["b"], ["c"], ["d"], ["e"]]


def taking_turns(batches: Batches, most: int, wait_seconds: float = 3600) -> Coalescer[str, str]:
    """A query's kind is its first letter."""
    limits = Limits(batches=most, queries=1, waiters=100, wait_seconds=wait_seconds, has_turns=True)
    return Coalescer(batches, limits, kind=lambda query: query[0])


async def test_kinds_take_turns_even_if_many_queries_of_one_kind_wait(batches: Batches) -> None:
    coalescer = taking_turns(batches, 1)
    tasks = run(coalescer, "a1", "a2", "a3", "b1", "b2", "c1")
    await turns()
    assert batches.begun == [["a1"]]
    tasks += run(coalescer, "d1", "a4")
    batches.may_end.set()
    await asyncio.gather(*tasks)
    assert [query for (query,) in batches.begun] == ["a1", "b1", "c1", "a2", "d1", "b2", "a3", "a4"]


async def test_a_kind_that_is_in_flight_leaves_the_other_batches_to_others(batches: Batches) -> None:
    coalescer = taking_turns(batches, 2)
    tasks = run(coalescer, "a1", "a2", "a3")
    await turns()
    assert batches.begun == [["a1"]]
    tasks += run(coalescer, "b1")
    await turns()
    assert batches.begun == [["a1"], ["b1"]]
    batches.may_end.set()
    await asyncio.gather(*tasks)


async def test_the_query_that_waits_longest_is_refused_first_if_kinds_take_turns(batches: Batches) -> None:
    coalescer = taking_turns(batches, 1, wait_seconds=0.1)
    refused: list[str] = []

    async def refusal_of(query: str) -> None:
        with pytest.raises(Unavailable):
            await coalescer.run(query)
        refused.append(query)

    tasks = run(coalescer, "x1", "b1")
    early = asyncio.create_task(refusal_of("b2"))
    await turns()
    late = asyncio.create_task(refusal_of("a1"))
    await turns()
    # The batch of x ends, and the batch of b begins. The next turn is that of a.
    batches.may_end.set()
    batches.may_end.clear()
    await asyncio.gather(early, late)
    assert batches.begun == [["x1"], ["b1"]]
    assert refused == ["b2", "a1"]
    batches.may_end.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("queries", ["aLb", "Lab", "abL"])
async def test_a_large_query_has_a_batch_of_its_own_beside_the_others_of_its_kind(
    coalescer: Coalescer[str, str], batches: Batches, queries: str
) -> None:
    tasks = run(coalescer, *(query.replace("L", "L1") for query in queries))
    await turns()
    assert sorted(batches.begun) == [["L1"], ["a", "b"]]
    batches.may_end.set()
    await asyncio.gather(*tasks)


async def test_a_large_query_does_not_run_twice_at_once(coalescer: Coalescer[str, str], batches: Batches) -> None:
    tasks = run(coalescer, "L1")
    await turns()
    tasks += run(coalescer, "L1", "L2")
    await turns()
    assert batches.begun == [["L1"], ["L2"]], "the second L1 waits, and blocks no other query"
    batches.may_end.set()
    await asyncio.gather(*tasks)
    assert batches.begun == [["L1"], ["L2"], ["L1"]]


async def test_a_running_large_query_does_not_delay_the_others_of_its_kind(
    coalescer: Coalescer[str, str], batches: Batches
) -> None:
    tasks = run(coalescer, "L1")
    await turns()
    tasks += run(coalescer, "a", "b")
    await turns()
    tasks += run(coalescer, "c")
    await turns()
    assert batches.begun == [["L1"], ["a", "b"]], "one batch of the other queries of a kind is in flight"
    batches.may_end.set()
    await asyncio.gather(*tasks)


async def test_a_batch_that_has_ended_makes_way_for_the_next_of_its_kind(batches: Batches) -> None:
    """This is also so for a batch whose query has become large."""
    coalescer = coalescer_of(batches)
    for query in ("L1", "a", "b"):
        batches.may_end.clear()
        tasks = run(coalescer, query)
        await turns()
        batches.may_end.set()
        await asyncio.gather(*tasks)
    assert batches.begun == [["L1"], ["a"], ["b"]]


@pytest.mark.parametrize("result", ["small", Conflict("not large")])
async def test_a_query_is_large_only_while_its_last_result_was(
    coalescer: Coalescer[str, str], batches: Batches, result: str | ServiceError
) -> None:
    batches.results["L1"] = result
    batches.may_end.set()
    for _ in range(2):
        await asyncio.gather(*run(coalescer, "a", "L1", "b"), return_exceptions=True)
    assert batches.begun == [["a", "b"], ["L1"], ["a", "L1", "b"]]


async def test_only_the_latest_large_queries_are_remembered(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.queue.coalescer.LARGE_QUERIES_KEPT", 2)
    coalescer = coalescer_of(batches)
    batches.may_end.set()
    await asyncio.gather(*run(coalescer, "L1", "L2", "L3"))
    await asyncio.gather(*run(coalescer, "a", "L1", "L2", "L3"))
    assert batches.begun[1:] == [["a", "L1"], ["L2"], ["L3"]]


async def test_an_error_in_place_of_a_result_is_raised_for_its_query_alone(batches: Batches) -> None:
    error = Conflict("this one")
    batches.results["b"] = error
    batches.may_end.set()
    results = await asyncio.gather(*run(coalescer_of(batches), *"abc"), return_exceptions=True)
    assert [getattr(result, "result", result) for result in results] == ["a", error, "c"]
    assert batches.begun == [["a", "b", "c"]]


async def test_a_batch_without_results_is_an_error_of_its_queries() -> None:
    async def return_nothing(queries: Sequence[str]) -> list[str | ServiceError]:
        return []

    results = await asyncio.gather(*run(coalescer_of(return_nothing), "a", "b"), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 2


@pytest.mark.parametrize("surplus", [[], ["more", "more"]], ids=["too few", "too many"])
async def test_results_are_used_only_if_a_batch_returns_one_for_each_query(surplus: list[str]) -> None:
    async def return_too_few_or_too_many(queries: Sequence[str]) -> list[str]:
        return list(queries) if len(queries) == 1 else [*(f"of {query}" for query in queries[1:]), *surplus]

    results = await asyncio.gather(*run(coalescer_of(return_too_few_or_too_many), *"abc"))
    assert [outcome.result for outcome in results] == ["a", "b", "c"], "each query ran again, alone"


async def test_a_batch_works_for_the_requests_of_all_its_waiters(batches: Batches) -> None:
    shared = coalescer_of(batches)

    async def request(name: str, query: str) -> None:
        origins.set((Origin(name),))
        await shared.run(query)

    batches.may_end.set()
    await asyncio.gather(request("one", "a"), request("two", "b"), request("three", "a"))
    assert batches.requests == [("one", "three", "two")]


@pytest.mark.parametrize(("rest", "counted"), [(0, 3), (1, 0)])
async def test_requests_that_wait_are_counted_and_the_queries_of_streams_are_not(
    batches: Batches, rest: float, counted: int
) -> None:
    coalescer = Coalescer[str, str](batches, Limits(1, 10, 100, 3600, rest))
    before = waiting_requests()
    tasks = run(coalescer, "a", "a", "b")
    await turns()
    assert waiting_requests() - before == counted
    batches.may_end.set()
    await asyncio.gather(*tasks)
    assert waiting_requests() == before


async def test_a_cancelled_waiter_does_not_count_towards_the_limit(batches: Batches) -> None:
    coalescer = Coalescer[str, str](batches, Limits(batches=1, queries=10, waiters=3, wait_seconds=3600))
    running = run(coalescer, "a")
    await turns()
    waiting = run(coalescer, "b", "b", "c")
    await turns()
    waiting.pop().cancel()
    await turns()
    waiting += run(coalescer, "d")
    await turns()
    with pytest.raises(Unavailable) as refusal:
        await coalescer.run("e")
    assert refusal.value.text == "Service unavailable: too many requests are waiting"
    batches.may_end.set()
    await asyncio.gather(*running, *waiting)
    assert batches.begun == [["a"], ["b", "d"]]


async def test_a_waiter_is_refused_when_its_own_time_is_up_and_not_before(batches: Batches) -> None:
    wait_seconds = 0.2
    coalescer = Coalescer[str, str](batches, Limits(batches=1, queries=10, waiters=100, wait_seconds=wait_seconds))

    async def seconds_until_refused(query: str) -> float:
        began_at = time.perf_counter()
        with pytest.raises(Unavailable) as refusal:
            await coalescer.run(query)
        assert refusal.value.text == "Service unavailable: the request waited too long"
        return time.perf_counter() - began_at

    running = run(coalescer, "a")
    await turns()
    for _ in range(2):
        early = asyncio.create_task(seconds_until_refused("b"))
        await asyncio.sleep(wait_seconds / 2)
        assert await seconds_until_refused("c") >= wait_seconds
        assert await early >= wait_seconds
    batches.may_end.set()
    await asyncio.gather(*running)
    assert batches.begun == [["a"]]


async def test_the_seconds_of_an_outcome_lie_within_those_of_the_call(batches: Batches) -> None:
    coalescer = coalescer_of(batches)
    began_at = time.perf_counter()
    tasks = run(coalescer, "a")
    await turns()
    tasks += run(coalescer, "b")
    await turns()
    batches.may_end.set()
    for outcome in await asyncio.gather(*tasks):
        seconds = time.perf_counter() - began_at
        assert 0 <= outcome.wait_seconds <= outcome.wait_seconds + outcome.batch_seconds <= seconds

"""When the breaker of a node opens, so that its requests are refused, and when it closes."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import pytest

from service.cluster import breaker
from service.cluster.breaker import Breaker, breaker_of
from service.db import Database
from service.errors import Moved, ServiceError, TimedOut, Unavailable, Uncounted

NUMBERS = itertools.count()


class Node:
    """Replaces the pool of a node."""

    address = "node:5432"

    def __init__(self, url: str = "") -> None:
        self.url = url or f"node {next(NUMBERS)}"
        self.is_away = False
        self.probes = 0
        self.third_probe, self.was_cut = asyncio.Event(), asyncio.Event()

    async def try_connection(self) -> None:
        self.probes += 1
        if self.probes == 3:
            self.third_probe.set()
        if self.is_away:
            raise Unavailable

    def cut(self) -> None:
        self.was_cut.set()


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def closed(node: Node) -> Breaker:
    return breaker_of(cast(Database, node))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PROBE_SECONDS", 0.01)


async def answer() -> str:
    return "answer"


async def open_(breaker: Breaker, node: Node) -> None:
    """With a statement that does not respond until its connection is cut."""

    async def work() -> None:
        await node.was_cut.wait()
        raise Unavailable

    node.is_away = True
    with pytest.raises(Unavailable):
        await breaker.run(work)


async def test_work_on_a_node_that_responds_is_done_without_a_probe(closed: Breaker, node: Node) -> None:
    assert await closed.run(answer) == "answer"
    assert node.probes == 0


async def test_slow_work_on_a_node_that_responds_continues(closed: Breaker, node: Node) -> None:
    async def slow() -> str:
        await node.third_probe.wait()
        return "answer"

    assert await closed.run(slow) == "answer"
    closed.require_closed()


async def test_an_open_breaker_ends_running_work_and_begins_no_other(closed: Breaker, node: Node) -> None:
    await open_(closed, node)
    begun = []

    async def work() -> None:
        begun.append(True)

    with pytest.raises(Unavailable) as refused:
        await closed.run(work)
    assert refused.value.said == "The node node:5432 does not respond."
    assert begun == []


@pytest.mark.parametrize("error", [Unavailable(), TimedOut()])
async def test_an_error_of_the_connection_causes_a_probe(closed: Breaker, node: Node, error: ServiceError) -> None:
    node.is_away = True
    with pytest.raises(type(error)):
        await closed.run(failing_with(error))
    await until_refused(closed)


@pytest.mark.parametrize("error", [Moved(), Uncounted()])
async def test_an_error_in_the_response_of_a_node_causes_no_probe(
    closed: Breaker, node: Node, error: ServiceError
) -> None:
    with pytest.raises(type(error)):
        await closed.run(failing_with(error))
    await asyncio.sleep(0)
    assert node.probes == 0


async def test_an_open_breaker_probes_repeatedly_and_closes_when_a_probe_succeeds(closed: Breaker, node: Node) -> None:
    await open_(closed, node)
    began_at, before = time.monotonic(), node.probes
    while node.probes < before + 3:
        with pytest.raises(Unavailable):
            closed.require_closed()
        await asyncio.sleep(0)
    assert time.monotonic() - began_at > 2 * breaker.PROBE_SECONDS
    node.is_away = False
    await until_closed(closed)
    assert await closed.run(answer) == "answer"


async def test_the_log_names_the_node_once_when_it_is_silent_and_once_when_it_is_back(
    closed: Breaker, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await open_(closed, node)
    before = node.probes
    while node.probes == before:
        with pytest.raises(Unavailable):
            closed.require_closed()
        await asyncio.sleep(0)
    node.is_away = False
    await until_closed(closed)
    assert [record.message for record in caplog.records if record.name == breaker.__name__] == [
        "a node does not respond, its requests are refused node=node:5432",
        "a node responds again node=node:5432",
    ]


async def test_all_pools_of_a_process_share_the_breaker_of_a_node() -> None:
    one, same, other = (breaker_of(cast(Database, Node(url))) for url in ("a", "a", "b"))
    assert one is same
    assert one is not other


async def until_refused(breaker: Breaker) -> None:
    while True:
        try:
            breaker.require_closed()
        except Unavailable:
            return
        await asyncio.sleep(0)


async def until_closed(breaker: Breaker) -> None:
    while True:
        with suppress(Unavailable):
            breaker.require_closed()
            return
        await asyncio.sleep(0)


def failing_with(error: ServiceError) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        raise error

    return work

"""How the node of a sender is found in a distributed queue, and which senders fail if a node is unavailable."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from service.cluster import places
from service.cluster.citus import ATTEMPTS, Citus
from service.cluster.places import hash_of
from service.db import Database, Statement
from service.errors import Moved, ServiceError, TimedOut, Unavailable, Uncounted
from service.model import StatsQuery

Answer = Callable[[int], list[tuple[Any, ...]]]

# Shard 100 has the hashes below zero and is on node 0, shard 101 the others.
OF_NODE = [[id_ for id_ in range(1, 9) if (hash_of(id_) >= 0) == node] for node in (0, 1)]
ONE, TWO = OF_NODE[0][:2]
OTHER, ANOTHER = OF_NODE[1][:2]


class Cluster:
    """Replaces the pools of a coordinator and its nodes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lost: set[int] = set()
        self.answer: dict[int, Answer] = {}
        self.before_answer: Callable[[], Awaitable[None]] = _no_pause

    async def fetch(self, statement: Statement) -> list[dict[str, Any]]:
        name = statement.name.rpartition("/")[2]
        self.asked.append(name)
        await self.before_answer()
        if name == "nodes":
            return [{"host": "node", "port": node, "node_group": node} for node in (0, 1) if node not in self.lost]
        return [{"shard": 100 + node, "node_group": node, "least_hash": (node - 1) << 31} for node in (0, 1)]

    async def at(self, host: str, port: int) -> "Node":
        return Node(self, port)


async def _no_pause() -> None:
    pass


class Node:
    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster, self._port = cluster, port
        self.address = f"node:{port}"
        self.url = f"{id(cluster)} {port}"

    async def fetch(
        self, statement: Statement, begin_with: str, shards: list[int], **values: Any
    ) -> list[tuple[Any, ...]]:
        assert shards == [100 + self._port] * len(shards)
        answer = self._cluster.answer.get(self._port)
        return answer(len(shards)) if answer else [row(position) for position in range(1, len(shards) + 1)]

    async def try_connection(self) -> None:
        pass


def row(position: int, total: int | None = 5) -> tuple[Any, ...]:
    return (position, 0, 0, 0, "", total, 0, 0, total)


def failing(*errors: ServiceError) -> Answer:
    left = list(errors)

    def answer(count: int) -> list[tuple[Any, ...]]:
        if left:
            raise left.pop(0)
        return [row(position) for position in range(1, count + 1)]

    return answer


async def read(cluster: Cluster, *sender_ids: int) -> list[int | str]:
    """The total of each sender, or the name of the error in its place."""
    return await ask(Citus(cast(Database, cluster)), *sender_ids)


async def ask(citus: Citus, *sender_ids: int) -> list[int | str]:
    results = await citus.read([StatsQuery(id_) for id_ in sender_ids])
    return [type(rows).__name__ if isinstance(rows, ServiceError) else rows[0].total for rows in results]


async def test_an_unavailable_node_fails_the_queries_of_its_own_senders_only() -> None:
    cluster = Cluster()
    cluster.answer[1] = failing(Unavailable())
    assert await read(cluster, OTHER, ONE, ANOTHER, TWO) == ["Unavailable", 5, "Unavailable", 5]
    assert cluster.asked == ["nodes", "shards"]


async def test_a_moved_shard_is_looked_up_again_without_the_other_shards() -> None:
    cluster = Cluster()
    cluster.answer[0] = failing()
    cluster.answer[1] = failing(Moved(), Moved())
    assert await read(cluster, OTHER, ONE, ANOTHER) == [5, 5, 5]
    assert cluster.asked == ["nodes", "shards"] * 3


async def test_a_shard_that_moves_at_every_attempt_is_unavailable() -> None:
    cluster = Cluster()
    cluster.answer[1] = failing(*(Moved() for _ in range(ATTEMPTS)))
    assert await read(cluster, OTHER, ONE) == ["Moved", 5]
    assert cluster.asked == ["nodes", "shards"] * ATTEMPTS


async def test_a_shard_without_a_primary_node_is_unavailable_until_it_has_one() -> None:
    cluster = Cluster()
    cluster.lost.add(0)
    citus = Citus(cast(Database, cluster))
    assert await ask(citus, OTHER, ONE) == [5, "Moved"]
    cluster.lost.clear()
    assert await ask(citus, OTHER, ONE) == [5, 5]


async def test_the_first_query_of_a_sender_does_not_look_up_the_shards_again() -> None:
    cluster = Cluster()
    citus = Citus(cast(Database, cluster))
    for sender_id in (ONE, OTHER, TWO, ANOTHER):
        assert await ask(citus, sender_id) == [5]
    assert cluster.asked == ["nodes", "shards"]


async def test_an_address_that_the_coordinator_has_not_confirmed_lately_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    citus = Citus(cast(Database, cluster))
    assert await ask(citus, ONE) == [5]
    cluster.before_answer = _out_of_time
    monkeypatch.setattr(places, "TRUSTED_SECONDS", 0)
    with pytest.raises(TimedOut):
        await ask(citus, ONE)
    assert cluster.asked == ["nodes", "shards", "nodes"]


async def _out_of_time() -> None:
    raise TimedOut


async def test_a_query_waits_in_the_queue_of_its_node() -> None:
    citus = Citus(cast(Database, Cluster()))
    assert citus.queue_of(ONE) is None
    await ask(citus, ONE)
    assert [citus.queue_of(id_) for id_ in (ONE, TWO, OTHER)] == [("node", 0), ("node", 0), ("node", 1)]


async def test_a_node_has_a_sample_that_is_one_of_its_senders_until_it_is_known() -> None:
    citus = Citus(cast(Database, Cluster()))
    samples = await citus.sample_senders(set())
    assert {node: citus.queue_of(cast(int, sender_id)) for node, sender_id in samples.items()} == {
        ("node", 0): ("node", 0),
        ("node", 1): ("node", 1),
    }
    assert set(await citus.sample_senders({("node", 0)})) == {("node", 1)}


async def test_only_shards_that_are_not_counted_yet_have_no_reports_from_counters() -> None:
    cluster = Cluster()
    cluster.answer[0] = lambda count: [row(1, None), *(row(position) for position in range(2, count + 1))]
    assert await read(cluster, OTHER, ONE, TWO) == [5, Uncounted.__name__, 5]

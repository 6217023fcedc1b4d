"""Where the senders of a distributed queue are looked for, and what a node that is away takes along."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from service.cluster.citus import ATTEMPTS, Citus
from service.db import Database, Statement
from service.errors import BadRequest, Moved, ServiceError, Unavailable, Uncounted
from service.model import Dimension, HistoryQuery, Measure, StatsQuery, TopQuery, With

Answer = Callable[[int], list[tuple[Any, ...]]]


class Cluster:
    """Stands in for the pools of a coordinator and its nodes: senders are on the node of their number modulo 2."""

    def __init__(self) -> None:
        self.located: list[list[int]] = []
        self.lost: set[int] = set()
        self.answer: dict[int, Answer] = {}

    async def fetch(self, statement: Statement, *, sender_id: list[int]) -> list[dict[str, Any]]:
        self.located.append(sender_id)
        rows = ({"sender_id": id_, "shard": 100 + id_ % 2, "host": "node", "port": id_ % 2} for id_ in sender_id)
        return [row for row in rows if row["port"] not in self.lost]

    async def at(self, host: str, port: int) -> "Node":
        return Node(self, port)


class Node:
    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster, self._port = cluster, port

    async def fetch(self, statement: Statement, shards: list[int], **values: Any) -> list[tuple[Any, ...]]:
        assert shards == [100 + self._port] * len(shards)
        answer = self._cluster.answer.get(self._port)
        return answer(len(shards)) if answer else [row(position) for position in range(1, len(shards) + 1)]


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
    results = await Citus(cast(Database, cluster)).read([StatsQuery(id_) for id_ in sender_ids])
    return [type(rows).__name__ if isinstance(rows, ServiceError) else rows[0].total for rows in results]


async def test_a_node_that_is_away_takes_its_own_senders_along_and_no_other() -> None:
    cluster = Cluster()
    cluster.answer[1] = failing(Unavailable())
    assert await read(cluster, 1, 2, 3, 4) == ["Unavailable", 5, "Unavailable", 5]
    assert cluster.located == [[1, 2, 3, 4]]


async def test_a_shard_that_has_moved_is_looked_for_again_without_the_others() -> None:
    cluster = Cluster()
    cluster.answer[1] = failing(Moved(), Moved())
    assert await read(cluster, 1, 2, 3) == [5, 5, 5]
    assert cluster.located == [[1, 2, 3], [1, 3], [1, 3]]


async def test_a_shard_that_moves_again_and_again_is_nowhere() -> None:
    cluster = Cluster()
    cluster.answer[1] = failing(*(Moved() for _ in range(ATTEMPTS)))
    assert await read(cluster, 1, 2) == ["Unavailable", 5]
    assert len(cluster.located) == ATTEMPTS


async def test_a_shard_without_a_primary_node_is_nowhere_and_is_looked_for_once() -> None:
    cluster = Cluster()
    cluster.lost.add(0)
    assert await read(cluster, 1, 2) == [5, "Unavailable"]
    assert cluster.located == [[1, 2]]


async def test_only_a_shard_that_is_not_counted_yet_has_no_answer_from_counters() -> None:
    cluster = Cluster()
    cluster.answer[0] = lambda count: [row(1, None), *(row(position) for position in range(2, count + 1))]
    assert await read(cluster, 1, 2, 4) == [5, Uncounted.__name__, 5]


async def test_what_a_distributed_queue_does_not_have_is_refused_in_words() -> None:
    citus = Citus(cast(Database, Cluster()))
    for part in With:
        with pytest.raises(BadRequest, match="with is not available for a distributed queue"):
            await citus.read([StatsQuery(1).with_parts([part])])
    with pytest.raises(BadRequest, match="order=oldest is not available for a distributed queue"):
        await citus.top(TopQuery(Dimension.SENDER, Measure.TOTAL, 10, by_age=True))
    with pytest.raises(BadRequest, match="the history is not available for a distributed queue"):
        await citus.history(HistoryQuery(1, None, is_by_isp=False, step_seconds=60, since=datetime.now(UTC)))
    for read_report in (citus.report, citus.scan_report):
        with pytest.raises(BadRequest, match="this report is not available for a distributed queue"):
            await read_report({})

"""`make soak CLUSTER=1` in a small size."""

from collections.abc import Awaitable, Callable

import pytest

from tests.citus.conftest import with_citus
from tests.soak.cluster import ClusterWorld, cluster
from tests.soak.run import Plan, run


class FewFaults(ClusterWorld):
    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.shard_moved, self.node_killed, self.node_stopped]


@pytest.mark.slow
@pytest.mark.skipif(with_citus() is None, reason="Citus is not installed for a PostgreSQL of this machine")
def test_no_answer_is_wrong_while_shards_move_and_nodes_fail() -> None:
    result = run(Plan(12, 1, 4), FewFaults, cluster)
    assert result.failures == []
    assert result.answers.compared.total() > 100
    assert result.written.transactions > 0
    assert len(result.waits) == 3

"""`make soak` in a small size: it finds no error in the service, and it finds errors that the test causes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.model import Grouping, StatsQuery
from tests.soak.faults import PLAIN, World
from tests.soak.ledger import Expected, Ledger
from tests.soak.run import Plan, run

CELL = (306, 0, "Gmail", "new")
QUERY = StatsQuery(119, grouping=Grouping.ACCOUNT)


class FewFaults(World):
    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.backend_killed, self.instance_killed, self.postmaster_killed]


class UnknownWriter(World):
    """Changes counters, which the service may repair, and deletes messages. The ledgers do not have these changes."""

    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.counters_changed, self.messages_deleted]

    async def counters_changed(self) -> None:
        await self._change("UPDATE queuestats.counters SET new = new + 1000 WHERE sender_id = ANY ($1)")

    async def messages_deleted(self) -> None:
        await self._change(
            """
            WITH chosen AS (SELECT id FROM messages WHERE sender_id = ANY ($1) FOR UPDATE SKIP LOCKED)
            DELETE FROM messages USING chosen WHERE messages.id = chosen.id
            """
        )

    async def _change(self, statement: str) -> None:
        connection = await asyncpg.connect(self.owner_url)
        try:
            while (await connection.execute(statement, PLAIN)).endswith(" 0"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            await connection.close()


@pytest.mark.slow
def test_no_response_is_wrong_and_nothing_is_lost() -> None:
    result = run(Plan(12, 1, 4), FewFaults)
    assert result.failures == []
    assert result.answers.compared.total() > 100
    assert len(result.waits) == 3
    assert result.operated.settled >= 3
    assert f"| responses compared | {result.answers.compared.total():,}: json " in "\n".join(result.lines())


@pytest.mark.slow
def test_wrong_counters_and_lost_messages_are_found() -> None:
    result = run(Plan(3, 1, 2), UnknownWriter)
    assert {"Wrong", "Lost"} <= {failure.partition(": ")[0] for failure in result.failures}


def row(**counts: int) -> dict[str, Any]:
    keys = {"account_id": 306, "campaign_id": 0, "isp": ""}
    return keys | dict.fromkeys(("new", "proc", "retry", "hold"), 0) | counts


def test_a_response_has_all_committed_changes_before_it_and_only_attempted_ones() -> None:
    ledger = Ledger(is_controlled=False)
    ledger.attempt({CELL: 2})
    ledger.commit({CELL: 2})
    before = ledger.before()
    ledger.attempt({CELL: 3})
    for count, is_right in {1: False, 2: True, 4: True, 5: True, 6: False}.items():
        assert (ledger.faults(before, QUERY, [row(new=count)]) == []) is is_right
    assert ledger.faults(before, QUERY, []) == ["(306, 0, '') new: 0, not 2 to 5"]
    ledger.roll_back({CELL: 3})
    assert ledger.faults(before, QUERY, [row(new=3)]) == ["(306, 0, '') new: 3, not 2 to 2"]
    ledger.attempt({CELL: -1})
    assert ledger.faults(before, QUERY, [row(new=1)]) == []


def test_a_purge_may_remove_everything_until_the_table_is_read() -> None:
    ledger = Ledger(is_controlled=True)
    waiting = Counter({ledger.cell(306, 0, "Gmail", "new"): 2})
    ledger.attempt(waiting)
    ledger.commit(waiting)
    before = ledger.before()
    ledger.attempt_purge()
    assert ledger.faults(before, QUERY, []) == []
    assert ledger.settle({(306, 0, "Gmail"): {"new": 1}}) == []
    assert ledger.faults(before, QUERY, [row(new=1)]) == []
    assert ledger.faults(ledger.before(), QUERY, []) == ["(306, 0, '') waiting: 0, not 1 to 1"]
    assert ledger.settle({}) == ["(306, 0, 'Gmail', 'waiting'): 0 in the table, not 1 to 1"]


def test_the_expectation_of_an_operator_is_for_responses_between_two_requests() -> None:
    ledger = Ledger(is_controlled=True)
    waiting = Counter({ledger.cell(306, 0, "Gmail", "new"): 1})
    ledger.attempt(waiting)
    ledger.commit(waiting)
    before = ledger.before()
    assert ledger.faults(before, QUERY, [row(hold=1)]) == [f"{row(hold=1)}, but nothing is on hold"]
    ledger.expect(Expected.HELD)
    assert ledger.faults(before, QUERY, [row(hold=1)]) == ledger.faults(before, QUERY, [row(new=1)]) == []
    assert ledger.faults(ledger.before(), QUERY, [row(new=1)]) != []

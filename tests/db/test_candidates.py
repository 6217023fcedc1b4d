"""Rejected statements return the same rows as their counterparts, so that both can be measured again."""

from typing import Any

import pytest

from service.db import Statement, load_statement
from tests.oracle import Message, insert

# A candidate, its counterpart, and further parameters of the counterpart.
PAIRS = [
    (
        "candidates/fine_rollup/total",
        "queries/from_counters/total",
        {"account_id": None, "campaign_id": None, "isp": None},
    ),
    (
        "candidates/group_by_status/total",
        "queries/from_messages/total",
        {"account_id": None, "campaign_id": None, "isp": None},
    ),
]
QUEUE = [
    Message(119, account_id, campaign_id, isp, status)
    for account_id, campaign_id in ((306, 4591), (306, 0), (307, 4914))
    for isp, status in (("Gmail", "new"), ("Gmail", "hold"), ("", "retry"), ("Yahoo", "proc"))
]


async def rows(owner: Any, asked: Statement, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await owner.fetch(asked.sql, *asked.bind(given))]


@pytest.mark.parametrize(
    ("candidate", "counterpart", "more"), PAIRS, ids=lambda each: each if isinstance(each, str) else ""
)
async def test_a_candidate_returns_the_rows_of_its_counterpart(
    owner: Any, candidate: str, counterpart: str, more: dict[str, None]
) -> None:
    # Deltas folded into the first epoch, folded into the second, and pending.
    fold = load_statement("queries/fold")
    for part in (QUEUE[:6], QUEUE[6:9]):
        await insert(owner, part)
        await owner.fetch(fold.sql, *fold.bind({"max_deltas": 100, "mark_every": 0.001}))
    await insert(owner, QUEUE[9:])

    given = {"sender_id": 119, "account_id": 306}
    mine = {name: given[name] for name in load_statement(candidate).types}
    found = await rows(owner, load_statement(candidate), mine)
    assert found
    others, is_array = mine | more, counterpart.startswith("queries/from_counters/")
    other_rows = await rows(owner, load_statement(counterpart), {k: [v] if is_array else v for k, v in others.items()})
    assert found == [row[is_array:] for row in other_rows]

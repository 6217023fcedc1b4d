"""`explain`: the plan as the service gets it, and a warning if it is not the intended one."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from service.db import Database, load_statement
from service.db.statements import BadStatement
from service.model import Grouping, StatsQuery
from service.queue.explain import explain, plan_of
from tests.conftest import TestDatabase, open_pool
from tests.oracle import Message, insert

QUERY = StatsQuery(119, isp="it's \\ Gmail", grouping=Grouping.ACCOUNT)


@pytest.fixture
async def service(database: TestDatabase) -> AsyncIterator[Database]:
    async with open_pool(database.service_url) as opened:
        yield opened


@pytest.mark.parametrize("analyze", [False, True])
async def test_a_look_up_is_shown_with_its_plan_for_all_values(service: Database, owner: Any, analyze: bool) -> None:
    await insert(owner, [Message(119, isp="it's \\ Gmail")])
    shown = await explain(service, QUERY, analyze=analyze)

    assert shown.statement == "sql/queries/from_counters/account.sql"
    assert "sender_id = query.sender_id" in "\n".join(shown.lines)
    assert shown.warnings == []
    assert ("rows=1.00 loops" in shown.lines[0] or "rows=1 loops" in shown.lines[0]) is analyze


async def test_a_scan_is_shown_with_its_plan_for_these_values(service: Database, owner: Any) -> None:
    await owner.execute("DELETE FROM queuestats.baseline")
    shown = await explain(service, QUERY, analyze=True)

    assert shown.statement == "sql/queries/from_messages/account.sql"
    assert "sender_id = '119'::bigint" in "\n".join(shown.lines)


async def test_a_missing_index_is_named(service: Database, owner: Any) -> None:
    await owner.execute("DROP INDEX queuestats.deltas_sender_id_xid")
    shown = await explain(service, QUERY, analyze=False)

    assert "The index deltas_sender_id_xid is missing or invalid: see queuestats doctor." in shown.warnings


async def test_a_full_scan_of_a_table_of_counts_is_named(service: Database, owner: Any) -> None:
    await owner.execute("DROP INDEX queuestats.counters_by_isp, queuestats.counters_by_account")
    shown = await explain(service, QUERY, analyze=False)

    assert "counters is read as a whole." in shown.warnings


async def test_a_plan_that_fails_does_not_disturb_the_next(service: Database, owner: Any) -> None:
    asked = load_statement("queries/from_counters/account")
    with pytest.raises(asyncpg.PostgresError):
        await plan_of(
            service, asked, {"sender_id": ["x"], "campaign_id": [None], "isp": [None]}, analyze=False, is_scan=False
        )

    await explain(service, QUERY, analyze=False)


@pytest.mark.parametrize("given", [{}, {"sender_id": 1}, {"sender_id": 1, "campaign_id": 1, "isp": "x", "more": 1}])
async def test_a_missing_or_extra_parameter_is_named(service: Database, given: dict[str, Any]) -> None:
    with pytest.raises(BadStatement) as caught:
        await plan_of(service, load_statement("queries/from_counters/account"), given, analyze=False, is_scan=False)

    wrong = given.keys() ^ {"sender_id", "campaign_id", "isp"}
    assert str(caught.value).rpartition(": ")[2] == ", ".join(sorted(wrong))

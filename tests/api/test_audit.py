"""`audit/`: the holds, releases and purges of a sender, with their tokens."""

from typing import Any

import asyncpg
import httpx
import pytest
from lxml import etree

from service.access.admin import create_token
from service.db.statements import load_statement
from service.model import Format, Scope
from tests.api.operator import Operator
from tests.api.test_holds import until_jobs_are_done
from tests.api.wire import check_error
from tests.conftest import TestDatabase


async def limited(client: httpx.AsyncClient, database: TestDatabase, name: str, **limits: Any) -> Operator:
    return Operator(client, await create_token(database.owner_url, name, list(Scope), **limits))


async def entries(operator: Operator, **members: Any) -> list[dict[str, Any]]:
    response = await operator.post("audit", **members)
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


async def test_the_audit_of_a_sender_has_its_calls_and_the_ends_of_their_jobs_the_latest_first(
    operator: Operator, owner: Any
) -> None:
    held = await operator.done("hold", account_id=306, reason="a complaint")
    released = await operator.done("release")
    await until_jobs_are_done(owner)
    await owner.execute("INSERT INTO queuestats.audit_log (action, sender_id, request_id) VALUES ('purge', 120, '')")
    rows = await entries(operator)
    calls, ends = ([row for row in rows if (row["action"] == "finish") is is_end] for is_end in (False, True))
    assert [row["action"] for row in calls] == ["release", "hold"]
    assert [row["job_id"] for row in calls] == [released["job_id"], held["job_id"]]
    assert {row["job_id"]: row["messages"] for row in ends} == {released["job_id"]: 3, held["job_id"]: 2}
    expected = {"account_id": 306, "campaign_id": None, "isp": None, "actor_kind": "token", "actor_name": "operator"}
    assert {name: calls[1][name] for name in expected} == expected
    assert (calls[1]["reason"], calls[0]["hold_ids"]) == ("a complaint", [held["hold_id"]])
    assert await entries(operator, limit=2) == rows[:2]
    assert (await entries(operator, limit=1, ids="string", names=1))[0]["sender_id"] == "119"


async def test_in_xml_an_entry_has_an_element_for_each_hold_that_it_ended(operator: Operator) -> None:
    ended = [(await operator.done("hold", **filter_))["hold_id"] for filter_ in ({}, {"isp": "Gmail"})]
    await operator.done("release")
    xml = etree.fromstring((await operator.post("audit", Format.XML)).content)
    (release,) = (row for row in xml.findall("data") if row.findtext("action") == "release")
    assert [int(each.text or "") for each in release.findall("hold_ids")] == ended


async def test_a_limited_token_reads_its_own_entries(
    operator: Operator, client: httpx.AsyncClient, database: TestDatabase, owner: Any
) -> None:
    of_account = await limited(client, database, "agency", sender_ids=[119], account_ids=[306])
    of_sender = await limited(client, database, "customer", sender_ids=[119])
    await operator.done("hold", account_id=306, reason="of the operator")
    for each, reason in ((of_account, "of the agency"), (of_sender, "of the customer")):
        await each.done("hold", account_id=306, reason=reason)
    # An entry of a former token with this name and other accounts.
    await owner.execute(
        "INSERT INTO queuestats.audit_log (action, sender_id, account_id, actor_name, request_id, reason)"
        " VALUES ('hold', 119, 307, 'agency', '', 'of another')"
    )
    # A command may have the name of a token.
    await owner.execute(
        "INSERT INTO queuestats.audit_log (action, sender_id, account_id, actor_kind, actor_name, request_id, reason)"
        " VALUES ('hold', 119, 306, 'command', 'agency', '', 'of a command')"
    )
    assert {row["reason"] for row in await entries(of_account) if row["action"] == "hold"} == {"of the agency"}
    assert {row["actor_name"] for row in await entries(of_sender)} == {"customer"}
    assert len([row for row in await entries(operator) if row["action"] == "hold"]) == 5


async def test_the_audit_of_another_sender_is_refused(client: httpx.AsyncClient, database: TestDatabase) -> None:
    check_error(await (await limited(client, database, "other", sender_ids=[7])).post("audit"), 403, Format.JSON)


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 1001), ("account_id", 306)])
async def test_a_parameter_that_audit_does_not_have_is_refused(operator: Operator, name: str, value: int) -> None:
    check_error(await operator.post("audit", Format.JSON, **{name: value}), 400, Format.JSON)


async def test_the_entries_of_a_sender_are_found_by_an_index(database: TestDatabase) -> None:
    statement = load_statement("queries/control/audit_of_sender")
    connection = await asyncpg.connect(database.service_url)
    try:
        assert await connection.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
        await connection.execute("SET enable_seqscan = off")
        await connection.execute(f"PREPARE audit AS {statement.sql}")
        plan = await connection.fetch("EXPLAIN EXECUTE audit (119, NULL, NULL, 100)")
    finally:
        await connection.close()
    assert any("Index Scan Backward using audit_log_sender_id" in line for (line,) in plan)

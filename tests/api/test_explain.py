"""The plan of a query over HTTP, for tokens with the scope explain."""

from typing import Any

import httpx
import pytest
from lxml import etree

from service.access.admin import create_token
from service.model import Format, Grouping, Scope
from tests.api.wire import STATS, body_of, read_error
from tests.conftest import TestDatabase

EXPLAIN = STATS.replace("/stats/", "/explain/")


@pytest.fixture
async def token_to_explain(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "dba", [Scope.EXPLAIN])


@pytest.mark.parametrize("group", Grouping)
async def test_the_response_has_the_file_its_text_the_parameters_and_the_plan(
    client: httpx.AsyncClient, token_to_explain: str, group: Grouping
) -> None:
    body = body_of(Format.JSON, token=token_to_explain, id=119, isp="<&>", group=group)
    answer = (await client.post(EXPLAIN, content=body)).json()
    assert list(answer) == ["data", "error", "error_text"]
    assert list(answer["data"]) == ["parameters", "plan", "sql", "statement", "warnings"]
    assert answer["data"]["statement"].startswith("sql/queries/")
    assert f"/* {answer['data']['statement'].removeprefix('sql/')} */" in answer["data"]["sql"]
    assert answer["data"]["parameters"] == {each: [None] for each in answer["data"]["parameters"]} | {
        "sender_id": [119],
        "isp": ["<&>"],
    }
    [plan] = answer["data"]["plan"]
    assert "Node Type" in plan["Plan"]

    in_xml = etree.fromstring((await client.post(f"{EXPLAIN}?format=xml", content=body)).content)
    assert "Index" in (in_xml.findtext("data/plan") or "")
    assert in_xml.findtext("data/sql") == answer["data"]["sql"]
    assert in_xml.findtext("data/parameters/isp") == '["<&>"]'
    assert [child.tag for child in in_xml] == ["data", "error", "error_text"]
    assert [child.tag for child in in_xml.findall("data/*")] == list(answer["data"])


async def test_it_warns_if_the_plan_is_not_the_intended_one(
    client: httpx.AsyncClient, token_to_explain: str, owner: Any
) -> None:
    body = body_of(Format.JSON, token=token_to_explain, id=119)
    assert (await client.post(EXPLAIN, content=body)).json()["data"]["warnings"] == []

    await owner.execute("DROP INDEX queuestats.counters_by_account")
    warnings = (await client.post(EXPLAIN, content=body)).json()["data"]["warnings"]
    assert "counters_by_account is missing" in warnings[0]
    in_xml = etree.fromstring((await client.post(f"{EXPLAIN}?format=xml", content=body)).content)
    assert [each.text for each in in_xml.findall("data/warnings/warning")] == warnings


async def test_it_runs_the_statement_only_on_request_and_writes_nothing(
    client: httpx.AsyncClient, token_to_explain: str, owner: Any
) -> None:
    for analyze, words in (("", False), ("0", False), ("1", True)):
        body = body_of(Format.JSON, token=token_to_explain, id=119, analyze=analyze)
        [plan] = (await client.post(EXPLAIN, content=body)).json()["data"]["plan"]
        assert ("Actual Rows" in plan["Plan"]) is words
    assert await owner.fetchval("SELECT count(*) FROM messages") == 0


@pytest.mark.parametrize("analyze", ["2", "yes", "-1"])
async def test_another_value_of_analyze_is_400(client: httpx.AsyncClient, token_to_explain: str, analyze: str) -> None:
    response = await client.post(EXPLAIN, content=body_of(Format.JSON, token=token_to_explain, id=1, analyze=analyze))
    assert response.status_code == 400
    assert "analyze" in read_error(response.content, Format.JSON)[1]


@pytest.mark.parametrize("format", Format)
async def test_a_token_without_the_scope_is_403_before_any_parameter_is_checked(
    client: httpx.AsyncClient, token: str, token_to_explain: str, format: Format
) -> None:
    for path, lacking in ((EXPLAIN, token), (STATS, token_to_explain)):
        response = await client.post(path, content=body_of(format, token=lacking, id="wrong"))
        assert response.status_code == 403
        code, text = read_error(response.content, format)
        assert (code, text[:11]) == (403, "No access: ")

"""A count below zero proves drift. The service does not send it in a report."""

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.access.admin import create_token
from service.model import Format, Scope
from tests.api.wire import STATS, body_of
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

TOP = "/api/v1.1/admin/senders/queue/top/"
# Written without the triggers: the total and one ISP are below zero, the other ISP is correct.
DRIFT = """
INSERT INTO queuestats.counters VALUES
  (1, 'total', 0, 0, 0, '', 3, -1, 0, 0),
  (1, 'isp', 0, 0, 0, 'Gmail', -1, 0, 0, 0), (1, 'isp', 0, 0, 0, 'Yahoo', 4, 0, 0, 0);
INSERT INTO queuestats.sender_totals (sender_id, new, proc, retry, hold) VALUES (1, 3, -1, 0, 0)
"""


@pytest.fixture
async def drifted(owner: Any) -> None:
    await owner.execute(DRIFT)
    await insert(owner, [Message(2)])


@pytest.mark.usefixtures("drifted")
@pytest.mark.parametrize("asked", [{"group": "total"}, {"group": "isp"}, {"group": "isp", "isp": "Gmail"}])
async def test_a_report_with_a_count_below_zero_is_an_error(
    client: httpx.AsyncClient, token: str, asked: dict[str, str]
) -> None:
    response = await client.post(STATS, content=body_of(Format.JSON, token=token, id=1, **asked))
    assert (response.status_code, response.json()) == (
        503,
        {"error": 503, "error_text": "Service unavailable: the counts of the queue are wrong"},
    )


@pytest.mark.usefixtures("drifted")
async def test_other_reports_are_sent(client: httpx.AsyncClient, token: str) -> None:
    for asked in ({"id": 2}, {"id": 1, "isp": "Yahoo"}):
        response = await client.post(STATS, content=body_of(Format.JSON, token=token, group="isp", **asked))
        assert response.status_code == 200


@pytest.mark.usefixtures("drifted")
@pytest.mark.parametrize("query", ["", "by=isp&id=1"])
async def test_the_largest_are_not_sent_with_a_count_below_zero(
    client: httpx.AsyncClient, token: str, owner: Any, query: str
) -> None:
    await owner.execute("UPDATE queuestats.counters SET proc = -1 WHERE isp = 'Yahoo'")
    response = await client.get(f"{TOP}?{query}", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 503


@pytest.mark.usefixtures("drifted")
async def test_the_metrics_count_the_refused_reports(
    client: httpx.AsyncClient, token: str, database: TestDatabase
) -> None:
    scraper = await create_token(database.owner_url, "prometheus", [Scope.METRICS])

    async def not_sent() -> float:
        response = await client.get("/metrics", headers={"Authorization": f"Bearer {scraper}"})
        assert response.status_code == 200
        families = {each.name: each for each in text_string_to_metric_families(response.text)}
        return families["queuestats_negative_answers"].samples[0].value

    before = await not_sent()
    await client.post(STATS, content=body_of(Format.JSON, token=token, id=1, group="total"))
    assert await not_sent() > before

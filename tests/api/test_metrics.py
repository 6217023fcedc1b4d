"""GET /metrics, which Prometheus scrapes."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from service.access.admin import create_token
from service.model import Format, Scope
from service.settings import PREFIX, Settings
from service.telemetry.metrics import GAUGES
from tests.api.wire import STATS, body_of, client_of, serve_process, serving
from tests.conftest import TestDatabase
from tests.counters.clock import Clock
from tests.oracle import Message, insert

ALL = [
    *("queuestats_requests_total", "queuestats_request_seconds_bucket", "queuestats_refused_total"),
    *("queuestats_batch_queries_bucket", "queuestats_waiting_requests", "queuestats_statement_seconds_bucket"),
    *(
        "queuestats_database_up",
        "queuestats_connections_in_use",
        "queuestats_streams",
        "queuestats_folded_at_seconds",
        "queuestats_messages",
        "queuestats_condition",
        "queuestats_ready",
        "queuestats_oldest_seconds",
        "queuestats_oldest_seconds_max",
        "queuestats_arrived_messages",
        "queuestats_left_messages",
    ),
    *(f"queuestats_{name}" for name in GAUGES),
]


@pytest.fixture
async def scraper(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "prometheus", [Scope.METRICS])


async def scrape(client: httpx.AsyncClient, token: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(response.text)
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


async def test_every_documented_metric_is_exposed(
    client: httpx.AsyncClient, token: str, scraper: str, owner: Any
) -> None:
    await owner.execute(
        "INSERT INTO queuestats.audit_log (action, sender_id, token_name, request_id, messages)"
        " VALUES ('verify', 0, '', '', 0)"
    )
    await client.post(STATS, content=body_of(Format.JSON, token=token, id=119, group="isp"))
    while not (found := await scrape(client, scraper))["queuestats_folded_at_seconds", ()]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    names = {name for name, _ in found}
    # These have no sample until there is a message, a refusal and a recount in the background.
    assert {name for name in ALL if name not in names} <= {
        "queuestats_messages",
        "queuestats_oldest_seconds",
        "queuestats_arrived_messages",
        "queuestats_left_messages",
        "queuestats_refused_total",
        "queuestats_verified_at",
    }
    assert found["queuestats_drift", ()] == 0


async def test_a_process_that_is_not_ready_reports_this(client: httpx.AsyncClient, scraper: str, owner: Any) -> None:
    assert (await scrape(client, scraper))["queuestats_ready", ()] == 1
    await owner.execute("UPDATE queuestats.contract SET number = 0")
    # The result is cached for a second.
    while (await scrape(client, scraper))["queuestats_ready", ()]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def test_requests_are_counted_by_endpoint_group_format_and_status(
    client: httpx.AsyncClient, token: str, scraper: str
) -> None:
    labels = {"endpoint": "stats", "group": "isp", "format": "xml", "status": "200"}
    key = ("queuestats_requests_total", tuple(sorted(labels.items())))
    before = (await scrape(client, scraper)).get(key, 0)
    for _ in range(3):
        await client.post(STATS, content=body_of(Format.XML, token=token, id=119, group="isp"))
    assert (await scrape(client, scraper))[key] == before + 3


async def test_only_the_largest_senders_have_a_queue_depth(database: TestDatabase, scraper: str, owner: Any) -> None:
    await insert(owner, [Message(sender_id=1 + number % 7, status="retry") for number in range(50)])
    environment = {f"{PREFIX}DATABASE_URL": database.service_url, f"{PREFIX}METRICS_SENDERS": "3"}
    with serve_process(environment) as served:
        async with client_of(served.url) as client:
            found = await scrape(client, scraper)
    depth = {labels: value for (name, labels), value in found.items() if name == "queuestats_messages"}
    assert len(depth) == 3 * 4
    assert depth[("sender", "1"), ("status", "retry")] == 8


AGED = """
INSERT INTO messages (sender_id, status, recipient, created_at)
SELECT n, 'new'::message_status, 'x', now() - interval '100 s' - n * interval '1 s' FROM generate_series(1, 9) AS n
UNION ALL SELECT n, 'hold', 'x', now() - interval '2000 s' - n * interval '1 s' FROM generate_series(1, 3) AS n
UNION ALL SELECT 5, 'retry', 'x', now() + interval '1 day' FROM generate_series(1, 3)
"""


async def test_ages_are_those_of_the_oldest_of_each_status_and_of_the_largest_senders(
    database: TestDatabase, scraper: str, owner: Any
) -> None:
    environment = {f"{PREFIX}DATABASE_URL": database.service_url, f"{PREFIX}METRICS_SENDERS": "1"}
    with serve_process(environment) as served:
        async with client_of(served.url) as client:
            empty = await scrape(client, scraper)
            await owner.execute(AGED)
            found = await scrape(client, scraper)
    ages = {(dict(labels)["sender"], dict(labels)["status"]): value for (name, labels), value in found.items()
            if name == "queuestats_oldest_seconds"}  # fmt: skip
    assert ages.keys() == {("9", "new"), ("3", "new"), ("3", "hold"), ("5", "new"), ("5", "retry")}
    assert ages["5", "retry"] == 0
    assert 109 <= ages["9", "new"] < 2000 < ages["3", "hold"] == found["queuestats_oldest_seconds_max", ()]
    assert empty["queuestats_oldest_seconds_max", ()] == 0
    assert not any(name == "queuestats_oldest_seconds" for name, _ in empty)


async def test_there_are_no_ages_if_the_time_of_arrival_is_unknown(
    client: httpx.AsyncClient, scraper: str, owner: Any
) -> None:
    await insert(owner, [Message()])
    await owner.execute(
        "CREATE OR REPLACE FUNCTION queuestats.has_arrivals() RETURNS boolean LANGUAGE sql AS 'SELECT false'"
    )
    found = await scrape(client, scraper)
    assert found["queuestats_messages", (("sender", "119"), ("status", "new"))] == 1
    assert not any(name.startswith("queuestats_oldest_seconds") for name, _ in found)


async def test_arrived_and_left_are_those_of_the_last_five_minutes_once_they_are_known(
    client: httpx.AsyncClient, scraper: str, owner: Any
) -> None:
    clock = Clock(owner)
    await clock.begin()
    await insert(owner, [Message() for _ in range(7)] + [Message(sender_id=120)])
    await owner.execute("DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE sender_id = 119 LIMIT 2)")
    await clock.run(60)
    names = ("queuestats_arrived_messages", "queuestats_left_messages")
    assert not any(name in names for name, _ in await scrape(client, scraper))
    await clock.run(240)
    found = await scrape(client, scraper)
    moved = {(name[len("queuestats_") :], dict(labels)["sender"]): found[name, labels]
             for name, labels in found if name in names}  # fmt: skip
    assert moved == {("arrived_messages", "119"): 7, ("left_messages", "119"): 2,
                     ("arrived_messages", "120"): 1, ("left_messages", "120"): 0}  # fmt: skip


async def test_the_values_of_workers_are_added_and_a_dead_one_has_no_open_requests(
    database: TestDatabase, token: str, scraper: str
) -> None:
    with serve_process({f"{PREFIX}DATABASE_URL": database.service_url}, "--workers", "2") as served:
        asked = 0
        for _ in range(40):
            async with client_of(served.url) as client:
                response = await client.post(STATS, content=body_of(Format.JSON, token=token, id=119))
                asked += response.status_code == 200
        async with client_of(served.url) as client:
            found = await scrape(client, scraper)
    labels = {"endpoint": "stats", "group": "total", "format": "json", "status": "200"}
    assert found["queuestats_requests_total", tuple(sorted(labels.items()))] == asked == 40
    assert found["queuestats_streams", ()] == 0


async def test_an_error_with_http_status_200_is_counted_as_an_error(
    settings: Settings, token: str, scraper: str
) -> None:
    labels = {"endpoint": "stats", "group": "", "format": "json", "status": "400"}
    key = ("queuestats_requests_total", tuple(sorted(labels.items())))
    async with serving(replace(settings, error_http_status="200")) as app, client_of(app) as client:
        before = (await scrape(client, scraper)).get(key, 0)
        assert (await client.post(STATS, content=body_of(Format.JSON, token=token, id=0))).status_code == 200
        assert (await scrape(client, scraper))[key] == before + 1


async def test_a_limited_token_may_not_read_the_metrics(client: httpx.AsyncClient, database: TestDatabase) -> None:
    limited = await create_token(database.owner_url, "limited", [Scope.METRICS], sender_ids=[119])
    refused = await client.get("/metrics", headers={"Authorization": f"Bearer {limited}"})
    assert refused.json()["error_text"] == "No access: this is about all senders, and the token is limited"


async def test_the_metrics_need_a_token_of_their_scope(client: httpx.AsyncClient, token: str) -> None:
    assert (await client.get("/metrics")).status_code == 401
    refused = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert (refused.status_code, refused.json()["error_text"]) == (403, "No access: this token lacks the scope metrics")

"""A limited token reads exactly the sum of the counts within its limits."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.access.admin import create_token, rotate_token
from service.access.rules import Token
from service.errors import Forbidden
from service.model import Format, Grouping, Scope, StatsQuery
from service.queue.stats import CounterReader, fetch_report
from service.reports import StatsRow
from tests.api.wire import STATS, body_of, check_error
from tests.conftest import TestDatabase, open_pool, successful
from tests.oracle import STATUSES, Message, expected_rows, insert

QUEUE = [
    Message(account_id=account_id, campaign_id=campaign_id, isp=isp, status=status)
    for account_id in (0, 306, 307, 308)
    for campaign_id in (0, 4591)
    for isp, status in (("Gmail", "new"), ("", "hold"), ("é", "retry"))
]
TOP = "/api/v1.1/admin/senders/queue/top/"


async def post(client: httpx.AsyncClient, token: str, **members: Any) -> httpx.Response:
    return await client.post(STATS, content=body_of(Format.JSON, token=token, id=119, **members))


def visible(messages: Iterable[Message], account_ids: tuple[int, ...]) -> list[Message]:
    return [each for each in messages if each.account_id in account_ids]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(data=st.data())
async def test_a_report_is_the_sum_of_the_accounts_of_the_token(
    database: TestDatabase, owner: Any, data: st.DataObject
) -> None:
    await owner.execute("TRUNCATE messages")
    message = st.builds(
        Message, account_id=st.sampled_from([0, 306, 307]), campaign_id=st.sampled_from([0, 4591]),
        isp=st.sampled_from(["", "Gmail", "é"]), status=st.sampled_from(STATUSES),
    )  # fmt: skip
    messages = data.draw(st.lists(message, max_size=30))
    await insert(owner, messages)
    account_ids = tuple(sorted(data.draw(st.sets(st.sampled_from([0, 306, 307, 999]), min_size=1))))
    token = Token("limited", frozenset({Scope.STATS}), account_ids=account_ids)
    queries = [
        StatsQuery(119, None, campaign_id, isp, grouping)
        for grouping in Grouping
        for campaign_id in (None, 4591)
        for isp in (None, "Gmail")
    ]
    async with open_pool(database.service_url) as pool:
        # At the same time as queries without limits, which must not share a report with these.
        found = successful(await CounterReader(pool).read([*map(token.limit, queries), *queries]))
    for query, limited, whole in zip(queries, found, found[len(queries) :], strict=False):
        assert limited.rows == expected_rows(visible(messages, account_ids), query), query
        assert whole.rows == expected_rows(messages, query), query


async def test_it_reads_only_its_account_over_http(
    client: httpx.AsyncClient, database: TestDatabase, owner: Any, token: str
) -> None:
    await insert(owner, QUEUE)
    limited = await create_token(database.owner_url, "limited", [Scope.STATS, Scope.EXPLAIN], account_ids=[307, 306])
    for group in Grouping:
        expected = expected_rows(visible(QUEUE, (306, 307)), StatsQuery(119, grouping=group))
        rows = [StatsRow(**row) for row in (await post(client, limited, group=group)).json()["data"]]
        assert rows == expected
    assert (await post(client, token)).json()["data"][0]["total"] == len(QUEUE)
    one = (await post(client, limited, account_id=306)).json()["data"]
    assert one[0]["total"] == 6
    assert (
        check_error(await post(client, limited, account_id=308), 403, Format.JSON)
        == "No access: this token is limited to other accounts"
    )
    url = STATS.replace("stats", "explain")
    explained = await client.post(url, content=body_of(Format.JSON, token=limited, id=119, group="isp"))
    assert explained.json()["data"]["parameters"]["account_id"] == [306, 307]


async def test_it_reads_only_its_senders(client: httpx.AsyncClient, database: TestDatabase, owner: Any) -> None:
    await insert(owner, [*QUEUE, *(replace(each, sender_id=120) for each in QUEUE[:3]), Message(sender_id=121)])
    limited = await create_token(database.owner_url, "limited", sender_ids=[121, 120, 5])
    assert (
        check_error(await post(client, limited), 403, Format.JSON)
        == "No access: this token is limited to other senders"
    )
    headers = {"Authorization": f"Bearer {limited}"}
    rows = (await client.get(TOP, headers=headers)).json()["data"]
    assert [(row["sender_id"], row["total"]) for row in rows] == [(120, 3), (121, 1)]
    assert list(rows[0]) == sorted(rows[0])
    response = await client.get(f"{TOP}?by=isp&id=120&order=hold", headers=headers)
    assert [row["isp"] for row in response.json()["data"]] == [""]
    assert (await client.get(f"{TOP}?by=isp&id=119", headers=headers)).status_code == 403


async def test_a_token_limited_to_accounts_has_no_ranking_and_no_stream_of_other_accounts(
    client: httpx.AsyncClient, database: TestDatabase
) -> None:
    headers = {"Authorization": f"Bearer {await create_token(database.owner_url, 'limited', account_ids=[306])}"}
    assert (await client.get(TOP, headers=headers)).status_code == 403
    stream = await client.get(f"{TOP.replace('top', 'stream')}?id=119&account_id=307", headers=headers)
    assert stream.status_code == 403


async def test_it_gets_503_until_the_first_count_is_complete(database: TestDatabase, owner: Any) -> None:
    await owner.execute("DELETE FROM queuestats.baseline")
    async with open_pool(database.service_url) as pool:
        with pytest.raises(Exception, match="the queue is being counted"):
            await fetch_report(pool, StatsQuery(119, account_ids=(306,)))


async def test_it_expires(client: httpx.AsyncClient, database: TestDatabase, owner: Any) -> None:
    token = await create_token(database.owner_url, "short", expires_in=timedelta(hours=1))
    assert (await post(client, token)).status_code == 200
    await owner.execute("UPDATE queuestats.tokens SET expires_at = now()")
    while (response := await post(client, token)).status_code == 200:
        pass
    assert check_error(response, 401, Format.JSON) == "API token required: this one is unknown or revoked"
    # Its name can be used again.
    assert (await post(client, await create_token(database.owner_url, "short"))).status_code == 200


async def test_after_a_rotation_both_secrets_are_valid_for_the_overlap(
    client: httpx.AsyncClient, database: TestDatabase, owner: Any
) -> None:
    former = await create_token(database.owner_url, "dashboard", sender_ids=[119])
    new = await rotate_token(database.owner_url, "dashboard", timedelta(hours=1))
    for secret in (former, new):
        assert (await post(client, secret)).status_code == 200
    await owner.execute("UPDATE queuestats.tokens SET former_until = now()")
    while (response := await post(client, former)).status_code == 200:
        pass
    assert response.status_code == 401
    assert (await post(client, new)).status_code == 200
    await owner.execute("UPDATE queuestats.tokens SET revoked_at = now()")
    while (await post(client, new)).status_code == 200:
        pass


def test_a_query_beyond_the_limits_is_forbidden() -> None:
    token = Token("limited", frozenset(), sender_ids=(119,), account_ids=(306,))
    assert token.limit(StatsQuery(119, 306)) == StatsQuery(119, 306)
    for query in (StatsQuery(120, 306), StatsQuery(119, 307)):
        with pytest.raises(Forbidden):
            token.limit(query)

"""The groups and their filters, by counters and by scans, compared with sums computed in Python."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.cluster.topology import from_counters, from_messages
from service.db import Database, fetch, load_statement
from service.model import Grouping, StatsQuery
from service.queue.stats import Statistics, fetch_report
from service.reports import StatsRow
from service.settings import Settings
from tests.conftest import PATIENCE_SECONDS, TestDatabase, open_pool
from tests.oracle import STATUSES, Message, expected_rows, insert

# Small enough to count by hand: 7 messages of sender 119, one of another sender.
QUEUE = [
    Message(account_id=306, campaign_id=4591, isp="Gmail", status="new"),
    Message(account_id=306, campaign_id=4591, isp="Gmail", status="new"),
    Message(account_id=306, campaign_id=4591, isp="Yahoo", status="proc"),
    Message(account_id=306, campaign_id=4592, isp="", status="retry"),
    Message(account_id=307, campaign_id=4591, isp="Gmail", status="hold"),
    Message(account_id=0, campaign_id=0, isp="gmail", status="new"),
    Message(account_id=307, campaign_id=0, isp="Gmail", status="retry"),
    Message(sender_id=120, account_id=306, campaign_id=4591, isp="Gmail", status="new"),
]


@pytest.fixture(params=["by the counters", "by the scans"])
async def service(database: TestDatabase, owner: Any, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """The database for the role of the service. Until the first count is committed, scans return the reports."""
    if request.param == "by the scans":
        await owner.execute("DELETE FROM queuestats.baseline")
    async with open_pool(database.service_url, pool_size=2) as opened:
        (state,) = await opened.fetch(load_statement("queries/baseline"))
        assert state["is_counted"] == (request.param == "by the counters")
        yield opened


async def rows_of(service: Database, query: StatsQuery) -> list[StatsRow]:
    return list((await fetch_report(service, query)).rows)


def row(account_id: int = 0, campaign_id: int = 0, isp: str = "", **counted: int) -> StatsRow:
    by_status = dict.fromkeys(STATUSES, 0) | counted
    return StatsRow(account_id=account_id, campaign_id=campaign_id, isp=isp, total=sum(by_status.values()), **by_status)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (StatsQuery(119), [row(new=3, proc=1, retry=2, hold=1)]),
        (
            StatsQuery(119, grouping=Grouping.ACCOUNT),
            [row(0, new=1), row(306, new=2, proc=1, retry=1), row(307, retry=1, hold=1)],
        ),
        (
            StatsQuery(119, grouping=Grouping.ACCOUNT_CAMPAIGN),
            [row(0, 0, new=1), row(306, 4591, new=2, proc=1), row(306, 4592, retry=1), row(307, 0, retry=1),
             row(307, 4591, hold=1)],
        ),
        (
            StatsQuery(119, grouping=Grouping.ISP),
            [row(isp="", retry=1), row(isp="Gmail", new=2, retry=1, hold=1), row(isp="Yahoo", proc=1),
             row(isp="gmail", new=1)],
        ),
        (StatsQuery(119, 306, 4591, "Gmail"), [row(new=2)]),
        (StatsQuery(119, isp="gmail"), [row(new=1)]),
        (StatsQuery(119, account_id=0), [row(new=1)]),
        (StatsQuery(119, isp="Gma%", grouping=Grouping.ISP), []),
        (StatsQuery(2**63 - 1), [row()]),
        (StatsQuery(2**63 - 1, grouping=Grouping.ACCOUNT), []),
        (StatsQuery(2**63 - 1, grouping=Grouping.ACCOUNT_CAMPAIGN), []),
        (StatsQuery(2**63 - 1, grouping=Grouping.ISP), []),
    ],
)  # fmt: skip
async def test_a_queue_that_is_counted_by_hand(
    owner: Any, service: Database, query: StatsQuery, expected: list[StatsRow]
) -> None:
    await insert(owner, QUEUE)

    assert await rows_of(service, query) == expected
    assert expected_rows(QUEUE, query) == expected


async def test_every_grouping_with_every_combination_of_filters_equals_the_sums_of_python(
    owner: Any, service: Database
) -> None:
    messages = [
        Message(119, account_id, campaign_id, isp, status)
        for number, (account_id, campaign_id, isp, status) in enumerate(
            itertools.product((0, 1, 2), (0, 1, 7), ("", "Gmail", "gmail", "ﬀ"), STATUSES)
        )
        for _ in range(number % 4)
    ]
    await insert(owner, messages)

    filters = itertools.product((None, 0, 2, 9), (None, 0, 7, 9), (None, "", "Gmail", "none"), Grouping)
    queries = [StatsQuery(119, *each) for each in filters]
    for query in queries:
        assert await rows_of(service, query) == expected_rows(messages, query), query
    # Run together, the queries share a few statements.
    statistics = Statistics(service, Settings(pool_size=2, request_time_limit_ms=1000 * PATIENCE_SECONDS))
    outcomes = await asyncio.gather(*map(statistics.run, queries))
    for query, outcome in zip(queries, outcomes, strict=True):
        assert list(outcome.result.rows) == expected_rows(messages, query), query


SENDERS = itertools.count(1)
ISPS = st.one_of(
    st.sampled_from(["", "Gmail", "gmail", "'; --", " ", "\U0001f600", "\uff5e", "\x01"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
)
IDS = st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1))
QUEUES = st.lists(st.builds(Message, st.just(0), IDS, IDS, ISPS, st.sampled_from(STATUSES)), max_size=30)


@given(QUEUES, st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_query_on_any_queue_equals_the_sums_of_python(
    owner: Any, service: Database, queue: list[Message], data: st.DataObject
) -> None:
    sender_id = next(SENDERS)
    mine = [Message(sender_id, each.account_id, each.campaign_id, each.isp, each.status) for each in queue]
    await insert(owner, mine)
    some = data.draw(st.sampled_from(mine)) if mine else Message()
    query = StatsQuery(
        sender_id,
        data.draw(st.sampled_from([None, some.account_id, 1])),
        data.draw(st.sampled_from([None, some.campaign_id, 1])),
        data.draw(st.sampled_from([None, some.isp, "Gmail"])),
        data.draw(st.sampled_from(Grouping)),
    )
    rows = await rows_of(service, query)

    assert rows == expected_rows(mine, query)
    assert all(each.total == each.new + each.proc + each.retry + each.hold for each in rows)


async def test_rows_are_in_the_order_of_their_bytes_not_of_a_language(owner: Any, service: Database) -> None:
    # U+1F600 is before U+FF5E in UTF-16, and after it in UTF-8. The order of a language has "é" beside "e".
    names = ["", " ", "A", "Z", "a", "e", "z", "é", "\uff5e", "\U0001f600"]
    await insert(owner, [Message(isp=name) for name in reversed(names)])

    assert [each.isp for each in await rows_of(service, StatsQuery(119, grouping=Grouping.ISP))] == names


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("grouping", Grouping)
async def test_a_message_is_counted_under_its_status_and_no_other(
    owner: Any, service: Database, grouping: Grouping, status: str
) -> None:
    await insert(owner, [Message(status=status)])

    (only,) = await rows_of(service, StatsQuery(119, grouping=grouping))
    assert {each: getattr(only, each) for each in (*STATUSES, "total")} == dict.fromkeys(STATUSES, 0) | {
        status: 1,
        "total": 1,
    }


async def test_every_status_of_the_database_has_its_column(owner: Any) -> None:
    """A new status without a column would be counted only in `total`."""
    labels = await owner.fetchval("SELECT enum_range(NULL::message_status)::text[]")
    assert sorted(labels) == sorted(STATUSES)


@pytest.mark.parametrize("grouping", Grouping)
async def test_the_columns_have_the_order_of_the_row_type_and_counts_are_bigint(owner: Any, grouping: Grouping) -> None:
    query = StatsQuery(119, grouping=grouping)
    for asked, _ in (from_counters([query]), from_messages(query)):
        attributes = (await owner.prepare(asked.sql)).get_attributes()

        columns = [each.name for each in attributes if each.name != "position"]
        assert columns == list(StatsRow.__struct_fields__)
        assert {each.type.name for each in attributes} == {"int8", "text"}


async def test_the_single_scan_of_verify_returns_the_rows_of_each_definition(owner: Any) -> None:
    of_accounts = [Message(account_id=id_, isp=isp) for id_ in (0, 7) for isp in ("", "Gmail")]
    await insert(owner, [*of_accounts, Message(sender_id=7, campaign_id=3, status="hold"), Message(sender_id=8)])
    found = [tuple(row) for row in await fetch(owner, "queries/defined_answers", sender_ids=[119, 7, 9])]
    expected = []
    for sender_id, grouping in itertools.product((119, 7), Grouping):
        statement, values = from_messages(StatsQuery(sender_id, grouping=grouping))
        expected += [(sender_id, grouping, *row) for row in await fetch(owner, statement.name, **values)]
    assert sorted(found) == sorted(expected)

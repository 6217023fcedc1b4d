"""The report on many senders: counters and messages give the same rows for any state of folding."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.model import Dimension, Measure, Order, ReportQuery
from service.queue import report as report_module
from service.queue.report import fetch_definition, fetch_page
from tests.conftest import TestDatabase, open_pool
from tests.counters.observing import drift
from tests.oracle import STATUSES, Message, insert

SENDERS = (1, 2, 12, 120, 1200, 2**63 - 1)
IDS, ISPS = (0, 1, 2**63 - 1), ("", "Gmail", "Yahoo", "\u00e9")
MESSAGES = st.lists(
    st.builds(
        Message,
        sender_id=st.sampled_from(SENDERS),
        account_id=st.sampled_from(IDS),
        campaign_id=st.sampled_from(IDS),
        isp=st.sampled_from(ISPS),
        status=st.sampled_from(STATUSES),
    ),
    max_size=40,
)
STEPS = ["fold(1000, 1)", "fold(1000, 1e9)", "fold(3, 1)", "compact(1000, interval '0')"]


def some(values: Any) -> st.SearchStrategy[Any]:
    """A filter: none, or some of the values in ascending order."""
    listed = st.sets(st.sampled_from(values), min_size=1).map(lambda found: tuple(sorted(found)))
    return st.none() | listed


QUERIES = st.builds(
    ReportQuery,
    by=st.sets(st.sampled_from(list(Dimension))).map(lambda by: tuple(each for each in Dimension if each in by)),
    sender_ids=some((*SENDERS, 5)),
    account_ids=some(IDS),
    campaign_ids=some(IDS),
    isps=some(ISPS),
    status=st.none() | st.sampled_from(list(Measure)),
    order=st.sampled_from([order for order in Order if order is not Order.OLDEST]),
    limit=st.integers(1, 8),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(data=st.data())
async def test_its_pages_have_the_rows_that_the_messages_give(
    database: TestDatabase, owner: Any, data: st.DataObject
) -> None:
    await owner.execute("TRUNCATE messages; DELETE FROM queuestats.watermarks")
    with pytest.MonkeyPatch.context() as patch:
        # With a lower limit of slices, lists are read from the first item to the last.
        patch.setattr(report_module, "MOST_SLICES", data.draw(st.sampled_from([1, 4, 100])))
        await check_pages(database, owner, data)


async def check_pages(database: TestDatabase, owner: Any, data: st.DataObject) -> None:
    async with open_pool(database.service_url) as pool:
        for _ in range(3):
            await insert(owner, data.draw(MESSAGES))
            for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=3)):
                await owner.execute(f"SELECT * FROM queuestats.{step}")
            for query in data.draw(st.lists(QUERIES, min_size=10, max_size=10)):
                page = await fetch_page(pool, query)
                rows = [*page.rows]
                while page.more["next"]:
                    page = await fetch_page(pool, msgspec.structs.replace(query, after=page.more["next"]))
                    rows += page.rows
                assert rows == list((await fetch_definition(pool, query)).rows), query
    assert await drift(owner) == []


async def test_a_report_on_many_senders_has_the_same_rows_as_one_on_few(database: TestDatabase, owner: Any) -> None:
    """From some hundred senders on, one read finds all senders with pending deltas."""
    messages = [Message(1 + n % 150, n % 3, status=STATUSES[n % 4]) for n in range(600)]
    # Some senders have only folded counters, some also their own epoch, some pending deltas, some both.
    await insert(owner, messages)
    await owner.execute("SELECT * FROM queuestats.fold(1000, 1e9)")
    for _ in range(2):
        await insert(owner, [message for message in messages if message.sender_id % 3 == 0])
        await owner.execute("SELECT * FROM queuestats.fold(1000, 0.001)")
    await insert(owner, [replace(message, sender_id=message.sender_id * 2) for message in messages])
    async with open_pool(database.service_url) as pool:
        for number in (249, 250, 300):
            query = ReportQuery((Dimension.SENDER, Dimension.ACCOUNT), tuple(range(1, number + 1)))
            assert (await fetch_page(pool, query)).rows == (await fetch_definition(pool, query)).rows

"""The largest senders, accounts, campaigns and ISPs, against sums made in Python."""

from collections import Counter, defaultdict
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.model import Dimension, Measure, TopQuery
from service.queue.top import fetch_top
from tests.conftest import TestDatabase, open_pool
from tests.oracle import STATUSES, Message, insert

MESSAGES = st.lists(
    st.builds(
        Message,
        sender_id=st.integers(1, 6),
        account_id=st.integers(0, 2),
        campaign_id=st.integers(0, 2),
        isp=st.sampled_from(["", "Gmail", "Yahoo"]),
        status=st.sampled_from(STATUSES),
    ),
    max_size=40,
)


def largest(messages: list[Message], query: TopQuery) -> list[dict[str, int | str]]:
    counts: dict[int | str, Counter[str]] = defaultdict(Counter)
    for message in messages:
        if query.sender_id in (None, message.sender_id):
            counts[getattr(message, query.by.column)][message.status] += 1
    rows = [
        {query.by.column: key, **{each: by_status[each] for each in STATUSES}, "total": by_status.total()}
        for key, by_status in counts.items()
    ]
    found = [row for row in rows if row[query.order]]
    found.sort(key=lambda row: (-int(row[query.order]), row[query.by.column]))
    return [dict(sorted(row.items())) for row in found[: query.limit]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(data=st.data())
async def test_they_are_exact_whatever_is_folded(database: TestDatabase, owner: Any, data: st.DataObject) -> None:
    await owner.execute("TRUNCATE messages; DELETE FROM queuestats.watermarks")
    messages: list[Message] = []
    async with open_pool(database.service_url) as pool:
        for _ in range(3):
            added = data.draw(MESSAGES)
            await insert(owner, added)
            messages += added
            # Now and then everything is hot, or folded but for the last messages, or compacted.
            for step in data.draw(st.lists(st.sampled_from(["fold(1000, 1)", "fold(1000, 1e9)", "fold(3, 1)",
                                                            "compact(1000, interval '0')"]), max_size=3)):  # fmt: skip
                await owner.execute(f"SELECT * FROM queuestats.{step}")
            limit, sender = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 6))
            for by in Dimension:
                for order in Measure:
                    query = TopQuery(by, order, limit, None if by is Dimension.SENDER else sender)
                    assert list((await fetch_top(pool, query)).rows) == largest(messages, query), query
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []


async def test_what_has_left_the_queue_has_no_row(database: TestDatabase, owner: Any) -> None:
    await insert(owner, [Message(), Message(sender_id=120)])
    await owner.execute("SELECT * FROM queuestats.fold()")
    await owner.execute("DELETE FROM messages WHERE sender_id = 119")
    query = TopQuery(Dimension.SENDER, Measure.TOTAL, 10)
    async with open_pool(database.service_url) as pool:
        assert [row["sender_id"] for row in (await fetch_top(pool, query)).rows] == [120]
        await owner.execute("SELECT * FROM queuestats.fold()")
        assert [row["sender_id"] for row in (await fetch_top(pool, query)).rows] == [120]
        await owner.execute("TRUNCATE messages")
        assert (await fetch_top(pool, query)).rows == []


async def test_the_audit_sees_a_total_that_was_changed_by_hand(owner: Any) -> None:
    await insert(owner, [Message()])
    await owner.execute("SELECT * FROM queuestats.fold()")
    await owner.execute("UPDATE queuestats.sender_totals SET new = 7")
    (drift,) = await owner.fetch("SELECT * FROM queuestats.audit()")
    assert (drift["sender_id"], drift["grouping_set"], drift["counted_new"]) == (119, "total", 1)
    await owner.execute("SELECT queuestats.rebuild(119)")
    assert await owner.fetch("SELECT * FROM queuestats.audit()") == []

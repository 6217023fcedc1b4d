"""`queue/report/`: many senders, by keys of choice, against sums made in Python."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import pytest

from service.model import Dimension, Format
from tests.api.wire import STATS, body_of
from tests.oracle import STATUSES, Message, insert

REPORT = STATS.replace("stats", "report")
COUNTS = [*("hold", "new", "proc", "retry"), "total"]
BY = [each for size in range(5) for each in itertools.combinations(["sender", "account", "campaign", "isp"], size)]
ORDERS = ["key", "total", "new", "proc", "retry", "hold"]
# None: no filter. Each kind is one value, several, and the messages without one.
FILTERS: list[dict[str, Any]] = [
    {},
    {"account_id": 1},
    {"account_id": [0, 2]},
    {"campaign_id": [1, 2]},
    {"campaign_id": 0},
    {"isp": "Gmail"},
    {"isp": ["", "Yahoo"]},
    {"isp": ""},
    {"account_id": [1, 2], "campaign_id": [0, 1]},
    {"account_id": [0, 1, 2], "isp": ["Gmail", "Yahoo"]},
    {"campaign_id": 1, "isp": ["Gmail", ""]},
    {"account_id": 1, "campaign_id": 1, "isp": "Gmail"},
]
SENDERS = [1, 2, 7, 12, 119, 120, 1200]


def some_messages(seed: int, number: int) -> list[Message]:
    chance = random.Random(seed)
    return [
        Message(
            chance.choice(SENDERS),
            chance.randrange(3),
            chance.randrange(3),
            chance.choice(["", "Gmail", "Yahoo"]),
            chance.choice(STATUSES),
        )
        for _ in range(number)
    ]


def columns_of(by: Iterable[str]) -> list[str]:
    return [Dimension(each).column for each in by]


def listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def of(message: Message) -> list[tuple[str, Any]]:
    """The parameters that filter, and the values of a message."""
    return [
        ("senders", message.sender_id),
        *((name, getattr(message, name)) for name in ("account_id", "campaign_id", "isp")),
    ]


def expected(messages: Iterable[Message], by: Sequence[str], **asked: Any) -> list[dict[str, Any]]:
    """The rows of all pages, in their order."""
    columns, counts = columns_of(by), defaultdict[tuple[Any, ...], Counter[str]](Counter)
    for message in messages:
        begins = str(message.sender_id).startswith(str(asked.get("search", "")))
        if begins and all(asked.get(name) is None or value in listed(asked[name]) for name, value in of(message)):
            counts[tuple(getattr(message, column) for column in columns)][message.status] += 1
    rows = [
        {**dict(zip(columns, key, strict=True)), **{name: of_key[name] for name in COUNTS[:4]}, "total": of_key.total()}
        for key, of_key in sorted(counts.items())
    ]
    order = asked.get("order", "key")
    if order != "key":
        rows.sort(key=lambda row: -row[order])
    return [row for row in rows if row[asked.get("status", "total")]]


async def ask(client: httpx.AsyncClient, token: str, format: Format = Format.JSON, **members: Any) -> httpx.Response:
    return await client.post(REPORT, content=body_of(format, token=token, **members))


async def pages(client: httpx.AsyncClient, token: str, **members: Any) -> list[Any]:
    """The rows of all pages."""
    rows, after = [], None
    while True:
        response = await ask(client, token, after=after, **members)
        assert response.status_code == 200, response.text
        content = response.json()
        assert len(content["data"]) <= members.get("limit", 1000)
        rows += content["data"]
        after = content["next"]
        if after is None:
            return rows


@pytest.fixture
async def messages(owner: Any) -> list[Message]:
    """A part is folded, a part of that into the epoch of hot senders; a part is pending."""
    folded, hot, pending = some_messages(1, 300), some_messages(2, 60), some_messages(3, 40)
    await insert(owner, folded)
    await owner.execute("SELECT * FROM queuestats.fold(100000, 1e9)")
    await insert(owner, hot)
    await owner.execute("SELECT * FROM queuestats.fold(100000, 5)")
    await insert(owner, [*pending, Message(33, 1, 1, "Gmail")])
    return [*folded, *hot, *pending, Message(33, 1, 1, "Gmail")]


@pytest.mark.parametrize("by", BY, ids=lambda by: ",".join(by) or "none")
async def test_every_grouping_with_every_filter_is_exact(
    client: httpx.AsyncClient, token: str, messages: list[Message], by: tuple[str, ...]
) -> None:
    for filters, senders in itertools.product(FILTERS, (None, [1, 12, 119, 33, 5])):
        asked = {**filters, "senders": senders}
        rows = (await ask(client, token, by=list(by) or "none", **asked)).json()["data"]
        # A grand total has always a row.
        nothing = [] if by else [dict.fromkeys(COUNTS, 0)]
        assert rows == (expected(messages, by, **asked) or nothing), asked


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("by", [("sender",), ("sender", "isp"), ("account", "campaign"), ("isp",)], ids=",".join)
async def test_pages_are_the_whole_in_every_order(
    client: httpx.AsyncClient, token: str, messages: list[Message], by: tuple[str, ...], order: str
) -> None:
    for asked in ({}, {"status": "hold"}, {"isp": ["Gmail", ""], "senders": [1, 119, 120, 33]}):
        given: dict[str, Any] = {"by": list(by), "order": order, **asked}
        assert await pages(client, token, limit=3, **given) == expected(messages, **given | {"by": by}), given

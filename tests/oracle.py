"""The expected reports, computed in Python from the messages that a test inserted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from service.model import Grouping, StatsQuery
from service.reports import StatsRow

STATUSES = ("new", "proc", "retry", "hold")


@dataclass(frozen=True)
class Message:
    """The counted columns of a message."""

    sender_id: int = 119
    account_id: int = 0
    campaign_id: int = 0
    isp: str = ""
    status: str = "new"


async def insert(connection: Any, messages: Iterable[Message]) -> None:
    """Writes the messages with COPY. Every column that is not counted gets its default or a filler."""
    columns = ("sender_id", "account_id", "campaign_id", "isp", "status", "recipient")
    records = [(*astuple(message), "someone@example.com") for message in messages]
    await connection.copy_records_to_table("messages", records=records, columns=columns)


def expected_rows(messages: Iterable[Message], query: StatsQuery) -> list[StatsRow]:
    """The rows of the report, in order. ISPs are ordered by their UTF-8 bytes."""
    counts: dict[tuple[int, int, str], Counter[str]] = {}
    if query.grouping is Grouping.TOTAL:
        counts[0, 0, ""] = Counter()
    for message in messages:
        if _matches(message, query):
            counts.setdefault(_key(message, query.grouping), Counter())[message.status] += 1
    keys = sorted(counts, key=lambda key: (key[0], key[1], key[2].encode()))
    return [_row(key, counts[key]) for key in keys]


def _matches(message: Message, query: StatsQuery) -> bool:
    return (
        message.sender_id == query.sender_id
        and query.account_id in (None, message.account_id)
        and query.campaign_id in (None, message.campaign_id)
        and query.isp in (None, message.isp)
    )


def _key(message: Message, grouping: Grouping) -> tuple[int, int, str]:
    """The keys of the rows come from the words in the name of a grouping."""
    names = grouping.value.split("_")
    return (
        message.account_id if "account" in names else 0,
        message.campaign_id if "campaign" in names else 0,
        message.isp if "isp" in names else "",
    )


def _row(key: tuple[int, int, str], by_status: Counter[str]) -> StatsRow:
    account_id, campaign_id, isp = key
    counted = {status: by_status[status] for status in STATUSES}
    return StatsRow(account_id=account_id, campaign_id=campaign_id, isp=isp, total=sum(counted.values()), **counted)

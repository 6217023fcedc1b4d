"""Which file of `sql/queries/` answers a query, and with which parameters."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.db import Statement, load_statement
from service.model import Dimension, Grouping, StatsQuery, TopQuery

FILTERS = ("sender_id", "account_id", "campaign_id", "isp")


def statement_name(query: StatsQuery) -> str:
    """The file of `queries/from_counters/` that answers a query.

    It lists the keys of the grouping. A key that a filter fixes needs no listing: where all are fixed, one sum is left.
    """
    if query.grouping is Grouping.TOTAL:
        return "total"
    listed = [key for key in query.grouping.keys if getattr(query, key) is None]
    name = "_".join(key.removesuffix("_id") for key in listed) or "total"
    return "account_campaign_of_isp" if name == "account_campaign" and query.isp is not None else name


def from_counters(queries: Sequence[StatsQuery]) -> tuple[Statement, dict[str, Any]]:
    """The statement on the counters for queries of one statement name, and its parameters, an array each."""
    statement = load_statement(f"queries/from_counters/{statement_name(queries[0])}")
    return statement, {name: [getattr(query, name) for query in queries] for name in statement.types}


def from_messages(query: StatsQuery) -> tuple[Statement, dict[str, Any]]:
    """The statement on the messages themselves that defines the answer, and its parameters."""
    return load_statement(f"queries/from_messages/{query.grouping}"), filters_of(query)


def filters_of(query: StatsQuery) -> dict[str, Any]:
    return {name: getattr(query, name) for name in FILTERS}


def sub_queries(query: StatsQuery) -> tuple[StatsQuery, ...]:
    """The queries that its report is the sum of: itself, or one for each account that a limited token may see.

    All have the same statement, and so one snapshot.
    """
    if query.account_ids is None:
        return (query,)
    return tuple(msgspec.structs.replace(query, account_id=id_, account_ids=None) for id_ in query.account_ids)


def top_statement(prefix: str, query: TopQuery) -> tuple[Statement, dict[str, Any]]:
    """The statement for the largest senders, or the largest keys of one sender, and its parameters."""
    parameters = {"largest_by": query.order, "row_limit": query.limit}
    if query.by is Dimension.SENDER:
        return load_statement(f"{prefix}senders"), parameters
    return load_statement(f"{prefix}keys"), {**parameters, "sender_id": query.sender_id, "grouping_set": query.by}

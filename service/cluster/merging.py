"""Merges the rows of the nodes of a cluster into a report on many senders."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from service.cluster.topology import SLICE_ROWS

_KEYS: Final = ("sender_id", "account_id", "campaign_id", "isp")
_COUNTS: Final = ("hold", "new", "proc", "retry", "total")
_key = itemgetter(*_KEYS)


def at_each_node(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of sql/queries/report/ for the statement of one node.

    Rows that are not by sender are added up before they are selected and ordered, so a node returns all of its rows.
    """
    if parameters["by_sender"]:
        return dict(parameters)
    all_rows = {"status": None, "sort_by": "key"}
    if "read_limit" in parameters:
        after = dict.fromkeys(name for name in parameters if name.startswith("after_"))
        all_rows |= after | {"has_count": False, "row_limit": parameters["read_limit"]}
    return {**parameters, **all_rows}


async def merged_page(of_nodes: Sequence[Sequence[Any]], parameters: Mapping[str, Any]) -> list[Any]:
    """The rows that sql/queries/report/from_counters.sql would return on a node that has all senders."""
    sizes = [rows[0] for rows in of_nodes]
    rows = await merged_rows([[row for row in rows if row["total"] is not None] for rows in of_nodes], parameters)
    cut = min((size["cut"] for size in sizes if size["cut"] is not None), default=None)
    number = sum(size["number"] or 0 for size in sizes) if parameters["by_sender"] else len(rows)
    if not parameters["by_sender"] and sum(map(len, of_nodes)) >= parameters["read_limit"]:
        # The number of rows that are read for a page must not depend on the number of nodes.
        cut = cut or 1
    if (rank := parameters["after_rank"]) is not None:
        after = (-rank, *(parameters[f"after_{name.removesuffix('_id')}"] for name in _KEYS))
        rows = [row for row in rows if _place(row, parameters) > after]
    first, *others = rows[: parameters["row_limit"]] or [dict.fromkeys(_KEYS + _COUNTS)]
    return [{**first, "number": number if parameters["has_count"] else None, "cut": cut}, *others]


async def merged_rows(of_nodes: Sequence[Sequence[Any]], parameters: Mapping[str, Any]) -> list[Any]:
    """All rows in their order. Rows that are not by sender are the sums of the rows of the nodes."""
    rows = list(chain.from_iterable(of_nodes))
    if not parameters["by_sender"]:
        rows = [row for row in await _added_up(rows) if row[parameters["status"] or "total"]]
    return sorted(rows, key=lambda row: _place(row, parameters))


async def _added_up(rows: Sequence[Any]) -> list[dict[str, Any]]:
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        if (known := sums.get(_key(row))) is None:
            sums[_key(row)] = dict(row)
        else:
            for count in _COUNTS:
                known[count] += row[count]
        if number % SLICE_ROWS == 0:
            await asyncio.sleep(0)
    return list(sums.values())


def _place(row: Any, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    sort_by = parameters["sort_by"]
    return (0 if sort_by == "key" else -row[sort_by], *_key(row))

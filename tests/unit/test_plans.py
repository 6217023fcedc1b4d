"""The warnings about a plan that is not the intended one."""

from typing import Any

import pytest

from service.db import load_statement
from service.queue.explain import intended_indexes, warnings

INDEX = "messages_by_arrival"
SCAN = load_statement("queries/from_messages/total").text
LOOK_UP = load_statement("queries/from_counters/total").text
INDEXES = {INDEX, "counters_by_account", "deltas_sender_id_xid", "watermarks_pkey"}
TABLES = {"indexes": INDEXES, "messages": 10_000}


def node(type_: str, *below: dict[str, Any], rows: int = 1, **more: Any) -> dict[str, Any]:
    return {"Node Type": type_, "Plan Rows": rows, "Parallel Aware": False, "Plans": list(below)} | more


def reading(table: str, index: str = "", **more: Any) -> dict[str, Any]:
    named: dict[str, Any] = {"Relation Name": table} | ({"Index Name": index} if index else {})
    return node("Index Scan" if index else "Seq Scan", **named, **more)


LOOKED_UP = [
    reading("counters", "counters_by_account"),
    reading("deltas", "deltas_sender_id_xid"),
    reading("watermarks", "watermarks_pkey"),
]


def test_a_statement_of_counters_and_a_scan_name_their_indexes() -> None:
    assert intended_indexes(SCAN) == (INDEX,)
    assert intended_indexes(LOOK_UP) == ("counters_by_account", "deltas_sender_id_xid", "watermarks_pkey")
    assert intended_indexes("SELECT 1") == ()


def test_the_intended_plan_causes_no_warning() -> None:
    assert warnings(LOOK_UP, {"Plan": node("Append", *LOOKED_UP)}, TABLES, is_scan=False) == []
    assert warnings(SCAN, {"Plan": reading("messages", INDEX, rows=9000)}, TABLES, is_scan=True) == []


@pytest.mark.parametrize("table", ["counters", "deltas", "watermarks"])
def test_a_scan_of_a_table_of_counts_is_named(table: str) -> None:
    tree = {"Plan": node("Append", reading(table, rows=10_000))}
    assert warnings(LOOK_UP, tree, TABLES, is_scan=False) == [f"{table} is read as a whole."]


@pytest.mark.parametrize(
    ("rows", "more", "is_wrong"),
    [
        (499, {}, True),
        (500, {}, False),
        (499, {"Actual Rows": 500, "Actual Loops": 1}, False),
        (500, {"Actual Rows": 499, "Actual Loops": 1}, True),
        # Three processes share the rows.
        (200, {"Parallel Aware": True}, False),
        (160, {"Parallel Aware": True}, True),
        (1, {"Actual Rows": 200, "Actual Loops": 3}, False),
    ],
)
def test_a_scan_of_messages_is_intended_for_a_sender_with_a_twentieth_of_them(
    rows: int, more: dict[str, Any], is_wrong: bool
) -> None:
    tree = {"Plan": node("Gather", reading("messages", rows=rows, **more), **{"Workers Planned": 2})}
    found = [each for each in warnings(SCAN, tree, TABLES, is_scan=True) if "whole" in each]
    assert found == (["messages is read as a whole."] if is_wrong else [])


def test_an_index_that_is_missing_or_not_used_is_named() -> None:
    tree = {"Plan": node("Append", *LOOKED_UP[:2], reading("watermarks", "horizons_other"))}
    without = {**TABLES, "indexes": INDEXES - {"watermarks_pkey"}}
    assert warnings(LOOK_UP, tree, TABLES, is_scan=False) == ["The index watermarks_pkey is not used."]
    (sentence,) = warnings(LOOK_UP, tree, without, is_scan=False)
    assert sentence.startswith("The index watermarks_pkey is missing or invalid")


def test_jit_compilation_is_named() -> None:
    tree = {"Plan": node("Append", *LOOKED_UP), "JIT": {"Functions": 12}}
    (sentence,) = warnings(LOOK_UP, tree, TABLES, is_scan=False)
    assert "JIT" in sentence


@pytest.mark.parametrize(
    ("expected", "came", "is_named"),
    [(10, 101, True), (10, 100, False), (1, 99, False), (0, 100, True), (2000, 100, True), (1000, 100, False)],
)
def test_a_wrong_estimate_by_ten_times_is_named_if_the_rows_are_many(expected: int, came: int, is_named: bool) -> None:
    plan = reading("messages", INDEX, rows=expected, **{"Actual Rows": float(came), "Actual Loops": 1})
    found = warnings(SCAN, {"Plan": plan}, TABLES, is_scan=True)
    assert found == ([f"Index Scan: estimated {expected} rows, actual {came}: ANALYZE messages."] if is_named else [])
    assert warnings(LOOK_UP, {"Plan": node("Append", *LOOKED_UP, plan)}, TABLES, is_scan=False) == []

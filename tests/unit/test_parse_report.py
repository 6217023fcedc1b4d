"""The parameters of the report on many senders, from JSON, XML and a table of texts to a query."""

import itertools
import json
from typing import Any

import pytest

from service.errors import BadRequest
from service.model import Dimension, Grouping, Measure, ReportOrder, ReportQuery
from service.queue.report import report_parameters
from service.wire.parsing import parse_envelope, parse_query, parse_report

MAX = 2**63 - 1


def parse(**members: Any) -> ReportQuery:
    return parse_report(parse_envelope(json.dumps(members).encode()))


def test_nothing_is_given() -> None:
    assert parse() == ReportQuery()
    assert parse(senders=None, by="", account_id=" ", isp=None, after=" ", order=None, limit="") == ReportQuery()


def test_everything_is_given() -> None:
    assert parse(
        senders=[120, 119, "119"],
        by=["isp", "sender"],
        account_id=0,
        campaign_id=[4591, 0],
        isp=["Yahoo", "", " a,b"],
        status="hold",
        search=" 12 ",
        names=1,
        order="new",
        limit=10_000,
        after="x",
        count=1,
    ) == ReportQuery(
        (Dimension.SENDER, Dimension.ISP),
        (119, 120),
        (0,),
        (0, 4591),
        ("", " a,b", "Yahoo"),
        Measure.HOLD,
        "12",
        has_names=True,
        order=ReportOrder.NEW,
        limit=10_000,
        after="x",
        has_count=True,
    )


@pytest.mark.parametrize(
    ("written", "query"),
    [
        ("<senders>120, 119</senders><by>isp,sender</by>", ReportQuery((Dimension.SENDER, Dimension.ISP), (119, 120))),
        ("<isp></isp>", ReportQuery(isps=("",))),
        ("<isp>Yahoo, Gmail</isp>", ReportQuery(isps=("Gmail", "Yahoo"))),
        ("<account_id>0</account_id><campaign_id></campaign_id>", ReportQuery(account_ids=(0,))),
        ("<by>none</by>", ReportQuery(())),
    ],
)
def test_a_list_in_xml_is_separated_by_commas(written: str, query: ReportQuery) -> None:
    assert parse_report(parse_envelope(f"<xml>{written}</xml>".encode())) == query


@pytest.mark.parametrize("name", ["senders", "account_id", "campaign_id"])
@pytest.mark.parametrize("wrong", [[], [[]], [None], [""], ",", "1,", [1.0], [-1], ["+1"], [True], {}, MAX + 1])
def test_what_is_no_list_of_numbers_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(BadRequest, match=f"{name} must be a list of 1 to 1000? whole numbers from"):
        parse(**{name: wrong})


@pytest.mark.parametrize("wrong", [[], [None], [["a"]], ["a\0"], ["\ud800"], 5, {}, ["x"] * 101])
def test_what_is_no_list_of_texts_is_refused(wrong: Any) -> None:
    with pytest.raises(BadRequest, match="isp must be a list of 1 to 100 strings without NUL"):
        parse(isp=wrong)


def test_a_filter_of_stats_is_no_list() -> None:
    for name, value in itertools.product(("account_id", "campaign_id", "isp"), ([], [1], ["a"])):
        envelope = parse_envelope(json.dumps({"id": 119, name: value}).encode())
        with pytest.raises(BadRequest, match=f"{name} must be"):
            parse_query(envelope, Grouping.TOTAL)


@pytest.mark.parametrize(
    ("search", "ranges"),
    [
        ("", [(1, MAX)]),
        ("12", [(12 * 10**n, 13 * 10**n - 1) for n in range(18)]),
        ("9", [(9 * 10**n, min(10 ** (n + 1) - 1, MAX)) for n in range(19)]),
        (str(MAX), [(MAX, MAX)]),
        ("012", []),
        ("1x", []),
        ("\u0661", []),
        ("9" * 19, []),
        ("1" * 100, []),
    ],
)
def test_the_ids_that_begin_so_are_ranges(search: str, ranges: list[tuple[int, int]]) -> None:
    given = report_parameters(ReportQuery(search=search), None, 1)
    assert list(zip(given["first_ids"], given["last_ids"], strict=True)) == ranges
    assert given["search"] is None


@pytest.mark.parametrize(
    ("query", "grouping_set", "slices"),
    [
        (ReportQuery(), "total", [(0, 0, None)]),
        (ReportQuery((Dimension.SENDER, Dimension.ISP)), "isp", [(0, 0, None)]),
        (ReportQuery((Dimension.ACCOUNT,)), "account", [(0, MAX, "")]),
        (ReportQuery((Dimension.ACCOUNT, Dimension.ISP)), "account_isp", [(0, MAX, None)]),
        (ReportQuery(account_ids=(1, 5)), "account", [(1, 1, None), (5, 5, None)]),
        (ReportQuery((Dimension.ISP,), account_ids=(1, 5)), "account_isp", [(1, 1, None), (5, 5, None)]),
        (ReportQuery(isps=("", "a")), "isp", [(0, 0, ""), (0, 0, "a")]),
        (ReportQuery(account_ids=(1, 5), isps=("a",)), "account_isp", [(1, 5, "a")]),
        (ReportQuery((Dimension.CAMPAIGN,), isps=("a",)), "campaign_isp", [(0, 0, "a")]),
    ],
    ids=str,
)
def test_a_slice_is_one_descent_of_an_index(
    query: ReportQuery, grouping_set: str, slices: list[tuple[int, int, str | None]]
) -> None:
    given = report_parameters(query, None, 1)
    assert given["grouping_set"] == grouping_set
    names = ("first_accounts", "last_accounts", "slice_isps")
    assert list(zip(*(given[name] for name in names), strict=True)) == slices

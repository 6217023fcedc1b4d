"""The parameters of the report on many senders, parsed from JSON, XML and URLs."""

import itertools
import json
from typing import Any

import pytest

from service.errors import BadRequest
from service.model import Dimension, Grouping, Measure, Order, ReportQuery
from service.queue.report import report_parameters
from service.wire.parsing import parse_envelope, parse_query, parse_report

MAX = 2**63 - 1


def parse(**members: Any) -> ReportQuery:
    return parse_report(parse_envelope(json.dumps(members).encode()))


def refusal(**members: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        parse(**members)
    return refused.value.text.removeprefix("Incorrect request: ")


def test_a_report_without_parameters_has_the_defaults() -> None:
    assert parse() == ReportQuery()
    assert parse(senders=None, by="", account_id=" ", isp=None, after=" ", order=None, limit="") == ReportQuery()


def test_a_report_with_all_parameters_has_their_values() -> None:
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
        order=Order.NEW,
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


@pytest.mark.parametrize("wrong", [[], [None], [""], ["isp", ""], ",", "isp,", [["isp"]], [5], {}, "isp sender"])
def test_an_invalid_list_of_words_is_refused(wrong: Any) -> None:
    """An empty array is wrong in every list, because it could mean none or the default."""
    assert refusal(by=wrong) == "by must be a list of sender, account, campaign, isp, none"


@pytest.mark.parametrize("written", ['{"isp":""}', "<xml><isp/></xml>", "<xml><isp></isp></xml>", '{"isp":[""]}'])
def test_an_empty_isp_selects_the_messages_without_one_and_an_empty_id_selects_all(written: str) -> None:
    """In a stats request, all three count as left out."""
    assert parse_report(parse_envelope(written.encode())) == ReportQuery(isps=("",))
    of_account = written.replace("isp", "account_id").replace('[""]', '""')
    assert parse_report(parse_envelope(of_account.encode())) == ReportQuery()


@pytest.mark.parametrize("name", ["senders", "account_id", "campaign_id"])
@pytest.mark.parametrize("wrong", [[], [[]], [None], [""], ",", "1,", [1.0], [-1], ["+1"], [True], {}, MAX + 1])
def test_an_invalid_list_of_numbers_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(BadRequest, match=f"{name} must be a list of 1 to 1000? whole numbers from"):
        parse(**{name: wrong})


@pytest.mark.parametrize("wrong", [[], [None], [["a"]], ["a\0"], ["\ud800"], 5, {}, ["x"] * 101])
def test_an_invalid_list_of_texts_is_refused(wrong: Any) -> None:
    with pytest.raises(BadRequest, match="isp must be a list of 1 to 100 strings without NUL"):
        parse(isp=wrong)


def test_a_list_has_all_its_items_up_to_the_limit() -> None:
    assert parse(senders=[*range(1000, 0, -1)]).sender_ids == tuple(range(1, 1001))
    assert parse(senders=",".join(map(str, range(1, 1001)))).sender_ids == tuple(range(1, 1001))
    assert parse(account_id=[MAX, 0]).account_ids == (0, MAX)
    for texts in ([f"a-{number}" for number in range(100, 200)], [f'"{number}' for number in range(100, 200)]):
        assert parse(isp=texts).isps == tuple(texts)
    assert parse(isp=",".join(str(number) for number in range(100, 200))).isps == tuple(map(str, range(100, 200)))


def test_a_list_with_one_item_too_many_is_refused() -> None:
    for senders in ([*range(1, 1002)], ",".join(map(str, range(1, 1002))), [*range(1, 1001), "x"], [0], [5] * 1001):
        assert refusal(senders=senders) == f"senders must be a list of 1 to 1000 whole numbers from 1 to {MAX}"
    for account_ids in ([*range(101)], "1," * 100 + "1", [0] * 101, [-0.0], [MAX + 1]):
        assert refusal(account_id=account_ids) == f"account_id must be a list of 1 to 100 whole numbers from 0 to {MAX}"
    for isps in (["a"] * 101, ["-"] * 101, "a," * 100, [5]):
        assert refusal(isp=isps) == "isp must be a list of 1 to 100 strings without NUL and lone surrogates"


def test_a_minus_in_a_list_is_no_number() -> None:
    with pytest.raises(BadRequest, match="account_id must be a list"):
        parse_report(parse_envelope(b'{"account_id":[-0]}'))


def test_a_no_break_space_is_no_blank() -> None:
    query = parse(search="\u00a012", after="\u00a0x", isp=" \u00a0a, b")
    assert (query.search, query.after, query.isps) == ("\u00a012", "\u00a0x", ("b", "\u00a0a"))
    assert refusal(senders="\u00a0").startswith("senders must be a list")
    assert refusal(by="\u00a0isp").startswith("by must be a list")
    assert refusal(by="\u00a0").startswith("by must be a list")


def test_rows_have_the_keys_that_the_request_lists() -> None:
    assert parse(by="isp, campaign,account,sender").by == tuple(Dimension)
    assert parse(by=["none"]).by == parse(by="none,none").by == ()
    assert refusal(by="none,sender") == "by must be none alone, or a list of sender, account, campaign and isp"
    assert refusal(by="queue") == "by must be a list of sender, account, campaign, isp, none"


def test_the_oldest_messages_are_for_rows_by_sender_only() -> None:
    assert parse(order="oldest", status="hold", senders=[1]).order is Order.OLDEST
    assert parse(order="new", by="isp", search="1", account_id=5).order is Order.NEW
    text = "order=oldest is for by=sender, without account_id, campaign_id, isp and search"
    others: list[dict[str, Any]] = [
        *({"by": by} for by in ("isp", "none", "sender,isp")),
        *({"account_id": 0}, {"campaign_id": 0}, {"isp": ""}, {"search": "1"}),
    ]
    for other in others:
        assert refusal(order="oldest", **other) == text


def test_other_parameters_of_the_report_are_checked() -> None:
    assert refusal(status="sent") == "status must be total, new, proc, retry or hold"
    assert refusal(order="id") == "order must be key, total, new, proc, retry, hold or oldest"
    assert (
        refusal(search="1" * 256) == "search must be a string of at most 255 characters without NUL and lone surrogates"
    )
    assert (
        refusal(after="x" * 2001) == "after must be a string of at most 2000 characters without NUL and lone surrogates"
    )
    assert refusal(limit=10_001) == "limit must be a whole number from 1 to 10000"
    assert refusal(names=2) == "names must be 0 or 1"
    assert refusal(count="yes") == "count must be 0 or 1"


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
def test_a_search_for_the_beginning_of_ids_becomes_ranges(search: str, ranges: list[tuple[int, int]]) -> None:
    given = report_parameters(ReportQuery(search=search), None, 1)
    assert list(zip(given["first_ids"], given["last_ids"], strict=True)) == ranges
    assert given["search"] is None


S, A, C, P = Dimension
ANY, NONE = (0, MAX), (0, 0)


@pytest.mark.parametrize(
    ("query", "grouping_set", "slices"),
    [
        (ReportQuery(), "total", [(*NONE, *NONE, None)]),
        (ReportQuery((S, P)), "isp", [(*NONE, *NONE, None)]),
        (ReportQuery((A,)), "account", [(*ANY, *NONE, "")]),
        (ReportQuery((A, P)), "account_isp", [(*ANY, *ANY, None)]),
        (ReportQuery((A, C, P)), "account_campaign_isp", [(*ANY, *ANY, None)]),
        (ReportQuery(account_ids=(1, 5)), "account", [(1, 1, *NONE, None), (5, 5, *NONE, None)]),
        (ReportQuery((P,), account_ids=(1, 5)), "account_isp", [(1, 1, *NONE, None), (5, 5, *NONE, None)]),
        (ReportQuery(campaign_ids=(1, 5)), "campaign", [(*NONE, 1, 1, None), (*NONE, 5, 5, None)]),
        (ReportQuery((A,), campaign_ids=(1, 5)), "account_campaign", [(*ANY, 1, 1, ""), (*ANY, 5, 5, "")]),
        (ReportQuery((P,), campaign_ids=(1, 5)), "campaign_isp", [(*NONE, 1, 1, None), (*NONE, 5, 5, None)]),
        # No index has campaigns first: everything is read and counts as look-ups.
        (ReportQuery((A, P), campaign_ids=(1, 5)), "account_campaign_isp", [(*ANY, *ANY, None)]),
        (ReportQuery(isps=("", "a")), "isp", [(*NONE, *NONE, ""), (*NONE, *NONE, "a")]),
        (ReportQuery((C,), isps=("a",)), "campaign_isp", [(*NONE, *ANY, "a")]),
        (ReportQuery((A,), isps=("a",)), "account_isp", [(*ANY, *NONE, "a")]),
        (ReportQuery((A, P), campaign_ids=(1,), isps=("a",)), "account_campaign_isp", [(*ANY, 1, 1, "a")]),
        (ReportQuery((S,), (1,), (1,), (2, 3)), "account_campaign", [(1, 1, 2, 2, None), (1, 1, 3, 3, None)]),
        (ReportQuery((P,), None, (1, 5), None, ("a",)), "account_isp", [(1, 1, *NONE, "a"), (5, 5, *NONE, "a")]),
        (
            ReportQuery((S,), None, (1,), (2,), ("a", "b")),
            "account_campaign_isp",
            [(1, 1, 2, 2, "a"), (1, 1, 2, 2, "b")],
        ),
        # By campaign, either index would read more than this.
        (
            ReportQuery((C,), None, (1, 5), None, ("a",)),
            "account_campaign_isp",
            [(1, 1, *ANY, None), (5, 5, *ANY, None)],
        ),
    ],
    ids=str,
)
def test_a_slice_is_one_descent_of_an_index(
    query: ReportQuery, grouping_set: str, slices: list[tuple[int, int, int, int, str | None]]
) -> None:
    given = report_parameters(query, None, 1)
    assert (given["grouping_set"], slices_of(given)) == (grouping_set, slices)


def slices_of(given: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("first_accounts", "last_accounts", "first_campaigns", "last_campaigns", "slice_isps")
    return list(zip(*(given[name] for name in names), strict=True))


def test_a_sender_has_at_most_a_hundred_look_ups() -> None:
    ten, eleven = tuple(range(1, 11)), tuple(range(1, 12))
    isps = tuple(f"isp {n:03}" for n in range(100))
    exact = report_parameters(ReportQuery(account_ids=ten, campaign_ids=ten), None, 1)
    assert len(slices_of(exact)) == 100
    # Then each account is read from the first to the last campaign, and each ISP as well.
    ranges = report_parameters(ReportQuery(account_ids=ten, campaign_ids=eleven), None, 1)
    assert slices_of(ranges) == [(account_id, account_id, 1, 11, None) for account_id in ten]
    ranges = report_parameters(ReportQuery(campaign_ids=(1, 5), isps=isps), None, 1)
    assert slices_of(ranges) == [(0, 0, 1, 5, isp) for isp in isps]
    # An alternative: all ISPs of an account.
    assert slices_of(report_parameters(ReportQuery(account_ids=(1, 5), isps=isps), None, 1)) == [
        (1, 1, 0, 0, None),
        (5, 5, 0, 0, None),
    ]

"""The parameters of a history: its range, its step and its ISPs."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.errors import BadRequest
from service.model import HistoryQuery
from service.wire.parsing import parse_envelope, parse_history

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FOR_EVER = (timedelta.max,) * 3


def parse(kept: Sequence[timedelta] = FOR_EVER, /, **members: Any) -> HistoryQuery:
    return parse_history(parse_envelope(json.dumps({"id": 119, **members}).encode()), kept)


def refusal(**members: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        parse(**members)
    return refused.value.text.removeprefix("Incorrect request: ")


def at_noon(**members: Any) -> HistoryQuery:
    return parse(**{"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T13:00:00Z", **members})


@pytest.mark.parametrize("given", [{}, {"from": "", "to": None, "group": "", "isp": None}, {"from": " ", "to": "\n"}])
def test_a_history_is_that_of_the_last_hour_unless_the_request_differs(given: dict[str, Any]) -> None:
    before = datetime.now(UTC)
    query = parse(**given)
    assert before - HOUR <= query.since <= datetime.now(UTC) - HOUR
    assert query == HistoryQuery(119, None, False, 60, query.since, None)


def test_a_history_has_the_requested_isps() -> None:
    assert at_noon() == HistoryQuery(119, None, False, 60, NOON, NOON + HOUR)
    assert at_noon(group="total") == HistoryQuery(119, None, False, 60, NOON, NOON + HOUR)
    assert at_noon(group="isp") == HistoryQuery(119, None, True, 600, NOON, NOON + HOUR)
    assert at_noon(isp="Gmail") == HistoryQuery(119, "Gmail", False, 600, NOON, NOON + HOUR)
    assert at_noon(isp="Gmail", group="isp") == HistoryQuery(119, "Gmail", True, 600, NOON, NOON + HOUR)


def test_the_step_is_the_requested_one_or_the_finest_that_is_kept() -> None:
    assert [at_noon(step=step).step_seconds for step in (60, "600", 3600)] == [60, 600, 3600]
    kept = (timedelta(hours=2), timedelta(hours=4), timedelta(hours=6))
    assert [parse(kept, **{"from": hours * 3600 - 60}).step_seconds for hours in (2, 4, 6)] == [60, 600, 3600]
    assert parse(kept, **{"from": 3 * 3600, "step": 60}).step_seconds == 60
    assert [at_noon(step=left_out).step_seconds for left_out in (None, "")] == [60, 60]
    assert parse(**{"from": 1440 * 60}).step_seconds == 60
    assert parse(**{"from": 1440 * 60 + 1}).step_seconds == 600


@pytest.mark.parametrize(
    ("written", "since"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        (" 2026-03-01T12:00:00Z\n", NOON),
        ("2026-03-01T14:30:00.5+02:30", NOON + timedelta(milliseconds=500)),
        ("2026-03-01T09:00:00.000001-03:00", NOON + timedelta(microseconds=1)),
    ],
)
def test_a_time_is_read_in_utc(written: str, since: datetime) -> None:
    query = parse(**{"from": written})
    assert query.since == since
    assert query.since.tzinfo is UTC


@pytest.mark.parametrize("seconds", [7200, "7200", " 07200 "])
def test_a_number_means_seconds_before_now(seconds: Any) -> None:
    before = datetime.now(UTC)
    query = parse(**{"from": 10_800, "to": seconds})
    after = datetime.now(UTC)
    assert query.until is not None
    assert before - 2 * HOUR <= query.until <= after - 2 * HOUR
    assert before - 3 * HOUR <= query.since <= after - 3 * HOUR


@pytest.mark.parametrize("to", [0, "0", "9999-12-31T23:59:59Z"])
def test_a_history_until_now_or_later_ends_with_the_current_step(to: Any) -> None:
    assert parse(to=to).until is None


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "wrong",
    [
        *("yesterday", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01 12:00:00Z", "2026-13-01T12:00:00Z"),
        *("0001-01-01T00:00:00+01:00", "2026-03-01T12:00:00Z!", "\u0662026-03-01T12:00:00Z"),
        *("\u00a0", "\u00a02026-03-01T12:00:00Z"),
        *(-1, 1.5, True, [], {}, 10**11, 2**63 - 1),
    ],
)
def test_other_texts_are_refused_as_times(name: str, wrong: Any) -> None:
    text = f"{name} must be a time as in RFC 3339 (2026-03-01T12:00:00Z), or seconds before now"
    assert refusal(**{name: wrong}) == text


def test_an_empty_range_is_refused() -> None:
    for to in ("2026-03-01T12:00:00Z", "2026-03-01T11:59:59Z"):
        assert refusal(**{"from": "2026-03-01T12:00:00Z", "to": to}) == "from must be before to"


def test_a_step_is_one_of_those_that_are_recorded() -> None:
    for step in (61, 599, 3599):
        assert refusal(step=step) == "step must be 60, 600 or 3600"
    for step in (59, 3601):
        assert refusal(step=step) == "step must be a whole number from 60 to 3600"


@pytest.mark.parametrize("given", [{"isp": "Gmail"}, {"group": "isp"}])
def test_the_finest_step_has_no_isps(given: dict[str, str]) -> None:
    text = "step 60 is for all ISPs together: leave out isp, with the group total"
    assert refusal(step=60, **given) == text


def test_other_parameters_of_a_history_are_checked() -> None:
    assert refusal(id=0) == f"id must be a whole number from 1 to {2**63 - 1}"
    assert refusal(group="account") == "group must be total or isp"
    assert refusal(isp=5) == "isp must be a string without NUL and lone surrogates"

"""What a limited token may read, and how refusals of wrong tokens are delayed for an address."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from service.access.cache import FailedTokens
from service.access.rules import Limits, Token
from service.errors import Forbidden
from service.model import Dimension, HistoryQuery, Measure, Order, ReportQuery, StatsQuery, TopQuery

SCOPES = frozenset({"stats"})
UNLIMITED = Token("all", SCOPES)
OF_SENDERS = Token("senders", SCOPES, sender_ids=(119, 120))
OF_ACCOUNTS = Token("accounts", SCOPES, sender_ids=(119,), account_ids=(306, 307))


def test_a_token_without_limits_leaves_every_query_as_it_is() -> None:
    for query in (StatsQuery(1), StatsQuery(1, 2, 3, "Gmail")):
        assert UNLIMITED.limit(query) is query
    top = TopQuery(Dimension.SENDER, Measure.TOTAL, 10)
    assert UNLIMITED.limit_top(top) == top
    assert UNLIMITED.sees(None)
    assert UNLIMITED.sees(306)


@pytest.mark.parametrize("token", [OF_SENDERS, OF_ACCOUNTS])
def test_a_token_limited_to_senders_is_refused_for_any_other(token: Token) -> None:
    token.require_sender(119)
    for refused in (lambda: token.limit(StatsQuery(121)), lambda: token.require_sender(121)):
        with pytest.raises(Forbidden) as refusal:
            refused()
        assert refusal.value.text == "No access: this token is limited to other senders"


def test_a_token_limited_to_senders_may_read_all_their_accounts() -> None:
    for query in (StatsQuery(119), StatsQuery(120, 306)):
        assert OF_SENDERS.limit(query) is query
    assert OF_SENDERS.sees(None)


def test_a_query_for_all_accounts_becomes_one_for_the_accounts_of_the_token() -> None:
    query = StatsQuery(119, campaign_id=7, isp="Gmail")
    assert OF_ACCOUNTS.limit(query) == StatsQuery(119, campaign_id=7, isp="Gmail", account_ids=(306, 307))


def test_a_token_limited_to_accounts_is_refused_for_any_other() -> None:
    query = StatsQuery(119, 306)
    assert OF_ACCOUNTS.limit(query) is query
    with pytest.raises(Forbidden) as refusal:
        OF_ACCOUNTS.limit(StatsQuery(119, 308))
    assert refusal.value.text == "No access: this token is limited to other accounts"
    assert [OF_ACCOUNTS.sees(account_id) for account_id in (306, 308, None)] == [True, False, False]


def test_the_largest_senders_are_those_of_the_token() -> None:
    top = TopQuery(Dimension.SENDER, Measure.TOTAL, 10)
    assert OF_SENDERS.limit_top(top) == TopQuery(Dimension.SENDER, Measure.TOTAL, 10, sender_ids=(119, 120))


def test_the_largest_within_a_sender_need_a_token_without_a_limit_to_accounts() -> None:
    within = TopQuery(Dimension.ISP, Measure.TOTAL, 10, sender_id=119)
    assert OF_SENDERS.limit_top(within) is within
    with pytest.raises(Forbidden) as refusal:
        OF_SENDERS.limit_top(TopQuery(Dimension.ISP, Measure.TOTAL, 10, sender_id=121))
    assert refusal.value.text == "No access: this token is limited to other senders"
    with pytest.raises(Forbidden) as refusal:
        OF_ACCOUNTS.limit_top(within)
    assert refusal.value.text == "No access: this token is limited to accounts"


@pytest.mark.parametrize("part", ["has_oldest", "has_rates"])
def test_a_token_limited_to_accounts_may_read_neither_the_oldest_messages_nor_the_rates(part: str) -> None:
    query = StatsQuery(119, has_oldest=part == "has_oldest", has_rates=part == "has_rates")
    assert OF_SENDERS.limit(query) is query
    with pytest.raises(Forbidden) as refusal:
        OF_ACCOUNTS.limit(query)
    assert refusal.value.text == "No access: this token is limited to accounts, and oldest and rates are the sender's"


def test_a_history_needs_a_token_without_a_limit_to_accounts() -> None:
    query = HistoryQuery(119, None, False, 60, datetime(2026, 1, 1, tzinfo=UTC))
    for token in (UNLIMITED, OF_SENDERS):
        assert token.limit_history(query) is query
    with pytest.raises(Forbidden) as refusal:
        Token("other", SCOPES, sender_ids=(120,)).limit_history(query)
    assert refusal.value.text == "No access: this token is limited to other senders"
    with pytest.raises(Forbidden) as refusal:
        OF_ACCOUNTS.limit_history(query)
    assert refusal.value.text == "No access: this token is limited to accounts, and the history is the sender's"


@pytest.mark.parametrize(
    ("token", "asked", "limited"),
    [
        (UNLIMITED, {}, {}),
        (UNLIMITED, {"sender_ids": (1,), "account_ids": (2,)}, {"sender_ids": (1,), "account_ids": (2,)}),
        (OF_SENDERS, {}, {"sender_ids": (119, 120)}),
        (OF_SENDERS, {"sender_ids": (120,), "account_ids": (1,)}, {"sender_ids": (120,), "account_ids": (1,)}),
        (OF_SENDERS, {"sender_ids": (119, 120)}, {"sender_ids": (119, 120)}),
        (OF_ACCOUNTS, {}, {"sender_ids": (119,), "account_ids": (306, 307), "is_limited": True}),
        (
            OF_ACCOUNTS,
            {"account_ids": (307,)},
            {"sender_ids": (119,), "account_ids": (307,), "is_limited": True},
        ),
        (OF_SENDERS, {"order": Order.OLDEST}, {"order": Order.OLDEST, "sender_ids": (119, 120)}),
    ],
)
def test_a_report_on_many_senders_covers_those_of_the_token(
    token: Token, asked: dict[str, Any], limited: dict[str, Any]
) -> None:
    assert token.limit_report(ReportQuery(search="Ac", **asked)) == ReportQuery(search="Ac", **limited)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"sender_ids": (119, 121)}, "this token is limited to other senders"),
        ({"account_ids": (306, 308)}, "this token is limited to other accounts"),
        ({"order": Order.OLDEST}, "this token is limited to accounts, and oldest is the sender's"),
    ],
)
def test_a_report_beyond_the_limits_of_the_token_is_refused(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(Forbidden) as refusal:
        OF_ACCOUNTS.limit_report(ReportQuery(**asked))
    assert refusal.value.text == f"No access: {reason}"


@pytest.mark.parametrize(
    ("own", "sender_limits", "account_limits", "is_included"),
    [
        (Limits(), None, None, True),
        (Limits(), [119], [306], True),
        (Limits(sender_ids=(119, 120)), [119], None, True),
        (Limits(sender_ids=(119, 120)), [120, 119], [306], True),
        (Limits(sender_ids=(119, 120)), [119, 121], None, False),
        (Limits(sender_ids=(119, 120)), None, [306], False),
        (Limits(account_ids=(306, 307)), None, [307], True),
        (Limits(account_ids=(306, 307)), [119], [308], False),
        (Limits(account_ids=(306, 307)), [119], None, False),
    ],
)
def test_limits_include_equal_and_narrower_ones(
    own: Limits, sender_limits: list[int] | None, account_limits: list[int] | None, is_included: bool
) -> None:
    assert own.include(sender_limits, account_limits) is is_included


class Refusals:
    """The refusals of one process, with limits that a test can reach. A delay is longer than a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._failed_tokens = FailedTokens()
        self.delayed: list[asyncio.Task[None]] = []
        self.set(FREE_FAILURES=2, FAILURE_WINDOW_SECONDS=3600.0, FAILURE_DELAY_SECONDS=3600.0)

    def set(self, **limits: Any) -> None:
        for name, value in limits.items():
            self._monkeypatch.setattr(sys.modules[FailedTokens.__module__], name, value)

    async def is_delayed(self, address: str = "192.0.2.1") -> bool:
        task = asyncio.create_task(self._failed_tokens.slow_down(address))
        for _ in range(10):
            await asyncio.sleep(0)
        if not task.done():
            self.delayed.append(task)
        return not task.done()

    async def end(self) -> None:
        """Cancels the delayed refusals."""
        for task in self.delayed:
            task.cancel()
        await asyncio.gather(*self.delayed, return_exceptions=True)
        self.delayed.clear()


@pytest.fixture
async def refusals(monkeypatch: pytest.MonkeyPatch) -> Any:
    refusals = Refusals(monkeypatch)
    yield refusals
    await refusals.end()


async def test_the_first_wrong_tokens_of_an_address_are_refused_at_once_and_all_others_later(
    refusals: Refusals,
) -> None:
    assert [await refusals.is_delayed() for _ in range(4)] == [False, False, True, True]
    assert not await refusals.is_delayed("192.0.2.2"), "another address has its own count"


async def test_refusals_beyond_the_limit_of_delayed_ones_come_at_once(refusals: Refusals) -> None:
    refusals.set(FREE_FAILURES=0, DELAYED_AT_ONCE=3)
    for _ in range(2):
        assert [await refusals.is_delayed() for _ in range(5)] == [True, True, True, False, False]
        await refusals.end()


async def test_a_delayed_refusal_comes_after_its_delay(refusals: Refusals) -> None:
    refusals.set(FREE_FAILURES=0, FAILURE_DELAY_SECONDS=0.05)
    assert await refusals.is_delayed()
    (delayed,) = refusals.delayed
    await delayed


async def test_the_count_of_wrong_tokens_restarts_after_the_window(refusals: Refusals) -> None:
    assert [await refusals.is_delayed() for _ in range(3)] == [False, False, True]
    refusals.set(FAILURE_WINDOW_SECONDS=0.0)
    await asyncio.sleep(0.001)
    assert not await refusals.is_delayed()
    refusals.set(FAILURE_WINDOW_SECONDS=3600.0)
    assert [await refusals.is_delayed() for _ in range(2)] == [False, True]


async def test_all_counts_restart_if_there_are_too_many_addresses(refusals: Refusals) -> None:
    refusals.set(FREE_FAILURES=1, ADDRESSES_KEPT=2)
    for address in ("192.0.2.1", "192.0.2.2"):
        assert not await refusals.is_delayed(address)
    assert await refusals.is_delayed("192.0.2.1"), "the number of addresses is at the limit"
    assert not await refusals.is_delayed("192.0.2.3")
    assert not await refusals.is_delayed("192.0.2.1")


async def test_the_log_has_the_address_of_a_wrong_token(refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    await refusals.is_delayed("192.0.2.7")
    assert [record.getMessage() for record in caplog.records] == ["wrong token address=192.0.2.7"]

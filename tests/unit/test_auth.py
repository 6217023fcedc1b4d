"""Secrets and the cache of tokens, with a database that only counts its look-ups."""

import asyncio
import hashlib
import re
import time
from typing import Any, cast

import pytest

from service.access.admin import new_secret
from service.access.cache import LOOK_UP_PAUSE_SECONDS, MAX_AGE_SECONDS, REFRESH_AGE_SECONDS, Tokens
from service.access.rules import Token, token_hash
from service.db import Database
from service.errors import Forbidden, TimedOut, Unauthorized, Unavailable
from service.model import Scope

MINE = Token("mine", frozenset({"stats"}))


class CountingDatabase:
    """Has the valid tokens, counts the look-ups, and raises an error if `is_gone`."""

    def __init__(self, **tokens: str) -> None:
        self.tokens = tokens
        self.asked = 0
        self.is_gone = False
        self.failure: Exception = Unavailable()
        self.answering = asyncio.Event()
        self.answering.set()

    async def fetch(self, *_: Any) -> list[dict[str, Any]]:
        self.asked += 1
        found = [
            {"name": name, "scopes": ["stats"], "sender_ids": None, "account_ids": None, "hash": token_hash(secret)}
            for name, secret in self.tokens.items()
        ]
        is_gone = self.is_gone
        await self.answering.wait()
        if is_gone:
            raise self.failure
        return found


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> CountingDatabase:
    return CountingDatabase(mine="right")


@pytest.fixture
def tokens(database: CountingDatabase, clock: Clock) -> Tokens:
    return Tokens(cast(Database, database), clock)


async def let_others_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_secret_is_long_random_and_needs_no_quoting() -> None:
    secrets = {new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(re.fullmatch("qs_[A-Za-z0-9_-]{43}", secret) for secret in secrets)


def test_only_the_sha_256_of_a_secret_is_stored() -> None:
    assert token_hash("abc") == hashlib.sha256(b"abc").digest()
    assert len({token_hash(each) for each in ("", "é", "e\u0301", "\ud800", "\udfff")}) == 5


async def test_a_valid_token_has_the_rights_of_its_scopes_only(tokens: Tokens) -> None:
    assert await tokens.check("right", Scope.STATS) == MINE
    with pytest.raises(Forbidden, match="explain"):
        await tokens.check("right", Scope.EXPLAIN)


async def test_any_other_token_is_refused(tokens: Tokens) -> None:
    for wrong in (None, "", "mine", "Right", "\ud800"):
        with pytest.raises(Unauthorized):
            await tokens.check(wrong, Scope.STATS)


async def test_a_request_without_a_token_causes_no_look_up(tokens: Tokens, database: CountingDatabase) -> None:
    with pytest.raises(Unauthorized):
        await tokens.check(None, Scope.STATS)
    assert database.asked == 0


async def test_known_tokens_are_refreshed_in_the_background_and_checks_wait_only_if_they_are_old(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    await tokens.check("right", Scope.STATS)
    for _ in range(3):
        await tokens.check("right", Scope.STATS)
    assert database.asked == 1

    clock.now += REFRESH_AGE_SECONDS + 0.01
    database.answering.clear()
    await tokens.check("right", Scope.STATS)
    await let_others_run()
    await tokens.check("right", Scope.STATS)
    assert database.asked == 2

    database.answering.set()
    await let_others_run()
    clock.now += MAX_AGE_SECONDS + 0.01
    await tokens.check("right", Scope.STATS)
    assert database.asked == 3


async def test_a_revoked_token_is_refused_once_the_last_look_up_is_too_old(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    await tokens.check("right", Scope.STATS)
    database.tokens = {}
    clock.now += MAX_AGE_SECONDS + 0.01
    with pytest.raises(Unauthorized):
        await tokens.check("right", Scope.STATS)


async def test_age_counts_from_the_beginning_of_a_look_up(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    """A look-up returns the tokens that were valid when it began, not when it ended."""
    database.answering.clear()
    slow = asyncio.create_task(tokens.check("right", Scope.STATS))
    await let_others_run()
    clock.now += MAX_AGE_SECONDS + 0.01
    database.answering.set()
    assert await slow == MINE
    await tokens.check("right", Scope.STATS)
    assert database.asked == 2


async def test_a_token_created_during_a_look_up_is_found_by_the_next_one(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    database.answering.clear()
    early = asyncio.create_task(tokens.check("right", Scope.STATS))
    await let_others_run()
    database.tokens["new"] = "created during it"
    late = [asyncio.create_task(tokens.check("created during it", Scope.STATS)) for _ in range(10)]
    await let_others_run()
    clock.now += 0.1
    database.answering.set()
    assert await early == MINE
    assert await asyncio.gather(*late) == [Token("new", MINE.scopes)] * 10
    assert database.asked == 2


async def test_many_wrong_tokens_at_once_share_a_look_up(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    await tokens.check("right", Scope.STATS)
    clock.now += 0.1
    answers = await asyncio.gather(
        *(tokens.check(f"wrong {n}", Scope.STATS) for n in range(1000)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {Unauthorized}
    assert database.asked == 2


async def test_a_failed_look_up_is_raised_as_its_error_and_the_next_check_repeats_it(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    await tokens.check("right", Scope.STATS)
    database.is_gone = True
    clock.now += 0.1
    with pytest.raises(Unavailable):
        await tokens.check("wrong", Scope.STATS)
    assert await tokens.check("right", Scope.STATS) == MINE, "the last look-up is recent enough"
    clock.now += MAX_AGE_SECONDS
    with pytest.raises(Unavailable):
        await tokens.check("right", Scope.STATS)
    database.is_gone = False
    clock.now += 0.1
    assert await tokens.check("right", Scope.STATS) == MINE


async def test_a_cancelled_check_does_not_cancel_the_look_up_of_the_others(
    tokens: Tokens, database: CountingDatabase
) -> None:
    database.answering.clear()
    first, second = (asyncio.create_task(tokens.check("right", Scope.STATS)) for _ in range(2))
    await let_others_run()
    first.cancel()
    await let_others_run()
    database.answering.set()
    assert await second == MINE
    assert database.asked == 1


async def test_a_failed_look_up_in_the_background_fails_no_check(
    tokens: Tokens, database: CountingDatabase, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await tokens.check("right", Scope.STATS)
    database.is_gone = True
    clock.now += REFRESH_AGE_SECONDS + 0.01
    assert await tokens.check("right", Scope.STATS) == MINE
    await let_others_run()
    assert await tokens.check("right", Scope.STATS) == MINE
    assert caplog.records == []


async def test_an_unknown_token_is_refused_in_these_words(tokens: Tokens) -> None:
    with pytest.raises(Unauthorized) as refusal:
        await tokens.check("wrong", Scope.STATS)
    assert refusal.value.text == "API token required: this one is unknown or revoked"


async def test_a_token_has_its_senders_and_accounts_in_ascending_order_without_repeats(clock: Clock) -> None:
    class LimitedTokens:
        async def fetch(self, statement: Any) -> list[dict[str, Any]]:
            assert statement.name == "tokens/valid"
            row = {"name": "mine", "scopes": ["stats"], "hash": token_hash("right")}
            return [row | {"sender_ids": [120, 119, 120], "account_ids": [307, 306]}]

    tokens = Tokens(cast(Database, LimitedTokens()), clock)
    assert await tokens.check("right", Scope.STATS) == Token(
        "mine", MINE.scopes, sender_ids=(119, 120), account_ids=(306, 307)
    )


async def test_a_token_created_during_a_slow_look_up_is_found_after_it(
    tokens: Tokens, database: CountingDatabase
) -> None:
    database.answering.clear()
    early = asyncio.create_task(tokens.check("right", Scope.STATS))
    await let_others_run()
    database.tokens["new"] = "created during it"
    late = asyncio.create_task(tokens.check("created during it", Scope.STATS))
    await asyncio.sleep(3 * LOOK_UP_PAUSE_SECONDS)
    database.answering.set()
    assert [(await early).name, (await late).name] == ["mine", "new"]


async def test_there_is_a_pause_between_the_starts_of_two_look_ups(database: CountingDatabase) -> None:
    tokens = Tokens(cast(Database, database))
    began_at = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await tokens.check("wrong", Scope.STATS)
    assert database.asked == 3
    assert time.monotonic() - began_at >= 2 * LOOK_UP_PAUSE_SECONDS


@pytest.mark.parametrize(
    ("addresses", "delays"), [(["192.0.2.1"] * 3, 2), (["192.0.2.1", "192.0.2.2"], 0), ([None] * 3, 0)]
)
async def test_refusals_of_wrong_tokens_are_delayed_for_each_client_address(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch, addresses: list[str | None], delays: int
) -> None:
    monkeypatch.setattr("service.access.cache.FREE_FAILURES", 1)
    monkeypatch.setattr("service.access.cache.FAILURE_DELAY_SECONDS", 3600.0)
    checks = [asyncio.create_task(tokens.check("wrong", Scope.STATS, address)) for address in addresses]
    await let_others_run()
    await let_others_run()
    delayed = [check for check in checks if not check.done()]
    assert len(delayed) == delays
    for check in delayed:
        check.cancel()
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert [type(result) for result in results].count(Unauthorized) == len(checks) - delays


async def test_check_in_outage_equals_check_while_the_database_responds(
    tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    assert await tokens.check_in_outage("right", Scope.STATS, None, 60.0) == MINE
    with pytest.raises(Forbidden, match="explain"):
        await tokens.check_in_outage("right", Scope.EXPLAIN, None, 60.0)
    for wrong in (None, "wrong"):
        with pytest.raises(Unauthorized):
            await tokens.check_in_outage(wrong, Scope.STATS, "192.0.2.1", 60.0)
    assert caplog.messages == ["wrong token address=192.0.2.1"]


async def test_in_an_outage_the_tokens_of_the_last_look_up_are_valid_and_others_get_its_error(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    database.is_gone = True
    with pytest.raises(Unavailable):
        await tokens.check_in_outage("right", Scope.STATS, None, 60.0)
    database.is_gone = False
    clock.now += 1
    await tokens.check("right", Scope.STATS)

    database.is_gone = True
    clock.now += 3600
    assert await tokens.check_in_outage("right", Scope.STATS, None, 60.0) == MINE
    with pytest.raises(Forbidden, match="explain"):
        await tokens.check_in_outage("right", Scope.EXPLAIN, None, 60.0)
    clock.now += 1
    with pytest.raises(Unavailable):
        await tokens.check_in_outage("wrong", Scope.STATS, None, 60.0)


async def test_a_database_that_does_not_respond_in_time_is_an_outage(
    tokens: Tokens, database: CountingDatabase, clock: Clock
) -> None:
    await tokens.check("right", Scope.STATS)
    database.answering.clear()
    clock.now += 3600
    assert await tokens.check_in_outage("right", Scope.STATS, None, 0.01) == MINE
    with pytest.raises(TimedOut):
        await tokens.check_in_outage("wrong", Scope.STATS, None, 0.01)


async def test_tokens_are_looked_up_repeatedly_without_a_request(
    tokens: Tokens, database: CountingDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.access.cache.IDLE_REFRESH_SECONDS", 0.0)
    refreshing = asyncio.create_task(tokens.refresh_forever())
    while database.asked < 3:
        await asyncio.sleep(0.001)
        assert not refreshing.done()
    database.is_gone, database.failure = True, ZeroDivisionError()
    while not caplog.messages:
        await asyncio.sleep(0.001)
        assert not refreshing.done()
    refreshing.cancel()
    assert caplog.messages[0].startswith("tokens failed error=builtins.ZeroDivisionError at ")

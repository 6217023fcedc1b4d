"""The shares of a process that one token may use at a time, and the bytes that clients have not read yet."""

import pytest
from prometheus_client import REGISTRY

from service.access.budgets import Budget, Unsent
from service.errors import TooManyRequests, Unavailable


def used(resource: str, token_name: str) -> float | None:
    return REGISTRY.get_sample_value("queuestats_budget_used", {"resource": resource, "token": token_name})


def test_a_token_takes_up_to_its_share_and_can_take_again_after_a_release() -> None:
    streams = Budget("open_streams", 2)
    for _ in range(2):
        streams.take("mine")
    with pytest.raises(TooManyRequests):
        streams.take("mine")
    streams.give_back("mine")
    streams.take("mine")
    with pytest.raises(TooManyRequests):
        streams.take("mine")


def test_a_refusal_names_the_share_and_the_resource() -> None:
    streams = Budget("open_streams", 1)
    streams.take("refused")
    with pytest.raises(TooManyRequests) as refusal:
        streams.take("refused")
    assert refusal.value.text == "Too many requests: a token may have 1 open streams at a time"
    assert refusal.value.resource == "open_streams"


def test_each_token_has_a_share_of_its_own_and_the_metrics_have_its_use() -> None:
    streams = Budget("open_streams", 2)
    for token_name in ("one", "two", "two"):
        streams.take(token_name)
    assert [used("open_streams", token_name) for token_name in ("one", "two")] == [1, 2]
    for token_name in ("one", "two"):
        streams.give_back(token_name)
    assert [used("open_streams", token_name) for token_name in ("one", "two")] == [0, 1]
    streams.give_back("two")
    assert used("open_streams", "two") == 0


def test_closing_a_place_releases_it() -> None:
    streams = Budget("open_streams", 1)
    for _ in range(2):
        with streams.place("mine"), pytest.raises(TooManyRequests), streams.place("mine"):
            pass


def test_all_responses_together_have_at_most_the_limit_of_the_process() -> None:
    unsent = Unsent(limit_bytes=10, token_share_bytes=10, send_timeout_ms=1500)
    one, two, three = (unsent.of(token_name) for token_name in ("one", "two", "three"))
    one.hold(4)
    two.hold(6)
    with pytest.raises(Unavailable) as refusal:
        three.hold(1)
    assert refusal.value.text == "Service unavailable: too many large reports wait to be read"
    one.release()
    three.hold(4)
    assert unsent.held_bytes == 10
    assert three.timeout_seconds == 1.5


def test_a_response_may_exceed_the_share_only_while_it_is_the_only_one_of_its_token() -> None:
    unsent = Unsent(limit_bytes=100, token_share_bytes=6, send_timeout_ms=1000)
    large, small = unsent.of("large report"), unsent.of("large report")
    for _ in range(3):
        large.hold(4)
    with pytest.raises(TooManyRequests):
        small.hold(1)
    assert used("unread_bytes", "large report") == unsent.held_bytes == large.size == 12
    for _ in range(2):
        large.release()
        assert used("unread_bytes", "large report") == unsent.held_bytes == large.size == 0
    small.hold(6)
    with pytest.raises(TooManyRequests):
        large.hold(1)
    small.release()

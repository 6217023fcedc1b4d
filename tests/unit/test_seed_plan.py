"""The plan of `seed`, which is made before anything is written."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import WrongUsage
from service.workbench.seed import Profile, SeedPlan, chunks, default_senders, parameters
from service.workbench.seed.plan import bursts, has_example, sender_sizes

PLANS = st.tuples(st.integers(1, 60_000), st.integers(1, 400), st.sampled_from(Profile), st.integers(0, 2**31 - 1)).map(
    lambda drawn: SeedPlan(drawn[0], 1 if drawn[2] is Profile.SINGLE else min(drawn[0], drawn[1]), drawn[3], drawn[2])
)


@given(PLANS)
def test_every_sender_has_messages_the_biggest_first_and_all_add_up(plan: SeedPlan) -> None:
    sizes = sender_sizes(plan)
    assert len(sizes) == plan.senders
    assert sum(sizes) == plan.messages
    assert min(sizes) >= 1
    assert all(bigger >= smaller for bigger, smaller in pairwise(sizes))


@settings(max_examples=25)
@given(PLANS)
def test_the_bursts_of_a_sender_contain_all_its_messages(plan: SeedPlan) -> None:
    held: Counter[int] = Counter()
    for burst in bursts(plan):
        assert burst.size >= 1
        held[burst.sender_id] += burst.size
    assert [held[sender] for sender in range(1, plan.senders + 1)] == sender_sizes(plan)


@settings(max_examples=25)
@given(PLANS, st.integers(1, 100_000))
def test_chunks_contain_every_id_once_and_in_order(plan: SeedPlan, chunk_messages: int) -> None:
    following = 1
    for chunk in chunks(bursts(plan), chunk_messages):
        values = parameters(plan, chunk)
        for first, size in zip(values["first_ids"], values["sizes"], strict=True):
            assert first == following
            following += size
    assert following == plan.messages + 1


def test_accounts_belong_to_one_sender_and_campaigns_to_one_account() -> None:
    planned = bursts(SeedPlan(100_000, 500))
    assert len({(burst.account_id, burst.sender_id) for burst in planned}) == len({each.account_id for each in planned})
    campaigns = {(burst.campaign_id, burst.account_id) for burst in planned if burst.campaign_id}
    assert len(campaigns) == len({campaign for campaign, _ in campaigns})


def test_no_sender_has_more_than_a_few_dozen_accounts() -> None:
    planned = bursts(SeedPlan(20_000_000, 1, profile=Profile.SINGLE))
    assert 12 < len({burst.account_id for burst in planned}) <= 36


def test_some_mail_is_outside_any_campaign() -> None:
    planned = bursts(SeedPlan(1_000_000, 1, profile=Profile.SINGLE))
    outside = sum(burst.size for burst in planned if burst.campaign_id == 0)
    assert 50_000 < outside < 300_000


def test_the_bursts_of_big_senders_are_bigger() -> None:
    sizes: dict[int, list[int]] = {1: [], 500: []}
    for burst in bursts(SeedPlan(1_000_000, 1000)):
        if burst.sender_id in sizes:
            sizes[burst.sender_id].append(burst.size)
    assert sum(sizes[1]) / len(sizes[1]) > 300 > 5 * min(sizes[500])


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (SeedPlan(1_000_000, 1000), True),
        (SeedPlan(119 * 340, 119), True),
        (SeedPlan(119 * 340 - 1, 119), False),
        (SeedPlan(119 * 339 + 1000, 1000), True),
        (SeedPlan(1_000_000, 118), False),
        (SeedPlan(1_000_000, 1000, profile=Profile.UNIFORM), False),
    ],
)
def test_sender_119_has_the_documented_340_messages_if_they_fit(plan: SeedPlan, expected: bool) -> None:
    assert has_example(plan) is expected
    if expected:
        assert sender_sizes(plan)[118] == 340


def test_a_small_set_has_fewer_senders() -> None:
    sets = [(1_000_000, "platform"), (10_000, "uniform"), (500, "platform"), (3, "platform"), (1_000_000, "single")]
    assert [default_senders(messages, Profile(profile)) for messages, profile in sets] == [1000, 1000, 50, 1, 1]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((10, 0), "senders"),
        ((10, 11), "senders"),
        ((10, 2, 1, Profile.SINGLE), "single"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_in_a_sentence(values: tuple[int, int], named: str) -> None:
    with pytest.raises(WrongUsage, match=rf"{named}.*\.$"):
        SeedPlan(*values)

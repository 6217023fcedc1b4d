"""The order in which messages arrived: mailings of many senders, cut into bursts that interleave.

Chance comes from `random.Random(seed).random()` alone, the one method whose sequence Python promises to keep.
"""

from collections.abc import Iterator
from itertools import accumulate, count, pairwise
from math import isqrt
from random import Random
from typing import NamedTuple

from service.workbench.seed.plan import EXAMPLE_SENDER, SeedPlan, has_example, sender_sizes

EXAMPLE_ACCOUNT = 306
EXAMPLE_CAMPAIGNS = (4591, 4914)
# Limits of every sender, however big it is.
MAX_ACCOUNTS = 36
MAX_BURST = 5000


class Mix(NamedTuple):
    """A mailing's messages by status, in percent (the rest is held), and the attempts they have behind them."""

    new: int
    proc: int
    retry: int
    attempts: int


# What is left of a mailing, by its position in the order of arrival: 0 the oldest, 1 the newest. Of an old one nearly
# everything has left the queue, so what is there waits for its next attempt or was stopped.
MIXES_BY_AGE = (
    (0.10, Mix(new=0, proc=3, retry=67, attempts=6)),
    (0.30, Mix(new=5, proc=8, retry=67, attempts=3)),
    (0.60, Mix(new=35, proc=15, retry=42, attempts=2)),
    (1.00, Mix(new=72, proc=20, retry=7, attempts=1)),
)
HELD = Mix(new=0, proc=0, retry=5, attempts=1)
HELD_SHARE = 0.05

ALL_NEW, ALL_PROC = Mix(100, 0, 0, 1), Mix(0, 100, 0, 1)
ALL_RETRY, ALL_HOLD = Mix(0, 0, 100, 1), Mix(0, 0, 0, 1)
# (position, campaign, messages, mix): a burst for each number of the documented response.
EXAMPLE_BURSTS = (
    (0.60, 4914, 40, ALL_RETRY),
    (0.61, 4914, 80, ALL_HOLD),
    (0.62, 4914, 10, ALL_PROC),
    (0.63, 4914, 10, ALL_NEW),
    (0.97, 4591, 100, ALL_PROC),
    (0.98, 4591, 100, ALL_NEW),
)


class Burst(NamedTuple):
    """Messages that arrived in a row and share everything but ISP, status and recipient."""

    position: float
    sender_id: int
    account_id: int
    campaign_id: int
    size: int
    mix: Mix


class Mailing(NamedTuple):
    """What a sender sent through one account in one go: a campaign, or mail outside any."""

    position: float
    sender_id: int
    account_id: int
    size: int
    burst_size: int
    in_campaign: bool


def bursts(plan: SeedPlan) -> list[Burst]:
    """All bursts in the order of arrival; their sizes add up to the plan's messages."""
    chance = Random(plan.seed)
    campaigns = (number for number in count(1) if number not in EXAMPLE_CAMPAIGNS)
    found: list[Burst] = []
    # Campaigns are numbered in the order of arrival: the newest has the highest number.
    for mailing in sorted(_mailings(plan, chance)):
        found += _cut(mailing, next(campaigns) if mailing.in_campaign else 0, chance)
    if has_example(plan):
        found += [
            Burst(position, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, campaign_id, size, mix)
            for position, campaign_id, size, mix in EXAMPLE_BURSTS
        ]
    return sorted(found)


def _mailings(plan: SeedPlan, chance: Random) -> Iterator[Mailing]:
    """The mailings of every sender but the example's, sender by sender; no two senders share an account."""
    numbers = (number for number in count(1) if number != EXAMPLE_ACCOUNT)
    for sender_id, size in enumerate(sender_sizes(plan), 1):
        if sender_id == EXAMPLE_SENDER and has_example(plan):
            continue
        burst_size = min(MAX_BURST, 40 + 2 * isqrt(size))
        mailings = 1 + size // (3 * burst_size)
        accounts = [next(numbers) for _ in range(min(MAX_ACCOUNTS, isqrt(mailings) + (mailings > 1)))]
        # Every third sender also sends mail outside any campaign, such as receipts.
        outside = 0.15 if sender_id % 3 == 1 else 0.0
        for index, mailing_size in enumerate(_split(size, mailings, chance)):
            # Each account has one mailing, then the first accounts have most: use falls off as a sender's size does.
            at = index if index < len(accounts) else int(len(accounts) * chance.random() * chance.random())
            position, in_campaign = chance.random(), chance.random() >= outside
            yield Mailing(position, sender_id, accounts[at], mailing_size, burst_size, in_campaign)


def _cut(mailing: Mailing, campaign_id: int, chance: Random) -> Iterator[Burst]:
    """A mailing's bursts, close together in the order of arrival but seldom side by side."""
    mix = HELD if chance.random() < HELD_SHARE else next(mix for upto, mix in MIXES_BY_AGE if mailing.position < upto)
    for size in _split(mailing.size, -(-mailing.size // mailing.burst_size), chance):
        position = mailing.position + 0.02 * chance.random()
        yield Burst(position, mailing.sender_id, mailing.account_id, campaign_id, size, mix)


def _split(total: int, number: int, chance: Random) -> Iterator[int]:
    """Splits `total` into so many uneven sizes of at least one."""
    bounds = list(accumulate((250 + int(1500 * chance.random()) for _ in range(number)), initial=0))
    spare = total - number
    return (1 + spare * end // bounds[-1] - spare * begin // bounds[-1] for begin, end in pairwise(bounds))

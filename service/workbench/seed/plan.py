"""The plan of a data set: the number of messages of each sender, and the bursts in which they arrived.

Random numbers come only from `random.Random(seed).random()`, the only method whose sequence Python guarantees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, count, pairwise
from math import isqrt
from random import Random
from typing import NamedTuple

from service.errors import WrongUsage

# The example in README.md: its sender, the number of that sender's messages, and where they belong.
EXAMPLE_SENDER = 119
EXAMPLE_SIZE = 340
EXAMPLE_ACCOUNT = 306
EXAMPLE_CAMPAIGNS = (4591, 4914)
# Limits for senders of any size.
MAX_ACCOUNTS = 36
MAX_BURST = 5000


class Profile(StrEnum):
    """The distribution of messages over the senders."""

    PLATFORM = "platform"  # few big senders, many small
    SINGLE = "single"  # one sender has all messages
    UNIFORM = "uniform"  # all senders have the same number, to within one message


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """One data set: equal plans have equal rows, independent of the server's version and settings.

    Up to 10^9 messages: above, the arithmetic of sql/seed/insert_bursts.sql leaves the range of a bigint.
    Raises WrongUsage if the numbers contradict each other.
    """

    messages: int
    senders: int
    seed: int = 1
    profile: Profile = Profile.PLATFORM

    def __post_init__(self) -> None:
        if not 1 <= self.senders <= self.messages:
            raise WrongUsage("There must be at least as many messages as senders.")
        if self.profile is Profile.SINGLE and self.senders != 1:
            raise WrongUsage("The profile single has exactly 1 sender.")


class Mix(NamedTuple):
    """A mailing's messages by status, in percent (the rest is held), and the number of their attempts."""

    new: int
    proc: int
    retry: int
    attempts: int


# By the position of a mailing in the order of arrival: 0 the oldest, 1 the newest. Most of an old one has left the
# queue; the rest waits for its next attempt or was stopped.
MIXES_BY_AGE = (
    (0.10, Mix(new=0, proc=3, retry=67, attempts=6)),
    (0.30, Mix(new=5, proc=8, retry=67, attempts=3)),
    (0.60, Mix(new=35, proc=15, retry=42, attempts=2)),
    (1.00, Mix(new=72, proc=20, retry=7, attempts=1)),
)
HELD = Mix(new=0, proc=0, retry=5, attempts=1)
HELD_SHARE = 0.05


class Burst(NamedTuple):
    """Messages that arrived in a row and share everything but ISP, status and recipient."""

    position: float
    sender_id: int
    account_id: int
    campaign_id: int
    size: int
    mix: Mix


class Mailing(NamedTuple):
    """The messages that a sender sent through one account at one time: a campaign, or mail outside any campaign."""

    position: float
    sender_id: int
    account_id: int
    size: int
    burst_size: int
    in_campaign: bool


ALL_NEW, ALL_PROC = Mix(100, 0, 0, 1), Mix(0, 100, 0, 1)
ALL_RETRY, ALL_HOLD = Mix(0, 0, 100, 1), Mix(0, 0, 0, 1)
# A burst for each number of the documented response.
EXAMPLE_BURSTS = (
    Burst(0.60, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, 4914, 40, ALL_RETRY),
    Burst(0.61, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, 4914, 80, ALL_HOLD),
    Burst(0.62, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, 4914, 10, ALL_PROC),
    Burst(0.63, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, 4914, 10, ALL_NEW),
    Burst(0.97, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, 4591, 100, ALL_PROC),
    Burst(0.98, EXAMPLE_SENDER, EXAMPLE_ACCOUNT, 4591, 100, ALL_NEW),
)


def default_senders(messages: int, profile: Profile) -> int:
    """1,000 senders, or fewer if they would have fewer than ten messages on average."""
    return 1 if profile is Profile.SINGLE else min(1000, max(1, messages // 10))


def has_example(plan: SeedPlan) -> bool:
    """Whether sender 119 has the documented example: in the profile `platform`, if 118 senders can be larger."""
    needed = EXAMPLE_SENDER * (EXAMPLE_SIZE - 1) + plan.senders
    return plan.profile is Profile.PLATFORM and plan.senders >= EXAMPLE_SENDER and plan.messages >= needed


def sender_sizes(plan: SeedPlan) -> list[int]:
    """The messages of sender 1, 2, …; they never increase, and add up to the plan's."""
    if has_example(plan):
        return _sizes_around_example(plan)
    weights = [1] * plan.senders if plan.profile is Profile.UNIFORM else _harmonic(plan.senders)
    return _divide(plan.messages, 1, weights)


def _sizes_around_example(plan: SeedPlan) -> list[int]:
    """A curve that falls to 340 at sender 119 and continues from there, without a step."""
    tail = [1 + EXAMPLE_SENDER * (EXAMPLE_SIZE - 1) // rank for rank in range(EXAMPLE_SENDER + 1, plan.senders + 1)]
    spare = plan.messages - EXAMPLE_SENDER * EXAMPLE_SIZE - len(tail)
    wanted = sum(tail) - len(tail)
    if wanted > spare // 2:
        tail = [1 + (size - 1) * (spare // 2) // wanted for size in tail]
    *weights, last = _harmonic(EXAMPLE_SENDER)
    head = _divide(plan.messages - EXAMPLE_SIZE - sum(tail), EXAMPLE_SIZE, [weight - last for weight in weights])
    return [*head, EXAMPLE_SIZE, *tail]


def _harmonic(number: int) -> list[int]:
    """Zipf's weights 1/1, 1/2, 1/3, … as whole numbers, so that results are the same on every machine."""
    return [2**40 // rank for rank in range(1, number + 1)]


def _divide(total: int, least: int, weights: Sequence[int]) -> list[int]:
    """Divides `total` by weight into parts of at least `least`; the first ones get the remainder of rounding."""
    spare, whole = total - least * len(weights), sum(weights)
    sizes = [least + spare * weight // whole for weight in weights]
    rest = total - sum(sizes)
    return [size + (rank < rest) for rank, size in enumerate(sizes)]


def bursts(plan: SeedPlan) -> list[Burst]:
    """All bursts in the order of arrival; their sizes add up to the plan's messages."""
    chance = Random(plan.seed)
    campaigns = (number for number in count(1) if number not in EXAMPLE_CAMPAIGNS)
    found = list(EXAMPLE_BURSTS if has_example(plan) else ())
    # Campaigns are numbered in the order of arrival: the newest has the highest number.
    for position, sender_id, account_id, size, burst_size, in_campaign in sorted(_mailings(plan, chance)):
        campaign_id = next(campaigns) if in_campaign else 0
        mix = HELD if chance.random() < HELD_SHARE else next(mix for upto, mix in MIXES_BY_AGE if position < upto)
        # Close together in the order of arrival, but rarely adjacent.
        found += [
            Burst(position + 0.02 * chance.random(), sender_id, account_id, campaign_id, messages, mix)
            for messages in _split(size, -(-size // burst_size), chance)
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
            # Each account has one mailing; of the others, the first accounts have most, with weights as for senders.
            at = index if index < len(accounts) else int(len(accounts) * chance.random() * chance.random())
            position, in_campaign = chance.random(), chance.random() >= outside
            yield Mailing(position, sender_id, accounts[at], mailing_size, burst_size, in_campaign)


def _split(total: int, number: int, chance: Random) -> Iterator[int]:
    """Splits `total` into this many unequal sizes of at least one."""
    bounds = list(accumulate((250 + int(1500 * chance.random()) for _ in range(number)), initial=0))
    spare = total - number
    return (1 + spare * end // bounds[-1] - spare * begin // bounds[-1] for begin, end in pairwise(bounds))

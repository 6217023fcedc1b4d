"""The plan of a data set: how many messages and senders it has, and how many messages each sender has."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.errors import WrongUsage

# The sender of the example in README.md, and the number of its messages.
EXAMPLE_SENDER = 119
EXAMPLE_SIZE = 340


class Profile(StrEnum):
    """How the messages are divided among the senders."""

    PLATFORM = "platform"  # few big senders, many small
    SINGLE = "single"  # one sender has all messages
    UNIFORM = "uniform"  # all senders have the same number, to within one message


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """One data set: equal plans give equal rows, whatever the server's version and settings.

    Up to 10^9 messages: above, the arithmetic of sql/seed/insert_bursts.sql leaves the range of a bigint.
    Raises WrongUsage where the numbers contradict each other.
    """

    messages: int
    senders: int
    seed: int = 1
    profile: Profile = Profile.PLATFORM

    def __post_init__(self) -> None:
        if not 1 <= self.senders <= self.messages:
            raise WrongUsage("There must be at least as many messages as senders, for each sender has some.")
        if self.profile is Profile.SINGLE and self.senders != 1:
            raise WrongUsage("The profile single has exactly 1 sender.")


def default_senders(messages: int, profile: Profile) -> int:
    """1,000 senders, or fewer where that leaves them fewer than ten messages each on average."""
    return 1 if profile is Profile.SINGLE else min(1000, max(1, messages // 10))


def has_example(plan: SeedPlan) -> bool:
    """Whether sender 119 has the documented example: in the profile `platform`, where 118 senders can be bigger."""
    needed = EXAMPLE_SENDER * (EXAMPLE_SIZE - 1) + plan.senders
    return plan.profile is Profile.PLATFORM and plan.senders >= EXAMPLE_SENDER and plan.messages >= needed


def sender_sizes(plan: SeedPlan) -> list[int]:
    """The messages of sender 1, 2, …; they never increase, and add up to the plan's."""
    if has_example(plan):
        return _sizes_around_example(plan)
    weights = [1] * plan.senders if plan.profile is Profile.UNIFORM else _harmonic(range(1, plan.senders + 1))
    return _divide(plan.messages, 1, weights)


def _sizes_around_example(plan: SeedPlan) -> list[int]:
    """A curve that falls to 340 at sender 119 and continues from there, without a step on either side."""
    tail = [1 + EXAMPLE_SENDER * (EXAMPLE_SIZE - 1) // rank for rank in range(EXAMPLE_SENDER + 1, plan.senders + 1)]
    spare = plan.messages - EXAMPLE_SENDER * EXAMPLE_SIZE - len(tail)
    wanted = sum(tail) - len(tail)
    if wanted > spare // 2:
        tail = [1 + (size - 1) * (spare // 2) // wanted for size in tail]
    *weights, last = _harmonic(range(1, EXAMPLE_SENDER + 1))
    head = _divide(plan.messages - EXAMPLE_SIZE - sum(tail), EXAMPLE_SIZE, [weight - last for weight in weights])
    return [*head, EXAMPLE_SIZE, *tail]


def _harmonic(ranks: Sequence[int]) -> list[int]:
    """Zipf's weights 1/1, 1/2, 1/3, … as whole numbers, so that shares are the same on every machine."""
    return [2**40 // rank for rank in ranks]


def _divide(total: int, least: int, weights: Sequence[int]) -> list[int]:
    """Divides `total` by weight, at least `least` each; the first ones get what rounding leaves."""
    spare, whole = total - least * len(weights), sum(weights)
    sizes = [least + spare * weight // whole for weight in weights]
    rest = total - sum(sizes)
    return [size + (rank < rest) for rank, size in enumerate(sizes)]

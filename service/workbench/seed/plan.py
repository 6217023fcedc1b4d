"""What is to be made: how many messages of how many senders, of what kind, and how many each sender has."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.errors import WrongUsage

# The sender of the documented example (service/workbench/seed/README.md) and its 340 messages.
EXAMPLE_SENDER = 119
EXAMPLE_SIZE = 340


class Profile(StrEnum):
    """How the messages are shared out among the senders."""

    PLATFORM = "platform"  # few big senders, many small
    SINGLE = "single"  # one sender holds everything
    UNIFORM = "uniform"  # all the same, to within one message


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """One data set: equal plans give equal rows, whatever the server's version and settings.

    Up to 10^9 messages: above, the arithmetic of sql/seed/insert_bursts.sql would leave the range of a bigint.
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
    """1,000 senders, or fewer where that would leave them fewer than ten messages each on average."""
    return 1 if profile is Profile.SINGLE else min(1000, max(1, messages // 10))


def sender_sizes(plan: SeedPlan) -> list[int]:
    """The messages of sender 1, 2, …; never increasing, and they add up to the plan's."""
    if has_example(plan):
        return _sizes_around_example(plan)
    weights = [1] * plan.senders if plan.profile is Profile.UNIFORM else _harmonic(range(1, plan.senders + 1))
    return _shared_out(plan.messages, 1, weights)


def has_example(plan: SeedPlan) -> bool:
    """Whether sender 119 holds the documented example.

    It does in the profile `platform`, where the 118 bigger senders can have no fewer and the smaller ones one each.
    """
    needed = EXAMPLE_SENDER * (EXAMPLE_SIZE - 1) + plan.senders
    return plan.profile is Profile.PLATFORM and plan.senders >= EXAMPLE_SENDER and plan.messages >= needed


def _sizes_around_example(plan: SeedPlan) -> list[int]:
    """A curve that falls to 340 at sender 119 and goes on falling from there: no step on either side."""
    tail = [1 + EXAMPLE_SENDER * (EXAMPLE_SIZE - 1) // n for n in range(EXAMPLE_SENDER + 1, plan.senders + 1)]
    spare = plan.messages - EXAMPLE_SENDER * EXAMPLE_SIZE - len(tail)
    wanted = sum(tail) - len(tail)
    if wanted > spare // 2:
        tail = [1 + (size - 1) * (spare // 2) // wanted for size in tail]
    last = _harmonic([EXAMPLE_SENDER])[0]
    weights = [weight - last for weight in _harmonic(range(1, EXAMPLE_SENDER))]
    head = _shared_out(plan.messages - EXAMPLE_SIZE - sum(tail), EXAMPLE_SIZE, weights)
    return [*head, EXAMPLE_SIZE, *tail]


def _harmonic(ranks: Sequence[int]) -> list[int]:
    """Zipf's weights 1/1, 1/2, 1/3, … as whole numbers, so that shares come out the same everywhere."""
    return [2**40 // rank for rank in ranks]


def _shared_out(total: int, least: int, weights: Sequence[int]) -> list[int]:
    """`total` by weight, `least` for each at first; what rounding leaves goes to the first."""
    spare, whole = total - least * len(weights), sum(weights)
    sizes = [least + spare * weight // whole for weight in weights]
    for rank in range(total - sum(sizes)):
        sizes[rank] += 1
    return sizes

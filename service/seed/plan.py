"""What is to be made: how many messages of how many senders, and of what kind."""

from dataclasses import dataclass
from enum import StrEnum

from service.errors import CommandError

# Above this, the arithmetic of sql/seed/insert_bursts.sql would leave the range of a bigint.
MAX_MESSAGES = 1_000_000_000
MAX_SENDERS = 1_000_000
MAX_SEED = 2**31 - 1


class Profile(StrEnum):
    """How the messages are shared out among the senders."""

    PLATFORM = "platform"  # few big senders, many small
    SINGLE = "single"  # one sender holds everything
    UNIFORM = "uniform"  # all the same, to within one message


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """One data set: equal plans give equal rows, whatever the server's version and settings.

    Raises CommandError naming the value that is out of range.
    """

    messages: int
    senders: int
    seed: int = 1
    profile: Profile = Profile.PLATFORM

    def __post_init__(self) -> None:
        _require("messages", self.messages, 1, MAX_MESSAGES)
        _require("senders", self.senders, 1, MAX_SENDERS)
        _require("seed", self.seed, 0, MAX_SEED)
        if self.senders > self.messages:
            raise CommandError("There must be at least as many messages as senders, for each sender has some.")
        if self.profile is Profile.SINGLE and self.senders != 1:
            raise CommandError("The profile single has exactly 1 sender.")


def default_senders(messages: int, profile: Profile) -> int:
    """1,000 senders, or fewer where that would leave them fewer than ten messages each on average."""
    return 1 if profile is Profile.SINGLE else min(1000, max(1, messages // 10))


def _require(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise CommandError(f"The option {name} must be a whole number from {lowest:,} to {highest:,}.")

"""Bursts as the parameters of sql/seed/insert_bursts.sql, in portions that show progress."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from service.seed.plan import SeedPlan
from service.seed.traffic import Burst

# The moment at which every data set stands still. Fixed, so that its times are the same whenever it is made.
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
# A queue runs once a minute, and no retry waits for more than two hours or so.
DUE_ATS = [AS_OF + timedelta(minutes=minute) for minute in range(1, 129)]
# A draw of sql/seed/insert_bursts.sql is a whole number below this.
DRAWS = 2**36
# The oldest message has waited this long; what older ones there were has expired.
SPAN_US = 5 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Portion:
    """Some bursts, the first of which begins behind `done` messages."""

    done: int
    bursts: Sequence[Burst]

    @property
    def messages(self) -> int:
        return sum(burst.size for burst in self.bursts)


def portions(bursts: Sequence[Burst], portion_messages: int) -> Iterator[Portion]:
    """All bursts in order, cut where a portion has reached its size; a burst is never cut."""
    done, begin, size = 0, 0, 0
    for end, burst in enumerate(bursts, 1):
        size += burst.size
        if size >= portion_messages or end == len(bursts):
            yield Portion(done, bursts[begin:end])
            done, begin, size = done + size, end, 0


def parameters(plan: SeedPlan, portion: Portion) -> dict[str, Any]:
    """One array for each column of the bursts, in the order of arrival."""
    columns: dict[str, list[Any]] = {name: [] for name in ("first_ids", "created_ats")}
    done = portion.done
    for burst in portion.bursts:
        columns["first_ids"].append(done + 1)
        columns["created_ats"].append(AS_OF - timedelta(microseconds=_age_us(done, plan.messages)))
        done += burst.size
    return columns | {
        # Odd, and another for every seed.
        "salt": (2 * plan.seed * 1_640_531_527 + 1) % 2**32,
        "as_of": AS_OF,
        "due_ats": DUE_ATS,
        "sizes": [burst.size for burst in portion.bursts],
        "sender_ids": [burst.sender_id for burst in portion.bursts],
        "account_ids": [burst.account_id for burst in portion.bursts],
        "campaign_ids": [burst.campaign_id for burst in portion.bursts],
        "upto_news": [_below(burst.mix.new) for burst in portion.bursts],
        "upto_procs": [_below(burst.mix.new + burst.mix.proc) for burst in portion.bursts],
        "upto_retries": [_below(burst.mix.new + burst.mix.proc + burst.mix.retry) for burst in portion.bursts],
        "attempts": [burst.mix.attempts for burst in portion.bursts],
    }


def _below(percent: int) -> int:
    """The draw that so many percent of all draws stay below."""
    return percent * DRAWS // 100


def _age_us(done: int, messages: int) -> int:
    """How long the message behind `done` others has waited: of the older ones, fewer are left."""
    return SPAN_US * (messages - done) ** 2 // messages**2

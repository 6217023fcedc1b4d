"""How many messages each sender has: exact, the biggest first, never none."""

from collections.abc import Sequence

from service.seed.plan import Profile, SeedPlan

# The sender of the documented example (docs: service/seed/README.md) and its 340 messages.
EXAMPLE_SENDER = 119
EXAMPLE_SIZE = 340


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

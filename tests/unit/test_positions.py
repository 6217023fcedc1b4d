"""How far behind its primary a replica may be, told by where the primary's log stood and when."""

from typing import Any, cast

from service.db import Database, Positions
from service.errors import Unavailable


class Primary:
    """Each answer takes a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.position = 100
        self.is_there = True

    async def fetch(self, *asked: Any) -> list[dict[str, int]]:
        self.now += 1
        if not self.is_there:
            raise Unavailable()
        return [{"position": self.position}]


def positions_of(primary: Primary) -> Positions:
    return Positions(cast(Database, primary), lambda: primary.now)


async def test_the_lag_goes_back_to_before_the_newest_position_that_was_replayed_was_asked_for() -> None:
    primary = Primary()
    positions = positions_of(primary)
    for primary.position in (100, 200, 300):
        await positions.note()
    primary.now = 10
    assert [positions.lag_seconds(replayed) for replayed in (99, 100, 199, 200, 300, 999)] == [None, 10, 10, 9, 8, 8]


async def test_while_the_primary_writes_nothing_its_position_stays_young() -> None:
    primary = Primary()
    positions = positions_of(primary)
    for _ in range(3):
        await positions.note()
    assert positions.lag_seconds(100) == 1


async def test_while_the_primary_is_out_of_reach_the_lag_grows() -> None:
    primary = Primary()
    positions = positions_of(primary)
    await positions.note()
    primary.is_there = False
    for waited in (2, 3, 4):
        try:
            await positions.note()
        except Unavailable:
            assert positions.lag_seconds(100) == waited


async def test_before_anything_was_noted_nothing_is_known() -> None:
    assert positions_of(Primary()).lag_seconds(2**62) is None

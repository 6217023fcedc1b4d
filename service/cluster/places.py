"""Where the shards of a distributed queue are, as the coordinator has confirmed it."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from service.db import Database, load_statement

Found = TypeVar("Found")
Address: TypeAlias = tuple[str, int]

WORD = 0xFFFFFFFF
# A former primary that lives on after a failover does not know of it, so its address is not used for longer.
TRUSTED_SECONDS = 2.0
# Under steady load the next look-up starts at this age, in the background.
REFRESH_SECONDS = 1.0


class Place(NamedTuple):
    """The shard of a sender, and the node that has it."""

    shard: int
    address: Address


class _Known(Generic[Found]):
    """What a look-up has found, and when that look-up began. Those who wait share one."""

    def __init__(self, nothing: Found, look_up: Callable[[], Awaitable[Found]]) -> None:
        self.found, self.as_of = nothing, -float("inf")
        self._look_up = look_up
        self._task: asyncio.Task[None] | None = None

    @property
    def age(self) -> float:
        return time.monotonic() - self.as_of

    def start(self) -> "asyncio.Task[None]":
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            # Its error is for those who wait for it; there may be none.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._task

    async def _run(self) -> None:
        began_at = time.monotonic()
        self.found, self.as_of = await self._look_up(), began_at


class Places:
    """The shards by the ranges of hashes that are theirs, each with the number of its node's group; the nodes by that.

    A failover changes only the address of a group, and the former primary does not notice it. So addresses are
    confirmed once a second, and shards are read when a node reports that it does not have one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._nodes = _Known[dict[int, Address]]({}, self._read_nodes)
        self._shards = _Known[tuple[list[int], list[tuple[int, int]]]](([], []), self._read_shards)

    @property
    def addresses(self) -> list[Address]:
        return list(self._nodes.found.values())

    def find(self, sender_id: int) -> Place | None:
        """None where no node has the shard, as far as it is known."""
        least_hashes, shards = self._shards.found
        if not shards:
            return None
        shard, group = shards[bisect_right(least_hashes, hash_of(sender_id)) - 1]
        address = self._nodes.found.get(group)
        return address and Place(shard, address)

    def shards(self) -> dict[Address | None, list[int]]:
        """All shards, by the node that has them; under None those that no node has, as far as it is known."""
        by_address: dict[Address | None, list[int]] = {}
        for shard, group in self._shards.found[1]:
            by_address.setdefault(self._nodes.found.get(group), []).append(shard)
        return by_address

    async def confirm(self, moved_at: float = -float("inf")) -> None:
        """Returns when the addresses are those of at most `TRUSTED_SECONDS` ago, and all is known as after `moved_at`.

        Raises Unavailable or TimedOut where the coordinator does not answer.
        """
        if self._nodes.age > REFRESH_SECONDS:
            self._nodes.start()
        while self._nodes.age > TRUSTED_SECONDS or self._nodes.as_of <= moved_at:
            await asyncio.shield(self._nodes.start())
        while self._shards.as_of <= moved_at:
            await asyncio.shield(self._shards.start())

    async def _read_nodes(self) -> dict[int, Address]:
        rows = await self._database.fetch(load_statement("queries/citus/nodes"))
        return {row["node_group"]: (row["host"], row["port"]) for row in rows}

    async def _read_shards(self) -> tuple[list[int], list[tuple[int, int]]]:
        rows = await self._database.fetch(load_statement("queries/citus/shards"))
        return [row["least_hash"] for row in rows], [(row["shard"], row["node_group"]) for row in rows]


def hash_of(sender_id: int) -> int:
    """hashint8() of PostgreSQL, by which Citus places a sender: src/backend/access/hash/hashfunc.c."""
    high = sender_id >> 32 & WORD
    word = (sender_id & WORD) ^ (high if sender_id >= 0 else high ^ WORD)
    # hash_bytes_uint32() of src/common/hashfn.c.
    b = c = 0x9E3779B9 + 4 + 3923095 & WORD
    a = b + word & WORD
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - (b << bits | b >> 32 - bits) & WORD
        a, b, c = b, c, a
    return b - (b >> 31 << 32)

"""The nodes of the shards of a distributed queue, as read from the coordinator."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from service.db import Database, load_statement

Found = TypeVar("Found")
Address: TypeAlias = tuple[str, int]

WORD = 0xFFFFFFFF
# After a failover, a former primary may still run and accept statements, so an address is used at most this long.
TRUSTED_SECONDS = 2.0
# Under steady load, the next look-up starts in the background when the last one has this age.
REFRESH_SECONDS = 1.0


class Place(NamedTuple):
    """The shard of a sender, and the node that has it."""

    shard: int
    address: Address


class _Known(Generic[Found]):
    """The result of the last look-up, and the time at which it began. All waiters share one look-up."""

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
            # Waiters receive its error. If there are none, asyncio must not report it as never retrieved.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._task

    async def _run(self) -> None:
        began_at = time.monotonic()
        self.found, self.as_of = await self._look_up(), began_at


class Places:
    """The shards by their ranges of hashes, each with the group of its node, and the addresses of the nodes by group.

    A failover changes only the address of a group, and the former primary reports no error. So addresses are confirmed
    once a second. Shards are read again after a node has reported that it does not have a shard.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._nodes = _Known[dict[int, Address]]({}, self._read_nodes)
        self._shards = _Known[tuple[list[int], list[tuple[int, int]]]](([], []), self._read_shards)

    @property
    def addresses(self) -> list[Address]:
        return list(self._nodes.found.values())

    def find(self, sender_id: int) -> Place | None:
        """The place of a sender by the last look-up; None if no node has the shard."""
        least_hashes, shards = self._shards.found
        if not shards:
            return None
        shard, group = shards[bisect_right(least_hashes, hash_of(sender_id)) - 1]
        address = self._nodes.found.get(group)
        return address and Place(shard, address)

    def shards(self) -> dict[Address | None, list[int]]:
        """All shards by their node, by the last look-up. The shards that no node has are under None."""
        by_address: dict[Address | None, list[int]] = {}
        for shard, group in self._shards.found[1]:
            by_address.setdefault(self._nodes.found.get(group), []).append(shard)
        return by_address

    async def confirm(self, moved_at: float = -float("inf")) -> None:
        """Returns when the addresses are at most `TRUSTED_SECONDS` old, and all was read after `moved_at`.

        Raises Unavailable or TimedOut if the coordinator does not respond.
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
    """hashint8() of PostgreSQL, which Citus uses to place a sender: src/backend/access/hash/hashfunc.c."""
    high = sender_id >> 32 & WORD
    word = (sender_id & WORD) ^ (high if sender_id >= 0 else high ^ WORD)
    # hash_bytes_uint32() of src/common/hashfn.c.
    b = c = 0x9E3779B9 + 4 + 3923095 & WORD
    a = b + word & WORD
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - (b << bits | b >> 32 - bits) & WORD
        a, b, c = b, c, a
    return b - (b >> 31 << 32)

"""Counts that were copied to another cluster, where their transaction ids have no meaning."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from service.errors import Unavailable
from service.model import StatsQuery
from tests.conftest import TestDatabase, drop_database, url_of
from tests.counters.clock import Clock
from tests.counters.conftest import Connect
from tests.counters.observing import answer, drift, fold, row_count
from tests.counters.programs import program

INSERT = (
    "INSERT INTO messages (sender_id, campaign_id, recipient) SELECT 1, n % 3, 'x' FROM generate_series(1, $1) AS n"
)


async def total(connection: Any) -> int:
    (row,) = await answer(connection, StatsQuery(1))
    return row.total


@pytest.fixture
async def folded(connect: Connect) -> Any:
    """A hot sender: counters in two epochs, a watermark, pending deltas."""
    connection = await connect()
    for _ in range(3):
        await connection.execute(INSERT, 10)
        await fold(connection, mark_every=0.001, is_compacting=True)
    await connection.execute(INSERT, 10)
    return connection


@pytest.mark.parametrize("ahead", [-1, 10**6, 10**13])
async def test_a_watermark_that_another_transaction_has_written_is_not_trusted(folded: Any, ahead: int) -> None:
    """The transaction ids of the cluster are far below or above those of the dumped one."""
    await folded.execute(
        "CREATE TEMPORARY TABLE dumped AS SELECT sender_id, (watermark::text::bigint + $1)::text::xid8 AS watermark,"
        f" running, epoch, (written_by::text::bigint + {ahead})::text::xid8 AS written_by, compacted_at"
        " FROM queuestats.watermarks"
        .replace("$1", str(ahead))
    )  # fmt: skip
    await folded.execute("DELETE FROM queuestats.watermarks; INSERT INTO queuestats.watermarks SELECT * FROM dumped")
    assert await total(folded) == 40
    assert await drift(folded) == []

    for _ in range(3):
        await folded.execute(INSERT, 10)
        await fold(folded, 2, 0.001, is_compacting=True)
        assert await drift(folded) == []
    while (await fold(folded, mark_every=0.001, is_compacting=True))["is_more"]:
        pass
    assert await total(folded) == 70
    assert await row_count(folded, "queuestats.deltas") == 0


async def test_pending_deltas_of_a_cluster_that_is_far_ahead_are_read_and_folded(folded: Any) -> None:
    await folded.execute("UPDATE queuestats.deltas SET xid = '9000000000000'")
    await fold(folded, 1, 0.001)
    assert await drift(folded) == []
    for _ in range(3):
        await folded.execute(INSERT, 10)
        await fold(folded, mark_every=0.001, is_compacting=True)
        assert await drift(folded) == []

    assert await total(folded) == 70
    assert await row_count(folded, "queuestats.deltas") == 0


async def test_a_watermark_of_a_future_transaction_with_equal_lower_32_bits_is_not_trusted(
    folded: Any,
) -> None:
    await folded.execute(
        "UPDATE queuestats.watermarks SET watermark = '9000000000000',"
        " written_by = ((pg_current_xact_id()::text::bigint & 4294967295) + (1::bigint << 40))::text::xid8"
    )
    assert await folded.fetchval("SELECT bool_and(xmin = written_by::xid) FROM queuestats.watermarks")
    assert await folded.fetchval("SELECT count(*) FROM queuestats.trusted_watermarks WHERE watermark > '0'") == 0
    assert await total(folded) == 40
    assert await drift(folded) == []


def copy(source: str, target: str) -> None:
    dumped = subprocess.run([program("pg_dump"), source], capture_output=True, check=True).stdout
    # Owners and settings that another version does not have are skipped.
    subprocess.run([program("psql"), "--no-psqlrc", "--quiet", target], input=dumped, capture_output=True, check=True)


@pytest.fixture
async def restored(database: TestDatabase, server_url: str, folded: Any) -> AsyncIterator[Any]:
    """Another database with the output of pg_dump for the first one."""
    name = f"queuestats_restored_{uuid.uuid4().hex[:12]}"
    await folded.execute(f"CREATE DATABASE {name}")
    other = url_of(server_url, name)
    await asyncio.to_thread(copy, database.owner_url, other)
    connection = await asyncpg.connect(other)
    yield connection
    await connection.close()
    await drop_database(server_url, name)


async def test_a_restored_dump_is_recounted_before_it_is_trusted(restored: Any) -> None:
    with pytest.raises(Unavailable, match="not counted"):
        await total(restored)
    await restored.execute("UPDATE queuestats.counters SET new = new + 1")
    assert await restored.fetchval("SELECT queuestats.recount_if_needed()")
    assert await total(restored) == 40
    assert await drift(restored) == []
    (current,) = await Clock(restored, datetime.now(UTC)).history(1)
    assert current["new"] == 40


async def test_the_counts_of_a_restored_dump_are_exact_and_remain_exact(restored: Any) -> None:
    await restored.execute("SELECT queuestats.remember_proof()")
    assert await total(restored) == 40
    assert await drift(restored) == []
    assert await restored.fetchval("SELECT count(*) FROM queuestats.trusted_watermarks WHERE watermark > '0'") == 0

    for _ in range(3):
        await restored.execute(INSERT, 10)
        await restored.execute("UPDATE messages SET status = 'hold' WHERE id % 5 = 0")
        await fold(restored, 2, 0.001, is_compacting=True)
        assert await drift(restored) == []
    assert await total(restored) == 70

"""Large folds: epochs are compacted in parts, and the size of folds adapts to a slow database."""

import pytest

from service.cluster import Node
from service.counters.folding import LEAST_MAX_DELTAS, MAX_DELTAS, Folder
from service.errors import TimedOut
from tests.conftest import TestDatabase, open_pool
from tests.counters.conftest import Connect
from tests.counters.observing import compact, drift, fold, row_count

INSERT = (
    "INSERT INTO messages (sender_id, account_id, campaign_id, recipient)"
    " SELECT $1, n % 3, n, 'x' FROM generate_series(1, $2) AS n"
)
ALWAYS = 0.001
MAX = 5
CURRENT = "queuestats.counters JOIN queuestats.watermarks USING (sender_id, epoch) WHERE sender_id = 1"
BLOCKED = "LOCK TABLE queuestats.counters IN EXCLUSIVE MODE"


async def test_a_large_epoch_is_compacted_in_parts_during_writes(connect: Connect) -> None:
    folder, writer = await connect(), await connect()
    await fold(folder, mark_every=ALWAYS)
    for _ in range(2):  # the second one fills an epoch
        await writer.execute(INSERT, 1, 20)
        await fold(folder, mark_every=ALWAYS)
    assert await row_count(folder, CURRENT) > 4 * MAX

    epoch = await folder.fetchval("SELECT epoch FROM queuestats.watermarks WHERE sender_id = 1")
    parts = 0
    while (held := await row_count(folder, CURRENT)) > 2 * MAX:
        await writer.execute("UPDATE messages SET status = 'hold' WHERE campaign_id = $1", 1 + parts % 20)
        pending = await row_count(folder, "queuestats.deltas")
        assert (await compact(folder, 2 * MAX))["is_more"]
        assert held - 1 - 2 * MAX <= await row_count(folder, CURRENT) < held
        assert await row_count(folder, "queuestats.deltas") == pending
        assert await drift(folder) == []
        await fold(folder, MAX, 10**9)
        assert await drift(folder) == []
        parts += 1
    assert parts > 2
    assert await folder.fetchval("SELECT epoch FROM queuestats.watermarks WHERE sender_id = 1") == epoch

    await compact(folder, 2 * MAX)
    assert await folder.fetchval("SELECT epoch FROM queuestats.watermarks WHERE sender_id = 1") == epoch + 1
    assert await row_count(folder, "queuestats.counters WHERE sender_id = 1 AND epoch > 0") == 0
    assert await drift(folder) == []


async def test_a_compact_moves_epochs_up_to_its_limit_and_reports_the_rest(connect: Connect) -> None:
    connection = await connect()
    for _ in range(2):
        for sender_id in (1, 2, 3):
            await connection.execute(INSERT, sender_id, 1)
        await fold(connection, mark_every=ALWAYS)
    compacted = (
        "queuestats.counters JOIN queuestats.watermarks USING (sender_id)"
        " WHERE counters.epoch = 0 AND watermarks.epoch = 2"
    )
    each = await row_count(connection, "queuestats.counters WHERE sender_id = 1 AND epoch = 1")

    seen = []
    for _ in range(3):
        found = await compact(connection, each)
        seen.append((await row_count(connection, compacted) // each, found["is_more"]))
        assert await drift(connection) == []
    assert seen == [(1, True), (2, True), (3, False)]


async def test_a_fold_that_takes_too_long_is_repeated_with_a_lower_limit_which_rises_again(
    database: TestDatabase, connect: Connect
) -> None:
    blocker = await connect()
    await blocker.execute(INSERT, 1, 500)
    async with open_pool(database.service_url, request_time_limit_ms=1000) as service:
        folder = Folder(Node(service))
        async with blocker.transaction():
            await blocker.execute(BLOCKED)
            assert await folder.fold() == (0, True)
            assert folder.max_deltas == MAX_DELTAS // 2
            folder.max_deltas = LEAST_MAX_DELTAS
            with pytest.raises(TimedOut):
                await folder.fold()
        assert await folder.fold_all() == 500
        assert LEAST_MAX_DELTAS < folder.max_deltas < MAX_DELTAS
    assert await drift(blocker) == []

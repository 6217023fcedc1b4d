"""A queue that a former release distributed, with a schema of counters for each shard."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
import msgspec

from service.cluster.distribute import bring_up_nodes
from service.control.actor import Actor
from service.control.jobs import Control
from service.errors import Unavailable
from service.model import Action, ControlRequest, StatsQuery
from service.queue.stats import Statistics
from service.schema import migrate
from service.settings import Settings
from tests.citus.conftest import SHARDS, Distributed
from tests.citus.test_citus import INSERT, differences, serving, totals, truth, until, writers
from tests.conftest import open_pool
from tests.releases.checkouts import release

SENDER = 7
WITHOUT_PARENT = (
    "SELECT count(*) FROM queuestats_local.shards WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = relation)"
)
FORMER = "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^queuestats_(node|[0-9]+)$'"


async def test_it_moves_over_under_writers_and_each_answer_is_right(unmigrated: Distributed, tmp_path: Path) -> None:
    former = partial(
        release("shards", tmp_path).run,
        QUEUESTATS_DATABASE_URL=unmigrated.service_url,
        QUEUESTATS_ADMIN_DATABASE_URL=unmigrated.owner_url,
    )
    former("migrate")
    former("migrate", "--distribute", "--shards", str(SHARDS))
    await unmigrated.run(INSERT.format(300))
    assert await unmigrated.run(FORMER, 1) == 1 + SHARDS / 2

    await migrate(unmigrated.owner_url, unmigrated.service_url)
    writer = await asyncpg.connect(unmigrated.owner_url)
    transaction = writer.transaction()
    await transaction.start()
    # Until it ends, its shard gets no triggers.
    await writer.execute(f"INSERT INTO messages (sender_id, recipient) VALUES ({SENDER}, 'x')")
    moving_over = asyncio.create_task(bring_up_nodes(unmigrated.owner_url, unmigrated.service_url, lambda what: None))

    async def waits() -> bool:
        # The schema is there in the transaction that makes it.
        made = [await unmigrated.run("SELECT to_regclass('queuestats_local.shards')", node) for node in (1, 2)]
        return all(made) and [*await unmigrated.unproved(1), *await unmigrated.unproved(2)] == ["unattached"]

    await until(waits)
    async with open_pool(unmigrated.service_url) as service:
        statistics = Statistics(service, Settings(database_url=unmigrated.service_url))
        for sender in (SENDER, SENDER + 1):
            assert (await statistics.run(StatsQuery(sender))).result.rows[0].total == 10
            (row,) = msgspec.json.decode(await asyncio.to_thread(former, "stats", "--sender", str(sender), "--json"))
            assert row["total"] == 10
    assert not moving_over.done()
    async with writers(unmigrated):
        await transaction.commit()
        await writer.close()
        await moving_over
        for node in range(3):
            assert await unmigrated.run(FORMER, node) == 0
            assert await unmigrated.run(WITHOUT_PARENT, node) == 0
    assert await unmigrated.run(f"SELECT count(*) FROM messages WHERE sender_id = {SENDER} AND recipient = 'x'") > 0
    async with serving(unmigrated) as service:
        assert await totals(service) == await truth(unmigrated)
        # Its shards have their parent now.
        control = Control(service, service, 1000)
        held = partial(control.carry_out, ControlRequest(Action.HOLD, StatsQuery(SENDER)), Actor("token", "x"), "")

        async def can_be_held() -> bool:
            with suppress(Unavailable):
                return bool((await held()).hold_id)
            return False

        await until(can_be_held)
    assert await differences(unmigrated) == []

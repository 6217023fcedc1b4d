"""Holds, releases and purges of a queue that is distributed: on the node of the shard, and with it when it moves."""

from service.control.actor import Actor
from service.control.jobs import Control, Job
from service.db import Database
from service.model import Action, ControlRequest, StatsQuery
from tests.citus.conftest import Distributed
from tests.citus.test_citus import INSERT, SENDERS, differences, serving

ACTOR = Actor("token", "tests")
SENDER = 7


def control_of(service: Database) -> Control:
    return Control(service, service, 100_000)


async def carry_out(service: Database, action: Action, query: StatsQuery, **more: object) -> Job:
    request = ControlRequest(action, query, "a reason", **more)  # type: ignore[arg-type]
    return await control_of(service).carry_out(request, ACTOR, "request 1")


async def by_status(database: Distributed, sender_id: int = SENDER) -> dict[str, int]:
    rows = await database.run(
        "SELECT jsonb_object_agg(status, n) FROM (SELECT status, count(*) AS n FROM messages"
        f" WHERE sender_id = {sender_id} GROUP BY status) AS counted"
    )
    import json

    return json.loads(rows) if rows else {}


async def test_a_hold_and_a_release_change_the_messages_of_their_sender(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    async with serving(distributed) as service:
        held = await carry_out(service, Action.HOLD, StatsQuery(SENDER))
        assert held.changed == 10
        assert await by_status(distributed) == {"hold": 10}
        await distributed.run(f"INSERT INTO messages (sender_id, recipient) VALUES ({SENDER}, 'x')")
        assert await by_status(distributed) == {"hold": 11}
        assert [row["messages"] for row in await control_of(service).holds(SENDER)] == [11]
        released = await carry_out(service, Action.RELEASE, StatsQuery(SENDER))
        assert released.changed == 11
        assert await by_status(distributed) == {"new": 11}
        assert await by_status(distributed, SENDER + 1) == {"new": 10}
    assert await differences(distributed) == []

"""The values that a release writes to an adopted table."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.control.actor import Actor
from service.control.jobs import Control
from service.model import Action, ControlRequest, StatsQuery
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase, open_pool
from tests.db.adoption import adopt, differences

STORED = {"new": "available", "retry": "retryable", "hold": "paused"}

ACTOR = Actor("token", "test")


@pytest.mark.parametrize(
    ("type_", "before"),
    [
        ("text", "SELECT"),
        ("job_state", "CREATE TYPE job_state AS ENUM ('scheduled', 'available', 'retryable', 'paused')"),
        ("job_state", "CREATE DOMAIN job_state AS char(12)"),
        ("varchar(9)", "SELECT"),
    ],
)
@pytest.mark.parametrize("is_partitioned", [False, True])
async def test_a_release_restores_exactly_the_stored_value(
    empty_database: TestDatabase, admin: Any, type_: str, before: str, is_partitioned: bool
) -> None:
    """Three stored values count as new: scheduled, available, and NULL."""
    await admin.execute(before)
    partitioned = " PARTITION BY HASH (id); CREATE TABLE j PARTITION OF jobs FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    await admin.execute(f"CREATE TABLE jobs (id bigint PRIMARY KEY, state {type_})" + partitioned * is_partitioned)
    status = (
        "case when state is null or state in ('scheduled', 'available') then 'new'"
        " when state = 'retryable' then 'retry' else 'hold' end"
    )
    mapping = QueueMapping(table="jobs", sender="1", status=status, status_column="state", stored=STORED)
    await adopt(empty_database, mapping)
    arrived = "INSERT INTO jobs VALUES ($1, 'scheduled'), ($1 + 1, 'available'), ($1 + 2, NULL), ($1 + 3, 'retryable')"

    async def stored() -> list[str | None]:
        return [row[0] for row in await admin.fetch("SELECT rtrim(state::text) FROM jobs ORDER BY id")]

    at_first = ["scheduled", "available", None, "retryable"]
    await admin.execute(arrived, 1)
    service = open_pool(empty_database.service_url, pool_size=2)
    async with service:
        control = Control(service, service, 1000)
        await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(1)), ACTOR, "1")
        await admin.execute(arrived, 5)
        assert await stored() == ["paused"] * 8
        # A second hold of the same messages, and held messages that the platform changes.
        await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(1, campaign_id=0)), ACTOR, "2")
        await admin.execute("UPDATE jobs SET state = 'scheduled' WHERE id = 8")
        assert await stored() == ["paused"] * 8
        await control.carry_out(ControlRequest(Action.RELEASE, StatsQuery(1)), ACTOR, "3")
        assert await stored() == [*at_first, *at_first[:3], "scheduled"]
        # Held by the previous release, which stored only the status.
        await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(1), expires_in_seconds=3600), ACTOR, "4")
        await admin.execute("UPDATE queuestats.held_messages SET stored_status = NULL WHERE id < 5")
        await admin.execute("UPDATE queuestats.holds SET expires_at = now()")
        await admin.fetchval("SELECT queuestats.expire_holds()")
        while await admin.fetchval("SELECT count(*) FROM queuestats.jobs WHERE finished_at IS NULL"):
            await admin.fetch("SELECT queuestats.step_job()")
        assert await stored() == ["available", "available", "available", "retryable", *at_first[:3], "scheduled"]
    assert await differences(empty_database) == []


@pytest.mark.parametrize("style", ["SQL, DMY", "Postgres, MDY", "German"])
async def test_a_restored_time_does_not_depend_on_the_time_format_of_the_writer(
    empty_database: TestDatabase, admin: Any, style: str
) -> None:
    """The date 05/03 and the zone IST depend on settings."""
    await admin.execute("CREATE TABLE jobs (id bigint PRIMARY KEY, run_at timestamptz)")
    status = "CASE WHEN run_at = 'infinity' THEN 'hold' ELSE 'new' END"
    stored = {"new": "2000-01-01 00:00:00+00", "hold": "infinity"}
    mapping = QueueMapping(table="jobs", sender="1", status=status, status_column="run_at", stored=stored)
    await adopt(empty_database, mapping)
    run_at = datetime(2031, 3, 5, 10, tzinfo=UTC)
    service = open_pool(empty_database.service_url, pool_size=2)
    async with service:
        control = Control(service, service, 1000)
        await control.carry_out(ControlRequest(Action.HOLD, StatsQuery(1)), ACTOR, "1")
        await admin.execute(f"SET datestyle = '{style}'; SET timezone = 'Asia/Kolkata'")
        await admin.execute("INSERT INTO jobs VALUES (1, $1)", run_at)
        assert await admin.fetchval("SELECT run_at = 'infinity' FROM jobs")
        await control.carry_out(ControlRequest(Action.RELEASE, StatsQuery(1)), ACTOR, "2")
    assert await admin.fetchval("SELECT run_at FROM jobs") == run_at

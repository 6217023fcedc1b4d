"""If an adopted table no longer matches its mapping, writers continue, and every view reports it until the repair."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from service.counters.verify import find_differences
from service.errors import Unavailable
from service.model import StatsQuery
from service.queue.stats import fetch_report
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase, open_pool
from tests.db.adoption import adopt
from tests.health.test_conditions import Views, look

OUTBOX = """
    CREATE SCHEMA mail;
    CREATE TYPE mail.state AS ENUM ('queued', 'sending', 'sent');
    CREATE TABLE mail.outbox (
      id bigserial PRIMARY KEY, sender_ref bigint DEFAULT 1, recipient text DEFAULT 'x@example.com',
      state mail.state DEFAULT 'queued'
    );
    INSERT INTO mail.outbox DEFAULT VALUES
"""
PROVIDER = """
    CREATE FUNCTION mail.provider(recipient text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT split_part(recipient, '@', 2) $$
"""
MAPPING = QueueMapping(
    table="mail.outbox",
    sender="sender_ref",
    isp="mail.provider(recipient)",
    status="CASE WHEN state = 'queued' THEN 'new' WHEN state = 'sending' THEN 'proc' END",
    where="state <> 'sent'",
)
NOTHING = Views(stats=False, ready=False, metrics=set(), doctor=set(), check=set())
UNCOUNTABLE = {"uncountable"}
CHANGES = {
    "a column is renamed": (
        "ALTER TABLE mail.outbox RENAME sender_ref TO customer",
        "ALTER TABLE mail.outbox RENAME customer TO sender_ref",
    ),
    "a column is dropped": (
        "ALTER TABLE mail.outbox DROP recipient",
        "ALTER TABLE mail.outbox ADD recipient text DEFAULT 'x@example.com'",
    ),
    "a function is dropped": ("DROP FUNCTION mail.provider", PROVIDER),
    "a value is renamed": (
        "ALTER TYPE mail.state RENAME VALUE 'queued' TO 'waiting'",
        "ALTER TYPE mail.state RENAME VALUE 'waiting' TO 'queued'",
    ),
    "the table is renamed": ("ALTER TABLE mail.outbox RENAME TO sent", "ALTER TABLE mail.sent RENAME TO outbox"),
}


@pytest.fixture
async def host(empty_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the table."""
    connection = await asyncpg.connect(empty_database.owner_url)
    await connection.execute(OUTBOX + ";" + PROVIDER)
    yield connection
    await connection.close()


@pytest.fixture
async def site(empty_database: TestDatabase, host: asyncpg.Connection) -> AsyncIterator[TestDatabase]:
    """The database with its own role of the service, because all databases of a server share roles."""
    role = f"health_{uuid.uuid4().hex[:12]}"
    url = empty_database.service_url.replace("queuestats_service", role)
    site = TestDatabase(empty_database.name, empty_database.owner_url, url)
    await adopt(site, MAPPING)
    yield site
    await host.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_mapping_that_no_longer_matches_is_reported_by_every_view_until_it_matches(
    site: TestDatabase, host: asyncpg.Connection, change: str, is_written: bool
) -> None:
    breaking, repair = CHANGES[change]
    async with open_pool(site.service_url, pool_size=2) as service:
        assert await look(site, service) == NOTHING

        await host.execute(breaking)
        if is_written:
            table = "mail.sent" if "table" in change else "mail.outbox"
            await host.execute(f"INSERT INTO {table} DEFAULT VALUES")
        seen = await look(site, service)
        # Until a write, the counters are correct if the columns are the same.
        assert {seen.stats, seen.ready} == {is_written or "column" in change or "table" in change}
        assert [views & UNCOUNTABLE for views in (seen.metrics, seen.doctor, seen.check)] == [UNCOUNTABLE] * 3

        await host.execute(repair)
        # The service does the same in the background.
        await host.fetch("SELECT queuestats.recount_if_needed()")
        assert await look(site, service) == NOTHING
        assert await find_differences(host, None) == []


async def test_a_mapping_that_no_longer_matches_can_be_replaced(site: TestDatabase, host: asyncpg.Connection) -> None:
    await host.execute("ALTER TABLE mail.outbox RENAME sender_ref TO customer; INSERT INTO mail.outbox DEFAULT VALUES")
    await adopt(site, msgspec.structs.replace(MAPPING, sender="customer"))
    async with open_pool(site.service_url, pool_size=2) as service:
        assert await look(site, service) == NOTHING
    assert await find_differences(host, None) == []


async def test_a_scan_with_a_mapping_that_no_longer_matches_is_refused(
    site: TestDatabase, host: asyncpg.Connection
) -> None:
    breaking, _ = CHANGES["a value is renamed"]
    await host.execute(breaking)
    async with open_pool(site.service_url) as service:
        with pytest.raises(Unavailable, match="the mapping can't be evaluated"):
            await fetch_report(service, StatsQuery(1), is_from_messages=True)

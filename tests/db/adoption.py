"""What tests of adopted tables share."""

from typing import Any

from service.counters.verify import find_differences
from service.db import connect
from service.schema.adopt import attach, try_out
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase

# Compares without case: 'A' = 'a'. Only ICU has such collations.
NOCASE = "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
HAS_ICU = "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')"


async def adopt(database: TestDatabase, mapping: QueueMapping) -> list[str]:
    told: list[str] = []
    adopted, _ = await try_out(database.owner_url, mapping)
    await attach(database.owner_url, database.service_url, adopted, told.append)
    return told


async def differences(database: TestDatabase) -> list[Any]:
    async with connect(database.owner_url) as connection:
        return await find_differences(connection, None)

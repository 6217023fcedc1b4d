"""What tests of adopted tables share."""

from typing import Any

from service.adoption.attach import attach
from service.adoption.trial import try_out
from service.counters.verify import find_differences
from service.db import connect
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase

# Compares without case: 'A' = 'a'. Only ICU has such collations; the wheel's servers are built without it.
NOCASE = "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
# In their place: another one than the database's own, which also has a lower case of letters beyond ASCII.
OTHER_THAN_DEFAULT = "CREATE COLLATION nocase (provider = libc, locale = 'C.UTF-8')"


async def make_nocase(connection: Any) -> bool:
    """Makes the collation nocase; whether it compares without case."""
    has_icu: bool = await connection.fetchval("SELECT count(*) > 1 FROM pg_collation WHERE collprovider = 'i'")
    await connection.execute(NOCASE if has_icu else OTHER_THAN_DEFAULT)
    return has_icu


async def adopt(database: TestDatabase, mapping: QueueMapping) -> list[str]:
    told: list[str] = []
    adopted, _ = await try_out(database.owner_url, mapping)
    await attach(database.owner_url, database.service_url, adopted, told.append)
    return told


async def differences(database: TestDatabase) -> list[Any]:
    async with connect(database.owner_url) as connection:
        return await find_differences(connection, None)

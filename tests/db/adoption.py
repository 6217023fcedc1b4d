"""Functions for tests of adopted tables."""

from typing import Any

from service.adoption.attach import attach
from service.adoption.trial import try_out
from service.counters.verify import find_differences
from service.db import connect
from service.schema.mapping import QueueMapping
from tests.conftest import TestDatabase

# Compares without case: 'A' = 'a'. Only ICU has such collations, and the servers of the wheel have no ICU.
NOCASE = "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
# Used without ICU: not the collation of the database; it also has lower case for letters beyond ASCII.
OTHER_THAN_DEFAULT = "CREATE COLLATION nocase (provider = libc, locale = 'C.UTF-8')"


async def make_nocase(connection: Any) -> bool:
    """Creates the collation nocase. Returns whether it compares without case."""
    has_icu: bool = await connection.fetchval("SELECT count(*) > 1 FROM pg_collation WHERE collprovider = 'i'")
    await connection.execute(NOCASE if has_icu else OTHER_THAN_DEFAULT)
    return has_icu


async def adopt(database: TestDatabase, mapping: QueueMapping) -> list[str]:
    output: list[str] = []
    adopted, _ = await try_out(database.owner_url, mapping)
    await attach(database.owner_url, database.service_url, adopted, output.append)
    return output


async def differences(database: TestDatabase) -> list[Any]:
    async with connect(database.owner_url) as connection:
        return await find_differences(connection, None)

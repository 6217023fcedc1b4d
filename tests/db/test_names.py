"""The texts of keys of an adopted table, as a request with `names` gets them."""

from typing import Any

from service.queue.names import read_names
from tests.conftest import TestDatabase, open_pool
from tests.db.test_adopt import TENANT, adopt_outbox, put


async def test_a_key_has_the_text_of_its_first_writer(empty_database: TestDatabase, admin: Any) -> None:
    number = await adopt_outbox(empty_database, admin)
    async with open_pool(empty_database.service_url) as database:
        assert await read_names(database, [number, 119]) == {}
        await put(admin, "queued")
        assert await read_names(database, [number, 119]) == {number: TENANT}

"""A real Chromium on the operator's page, and its service."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from service.access.admin import create_token
from service.model import Scope
from tests.api.conftest import settings
from tests.api.wire import serving
from tests.conftest import PATIENCE_SECONDS, TestDatabase
from tests.oracle import Message, insert

__all__ = ["settings"]
CHROMIUM = shutil.which("chromium")
# One event loop for all tests of a process: a browser driver belongs to one loop, and takes a second to start.
in_one_loop = pytest_asyncio.fixture(loop_scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@in_one_loop
async def owner(database: TestDatabase) -> AsyncIterator[Any]:
    """A connection as the owner of the database."""
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@in_one_loop
async def url(settings: Any, owner: Any) -> AsyncIterator[str]:
    """The page of a service with the queues of two senders."""
    queue = [
        Message(119, account_id, campaign_id, isp, status)
        for account_id in (306, 307)
        for campaign_id, isp in ((4591, "Gmail"), (4914, "Yahoo"), (0, ""))
        for status in ("new", "new", "proc", "retry", "hold")
    ]
    await insert(owner, [*queue, Message(sender_id=7)])
    async with serving(settings) as address:
        yield address


@pytest.fixture
async def token(database: TestDatabase) -> str:
    return await create_token(database.owner_url, "operator", list(Scope))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests of a process, because its start takes longer than most tests."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    async with async_playwright() as playwright:
        # Otherwise Chromium would start an unused spare renderer for each test.
        flags = ["--disable-features=SpareRendererForSitePerProcess"]
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=flags, timeout=1000 * PATIENCE_SECONDS
        )
        yield launched
        await launched.close()


@in_one_loop
async def page(url: str, browser: Browser) -> AsyncIterator[Page]:
    """The opened page. Fails at the end if the console has an error."""
    # A separate profile: no cookie, no storage and no cache of another test.
    opened = await (await browser.new_context()).new_page()
    opened.set_default_timeout(60_000)
    errors: list[str] = []
    opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    await opened.goto(url)
    yield opened
    await opened.context.close()
    # Chromium writes refused requests to the console.
    refused = [f"status of {code}" for code in (400, 401, 403, 409, 429, 503)]
    assert [error for error in errors if not any(each in error for each in refused)] == []

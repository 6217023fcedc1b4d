"""A real Chromium on the operator's page, and the service behind it."""

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from service.access.admin import create_token
from service.model import Scope
from tests.api.conftest import settings
from tests.api.wire import serving
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

__all__ = ["settings"]
CHROMIUM = shutil.which("chromium")


@pytest.fixture
async def url(settings: Any, owner: Any) -> AsyncIterator[str]:
    """The page of a service whose queue is two senders'."""
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


@pytest.fixture
async def page(url: str) -> AsyncIterator[Page]:
    """The page, opened. At the end there must have been no error in the console."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = await browser.new_page()
        opened.set_default_timeout(60_000)
        errors: list[str] = []
        opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        opened.on("pageerror", lambda error: errors.append(str(error)))
        await opened.goto(url)
        yield opened
        await browser.close()
        # A request that is refused is a response that Chromium itself writes down.
        refused = [f"status of {code}" for code in (400, 401, 403, 409)]
        assert [error for error in errors if not any(each in error for each in refused)] == []

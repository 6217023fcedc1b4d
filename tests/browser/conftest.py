"""A real Chromium on the operator's page, and the service behind it."""

import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from service.access.admin import create_token
from service.model import Scope
from tests.api.conftest import settings
from tests.api.wire import serving
from tests.conftest import PATIENCE_SECONDS, TestDatabase
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


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one browser for all tests of a process: its start takes longer than most of them."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    with subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{_port(profile / 'DevToolsActivePort', process)}"
        finally:
            process.terminate()


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    """The port that Chromium has chosen, once it listens there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (file.exists() and file.read_text().strip()):
        assert process.poll() is None, "chromium has ended"
        assert time.monotonic() < deadline, "chromium does not listen"
        time.sleep(0.02)
    return int(file.read_text().split()[0])


@pytest.fixture
async def page(url: str, chromium: str) -> AsyncIterator[Page]:
    """The page, opened. At the end there must have been no error in the console."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium)
        # A profile of its own: no cookie, no storage and no cache of another test.
        opened = await (await browser.new_context()).new_page()
        opened.set_default_timeout(60_000)
        errors: list[str] = []
        opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        opened.on("pageerror", lambda error: errors.append(str(error)))
        await opened.goto(url)
        yield opened
        await opened.context.close()
        # A request that is refused is a response that Chromium itself writes down.
        refused = [f"status of {code}" for code in (400, 401, 403, 409, 503)]
        assert [error for error in errors if not any(each in error for each in refused)] == []

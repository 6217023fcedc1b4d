"""The page shows the time of its data, and marks old data."""

import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.api.wire import serve_process
from tests.browser.steps import OF_SENDERS, held_back, log_in, open_sender
from tests.cli.programs import Program
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)
FIGURES = "#figures .as-of"
A_CLOCK_TIME = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
# Longer than the limit of silence of a stream, and than the time limit of a request.
SILENCE = 21_000


async def test_the_figures_have_their_time(page: Page, token: str, owner: Any) -> None:
    await open_sender(page, token)
    await expect(page.locator(FIGURES)).to_have_text(re.compile(f"^as of {A_CLOCK_TIME}$"))
    before = await page.locator(FIGURES).text_content()
    await page.wait_for_timeout(1100)
    await insert(owner, [Message()])
    await expect(page.locator("#count-total")).to_have_text("31")
    assert await page.locator(FIGURES).text_content() != before


async def test_a_sign_of_life_updates_the_time_of_unchanged_figures(
    page: Page, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.responses.HEARTBEAT_SECONDS", 0.5)
    await open_sender(page, token)
    before = await page.locator(FIGURES).text_content()
    await expect(page.locator(FIGURES)).not_to_have_text(before or "")


@pytest_asyncio.fixture(loop_scope="session")
async def served(database: TestDatabase, owner: Any) -> AsyncIterator[Program]:
    """A service in its own process."""
    await insert(owner, [Message()] * 30)
    with serve_process({"QUEUESTATS_DATABASE_URL": database.service_url}) as program:
        program.wait_until_ready()
        yield program


async def test_the_data_of_a_stopped_service_is_marked_as_old(
    served: Program, browser: Browser, token: str, owner: Any
) -> None:
    page = await (await browser.new_context()).new_page()
    await page.clock.install()
    await page.goto(served.url)
    await open_sender(page, token)
    served.process.send_signal(signal.SIGSTOP)
    try:
        # The page replaces the silent stream by a new one.
        async with page.expect_request("**/stream/**"):
            await page.clock.fast_forward(SILENCE)
        await expect(page.locator(FIGURES)).to_have_text(re.compile(f"^no data since {A_CLOCK_TIME}$"))
        await expect(page.locator("#figures")).to_have_class(re.compile(r"\bold\b"))
        await expect(page.locator("#split")).to_have_class(re.compile(r"\bold\b"))
        await expect(page.get_by_role("alert")).to_contain_text("The service does not respond in time")
        await expect(page).to_have_title("No data: Sender 119 · queuestats")
        await insert(owner, [Message()])
    finally:
        served.process.send_signal(signal.SIGCONT)
    await expect(page.locator("#count-total")).to_have_text("31")
    await expect(page.locator(".old")).to_have_count(0)
    await expect(page).to_have_title("Sender 119 · queuestats")
    await page.context.close()


async def test_an_outage_of_the_database_marks_the_figures_as_old_at_once(
    page: Page, token: str, database: TestDatabase, server_url: str
) -> None:
    await open_sender(page, token)
    admin = await asyncpg.connect(server_url)
    try:
        await admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
        await admin.fetch(end, database.name)
        await expect(page.locator(FIGURES)).to_have_text(re.compile("^no data since "))
        await expect(page.get_by_role("alert")).to_contain_text("Service unavailable")
        await expect(page.locator("#count-total")).to_have_text("30")
        await admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
        await expect(page.locator(FIGURES)).to_have_text(re.compile("^as of "))
        await expect(page.get_by_role("alert")).to_be_hidden()
    finally:
        await admin.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
        await admin.close()


async def test_a_step_without_a_record_is_a_gap(page: Page) -> None:
    """Checks the points for uPlot, which draws no line to or from a null."""
    rows = [{"at": at, "left": at} for at in (60, 120, 300, 360)]
    points = await page.evaluate("async (rows) => (await import('/page/chart.js')).pointsOf(rows, 60, ['left'])", rows)
    assert points == [[60, 120, 180, 300, 360], [60, 120, None, 300, 360]]


async def test_a_request_has_a_time_limit(page: Page, token: str) -> None:
    await page.clock.install()
    await log_in(page, token)
    await expect(page.locator("#senders .as-of")).to_have_text(re.compile("^as of "))
    async with held_back(page, "**/report/", OF_SENDERS) as responses:
        await responses.arrived.wait()
        await page.clock.fast_forward(SILENCE)
        await expect(page.locator("#senders .as-of")).to_have_text(re.compile("^no data since "))
        await expect(page.get_by_role("alert")).to_contain_text("The service does not respond in time")
        responses.lets_new_ones_pass = True
        await expect(page.locator("#senders .as-of")).to_have_text(re.compile("^as of "))


async def test_a_revoked_token_is_logged_out_with_a_reason(page: Page, token: str, owner: Any) -> None:
    await open_sender(page, token)
    await owner.execute("UPDATE queuestats.tokens SET revoked_at = now()")
    await expect(page.get_by_label("API token")).to_be_focused()
    await expect(page.get_by_role("alert")).to_have_text(
        "You are logged out. API token required: this one is unknown or revoked."
        " After a restart, a demo prints a new token."
    )
    assert await page.evaluate("location.hash") == "#/sender/119"

"""The first view: the oldest messages and the largest senders, also for limited tokens."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect

from service.access.admin import create_token
from service.model import Scope
from service.schema.mapping import QueueMapping
from tests.api.wire import serving
from tests.browser.steps import go_to, log_in, sender_link, split_by
from tests.conftest import TestDatabase
from tests.db.adoption import adopt

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)
OLDEST = "#oldest tbody tr"


async def age(owner: Any, sender_id: int, status: str, **ago: float) -> None:
    """Sets the time of arrival of the sender's messages of a status."""
    await owner.execute(
        "UPDATE messages SET created_at = $1 WHERE sender_id = $2 AND status = $3::text::message_status",
        datetime.now(UTC) - timedelta(**ago),
        sender_id,
        status,
    )


async def test_the_sender_with_the_oldest_messages_comes_first(page: Page, token: str, owner: Any) -> None:
    await age(owner, 7, "new", hours=3)
    await age(owner, 119, "retry", hours=1)
    await log_in(page, token)
    await expect(page.locator(OLDEST).nth(0).locator("td").nth(0)).to_have_text("7")
    await expect(page.locator(OLDEST).nth(0).locator("td").nth(1)).to_contain_text("3 h 0 min")
    await expect(page.locator(OLDEST).nth(1).locator("td").nth(4)).to_contain_text("1 h 0 min")
    await page.get_by_role("button", name="oldest retry").click()
    await expect(page.locator(OLDEST)).to_have_count(1)
    await expect(page.get_by_role("columnheader", name="oldest retry")).to_have_attribute("aria-sort", "descending")
    await page.locator("#oldest").get_by_role("link", name="119", exact=True).click()
    await expect(page.get_by_role("heading", name="Sender 119", exact=True)).to_be_visible()
    await expect(page.locator("#oldest-retry")).to_contain_text("oldest 1 h 0 min")


async def test_the_title_names_the_view(page: Page, token: str) -> None:
    await expect(page).to_have_title("Log in · queuestats")
    await log_in(page, token)
    await expect(page).to_have_title("Overview · queuestats")
    await go_to(page, 7)
    await expect(page).to_have_title("Sender 7 · queuestats")
    await page.go_back()
    await expect(page).to_have_title("Overview · queuestats")


async def test_an_address_shows_its_view_after_the_log_in(page: Page, url: str, token: str) -> None:
    await page.goto(f"{url}/#/sender/119?chart=week")
    await page.reload()
    await log_in(page, token)
    await expect(page.locator("#count-total")).to_have_text("30")
    await expect(page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="24 hours").click()
    assert await page.evaluate("location.hash") == "#/sender/119?chart=day"


async def test_a_token_that_is_limited_to_accounts_shows_its_accounts(
    page: Page, database: TestDatabase, owner: Any
) -> None:
    limited = await create_token(database.owner_url, "agency", list(Scope), sender_ids=[119], account_ids=[306])
    await log_in(page, limited)
    await expect(page.locator("#limited")).to_have_text(
        "This token is limited to accounts. All numbers are for these accounts."
    )
    await expect(page.locator("#all-total")).to_have_text("15")
    await expect(page.locator("#oldest")).to_be_hidden()
    await expect(page.locator("#senders .range")).to_have_text("1\N{EN DASH}1 of 1 sender")
    await sender_link(page, 119).click()
    await expect(page.locator("#count-total")).to_have_text("15")
    rows = page.locator("#split tbody tr")
    await expect(rows).to_have_count(3)
    await split_by(page, "account")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("306")
    await expect(page.locator("#limited")).to_contain_text("All numbers are for these accounts.")
    await expect(page.locator("#recorded")).to_contain_text("the history is the sender's")
    await expect(page.get_by_role("button", name="7 days")).to_be_hidden()
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_token_that_is_limited_to_another_sender_shows_nothing_of_this_one(
    page: Page, database: TestDatabase
) -> None:
    await log_in(page, await create_token(database.owner_url, "of sender 7", sender_ids=[7]))
    await expect(page.locator("#senders tbody tr")).to_have_count(1)
    await go_to(page, 119)
    await expect(page.get_by_role("alert")).to_have_text("No access: this token is limited to other senders.")
    await expect(page.locator("#split .as-of")).to_have_text("no data")
    await expect(page.locator("#limited")).to_be_empty()
    await expect(page.locator("#count-total")).to_have_text("\N{EN DASH}")


async def test_the_error_for_a_token_without_the_scope_stats_names_the_scope(
    page: Page, database: TestDatabase
) -> None:
    await log_in(page, await create_token(database.owner_url, "prometheus", [Scope.METRICS]))
    await expect(page.locator("#limited")).to_contain_text("No access: this token lacks the scope stats.")
    await expect(page.locator("#limited")).to_contain_text("queuestats token create NAME --scope stats")
    await expect(page.locator("#overview")).to_be_hidden()
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page).to_have_title("Overview · queuestats")


async def test_a_warning_is_shown_with_its_advice(page: Page, token: str, owner: Any) -> None:
    await owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_deleted")
    await log_in(page, token)
    await expect(page.locator("#conditions")).to_contain_text("Run queuestats migrate")


async def test_errors_are_recognized_if_every_http_status_is_200(
    browser: Browser, settings: Any, token: str, owner: Any
) -> None:
    async with serving(replace(settings, error_http_status="200")) as url:
        page = await (await browser.new_context()).new_page()
        await page.goto(url)
        await log_in(page, token)
        await expect(page.locator("#senders")).to_contain_text("No messages.")
        await owner.execute("UPDATE queuestats.tokens SET revoked_at = now()")
        await expect(page.get_by_role("alert")).to_contain_text("You are logged out. API token required")
        await page.context.close()


async def test_an_adopted_queue_has_names_and_may_have_no_ages(
    browser: Browser, settings: Any, empty_database: TestDatabase
) -> None:
    connection = await asyncpg.connect(empty_database.owner_url)
    await connection.execute("CREATE TABLE queue (number bigint PRIMARY KEY, who text, state text)")
    await adopt(empty_database, QueueMapping(table="queue", sender="who", status="state"))
    await connection.execute("INSERT INTO queue SELECT number, 'דואר', 'new' FROM generate_series(1, 30) AS number")
    await connection.close()
    adopted = replace(settings, database_url=empty_database.service_url, admin_database_url=empty_database.owner_url)
    async with serving(adopted) as url:
        page = await (await browser.new_context()).new_page()
        await page.goto(url)
        await log_in(page, await create_token(empty_database.owner_url, "operator", list(Scope)))
        await expect(page.locator("#senders tbody tr")).to_contain_text("30")
        await expect(page.locator("#oldest")).to_be_hidden()
        await expect(page.get_by_role("alert")).to_be_hidden()
        # By a name that no sender has, and by the beginning of this name.
        for text, row in (("x", "No messages."), ("דו", "30")):
            await page.get_by_label("Search senders").fill(text)
            await expect(page.locator("#senders tbody tr")).to_contain_text(row)
        await page.locator("#senders").get_by_role("link", name="דואר").click()
        await expect(page.locator("#count-total")).to_have_text("30")
        # Its writing direction does not affect the following text.
        await expect(page.locator("h1 bdi")).to_have_text("דואר")
        await expect(page).to_have_title(re.compile(r"^Sender דואר \(\d+\) · queuestats$"))
        await expect(page.locator("#oldest-total")).to_be_empty()
        await expect(page.locator("#window")).to_contain_text("There are no rates")
        await expect(page.get_by_role("alert")).to_be_hidden()
        await page.context.close()

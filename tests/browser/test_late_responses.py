"""A response belongs to the view of its request. The page ignores it in another view."""

import asyncio
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, Request, expect

from service.access.admin import create_token
from tests.api.wire import STATS
from tests.browser.steps import OF_SENDERS, go_to, held_back, log_in, open_sender, shown, watch
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)
NO_FIGURE = "\N{EN DASH}"
SENDERS = "#senders table tbody tr"
ROWS_OF_A_SENDER = "#split tbody tr"


async def test_the_page_of_a_sender_has_no_data_of_the_former_one(page: Page, token: str) -> None:
    await open_sender(page, token)
    await page.get_by_role("button", name="Count …", exact=True).click()
    await page.get_by_role("button", name="Confirm hold").click()
    await expect(page.locator("#holds tbody tr")).to_have_count(1)
    await expect(page.locator("#jobs")).to_contain_text("hold")
    async with held_back(page, "**/queue/**") as responses:
        await go_to(page, 7)
        await responses.arrived.wait()
        for figure in ("new", "proc", "retry", "hold", "total"):
            await expect(page.locator(f"#count-{figure}")).to_have_text(NO_FIGURE)
        await expect(page.locator(ROWS_OF_A_SENDER)).to_have_count(0)
        await expect(page.locator("#control")).to_be_hidden()
        for place in ("#holds tbody", "#jobs tbody", "#outcome"):
            await expect(page.locator(place)).to_be_empty()
    await expect(page.locator("#count-total")).to_have_text("1")
    await expect(page.locator("#holds")).to_contain_text("No hold is active.")


@pytest.mark.parametrize("path", ["stream", "report", "jobs", "holds"])
async def test_late_responses_for_the_former_sender_are_ignored(page: Page, url: str, token: str, path: str) -> None:
    body = {"token": token, "id": 119, "isp": "Gmail", "reason": "complaints"}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        assert (await client.post(STATS.replace("stats", "hold"), json=body)).status_code == 200
    await log_in(page, token)
    await expect(page.locator(SENDERS)).to_have_count(2)
    async with held_back(page, f"**/{path}/**") as former:
        await go_to(page, 119)
        await former.arrived.wait()
        former.lets_new_ones_pass = True
        await go_to(page, 7)
        await expect(page.locator("#count-total")).to_have_text("1")
        await expect(page.locator("#control")).to_be_visible()
        await watch(page)
        await former.release()
    # An ISP, a reason and a token from the tables of the former sender, and its title.
    for text in ("Gmail", "complaints", "operator", "Sender 119"):
        assert text not in await shown(page)
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_the_stream_of_the_former_sender_ends(page: Page, token: str) -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()

    def note(request: Request) -> None:
        if "/stream/" in request.url:
            ended.put_nowait(request.url)

    page.on("requestfailed", note)
    await open_sender(page, token)
    await go_to(page, 7)
    assert "id=119&" in await ended.get()
    await page.get_by_role("button", name="Log out").click()
    assert "id=7&" in await ended.get()


async def test_responses_of_the_former_token_are_ignored_after_a_log_out(
    page: Page, token: str, database: TestDatabase
) -> None:
    limited = await create_token(database.owner_url, "of sender 7", sender_ids=[7])
    await log_in(page, token)
    await expect(page.locator(SENDERS)).to_have_count(2)
    async with held_back(page, "**/report/", OF_SENDERS) as responses:
        await responses.arrived.wait()
        await page.get_by_role("button", name="Log out").click()
        await log_in(page, limited)
        await expect(page.get_by_role("heading", name="Senders", exact=True)).to_be_visible()
        # The next token has none of the senders of the former one.
        await watch(page)
        await responses.release()
    await expect(page.locator(SENDERS)).to_have_count(1)
    assert "119" not in await shown(page)


async def test_a_token_is_used_after_the_service_has_accepted_it(page: Page) -> None:
    async with held_back(page, "**/conditions") as checked:
        await log_in(page, "wrong")
        await checked.arrived.wait()
        await watch(page)
        await page.evaluate("location.hash = '#/sender/7'")
        await checked.release()
    await expect(page.get_by_label("API token")).to_be_visible()
    await expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    assert "Sender 7" not in await shown(page)


async def test_the_later_of_two_tokens_is_logged_in(page: Page, token: str, database: TestDatabase) -> None:
    limited = await create_token(database.owner_url, "of sender 7", sender_ids=[7])
    async with held_back(page, "**/conditions") as checked:
        await log_in(page, token)
        await checked.arrived.wait()
        checked.lets_new_ones_pass = True
        await log_in(page, limited)
        await expect(page.locator(SENDERS)).to_have_count(1)
        await checked.release()
    async with page.expect_response("**/report/"):
        pass
    await expect(page.locator(SENDERS)).to_have_count(1)


async def test_late_rows_in_a_former_order_are_ignored(page: Page, token: str, owner: Any) -> None:
    await insert(owner, [Message(8, status="retry")] * 9)
    await log_in(page, token)
    await expect(page.locator(SENDERS)).to_have_count(3)
    async with held_back(page, "**/report/", OF_SENDERS) as by_total:
        await by_total.arrived.wait()
        by_total.lets_new_ones_pass = True
        await page.locator("#senders [data-status=retry]").click()
        await expect(page.locator(SENDERS)).to_have_count(2)
        await watch(page, "#senders")
        await by_total.release()
    # The sender without retries.
    assert "119" in await shown(page)
    assert "\n7\t" not in await shown(page)

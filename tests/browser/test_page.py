"""The actions of an operator on the page."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from service.access.admin import create_token
from service.http import page as page_module
from tests.browser.steps import log_in, open_sender, sender_link, split_by
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow
STATIC = Path(page_module.__file__).parent / "static"
MOST_BYTES = 200_000
expect.set_options(timeout=60_000)


async def findings(page: Page) -> list[str]:
    results = await Axe().run(page)
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in results.response["violations"]]


async def test_the_largest_senders_are_shown_after_the_log_in(page: Page, token: str) -> None:
    assert await findings(page) == []
    await log_in(page, token)
    await expect(page.locator("#senders table tbody tr")).to_have_count(2)
    await expect(page.locator("#senders table tbody tr").first).to_contain_text("119")
    assert token not in page.url
    assert await findings(page) == []
    await page.locator("#senders [data-status=hold]").click()
    await expect(page.locator("#senders table tbody tr")).to_have_count(1)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("API token")).to_be_focused()


async def test_the_error_for_a_wrong_token_is_visible_at_the_form(page: Page) -> None:
    await log_in(page, "wrong")
    await expect(page.get_by_role("alert")).to_have_text("API token required: this one is unknown or revoked.")
    await expect(page.get_by_label("API token")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_sender_has_figures_tables_and_a_chart_in_both_schemes(page: Page, token: str, scheme: Any) -> None:
    await page.emulate_media(color_scheme=scheme)
    await open_sender(page, token)
    counts = [await page.locator(f"#count-{each}").text_content() for each in ("new", "proc", "retry", "hold")]
    assert counts == ["12", "6", "6", "6"]
    for keys, rows in ((["isp"], 3), (["campaign"], 3), (["account"], 2), (["account", "campaign", "isp"], 6)):
        await split_by(page, *keys)
        await expect(page.locator("#split tbody tr")).to_have_count(rows)
    await expect(page.locator("#counts canvas")).to_be_visible()
    await expect(page.locator("#control")).to_be_visible()
    assert await findings(page) == []


async def test_a_change_in_the_database_is_shown_without_a_reload(page: Page, token: str, owner: Any) -> None:
    await open_sender(page, token)
    await insert(owner, [Message(isp="Gmail")] * 3)
    await expect(page.locator("#count-total")).to_have_text("33")


async def test_it_is_usable_with_only_the_keyboard(page: Page, token: str) -> None:
    await log_in(page, token)
    await expect(sender_link(page, 119)).to_be_visible()
    for _ in range(30):
        if await page.evaluate("document.activeElement.textContent") == "119":
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Sender 119")).to_be_visible()
    await page.locator("#split table").get_by_role("button", name="ISP").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#split tbody tr").nth(1)).to_contain_text("Gmail")


async def test_the_focus_stays_in_its_row_while_the_counts_and_the_order_change(
    page: Page, token: str, owner: Any
) -> None:
    await log_in(page, token)
    first, second = (page.locator("#senders table tbody tr").nth(index) for index in range(2))
    await expect(second).to_contain_text("7")
    await sender_link(page, 119).focus()
    await insert(owner, [Message(isp="Gmail")])
    await expect(first).to_contain_text("31")
    await expect(sender_link(page, 119)).to_be_focused()
    await insert(owner, [Message(sender_id=7)] * 40)
    await expect(first).to_contain_text("41")
    await expect(sender_link(page, 119)).to_be_focused()


@pytest.mark.parametrize("width", [360, 640], ids=["phone", "zoomed to 200 %"])
async def test_nothing_is_wider_than_a_small_screen(page: Page, token: str, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 740})
    await log_in(page, token)
    await expect(page.locator("#senders tbody tr")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await findings(page) == []
    await page.get_by_role("button", name="Log out").click()
    await open_sender(page, token)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await findings(page) == []


async def test_a_hold_is_counted_confirmed_and_listed(page: Page, token: str) -> None:
    await open_sender(page, token)
    await page.locator("#isp").fill("Gmail")
    await page.get_by_label("Reason").fill("complaints")
    await page.get_by_role("button", name="Count …", exact=True).click()
    await expect(page.locator("#hit")).to_have_text("hold of sender 119, ISP Gmail: 4 new, 2 retry.")
    await expect(page.locator("#count-hold")).to_have_text("6")
    assert await findings(page) == []
    await page.get_by_role("button", name="Confirm hold of 6 messages", exact=True).click()
    await expect(page.locator("#count-hold")).to_have_text("12")
    await expect(page.locator("#outcome")).to_contain_text("hold of sender 119, ISP Gmail: 6 messages, job")
    await expect(page.locator("#holds")).to_contain_text("complaints")
    await expect(page.locator("#jobs")).to_contain_text("hold")


async def test_a_token_without_the_scope_control_has_no_controls(page: Page, database: TestDatabase) -> None:
    await open_sender(page, await create_token(database.owner_url, "reader"))
    await expect(page.locator("#split tbody tr")).to_have_count(3)
    await expect(page.locator("#control")).to_be_hidden()
    await expect(page.get_by_role("button", name="Act …")).to_have_count(0)
    await expect(page.locator("#audit")).to_be_hidden()


async def test_the_page_is_small_and_loads_only_files_of_the_service(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        page = await client.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        names = sorted(path.name for path in STATIC.iterdir() if path.suffix != ".LICENSE")
        parts = [await client.get(f"/page/{name}") for name in names]
        assert {each.status_code for each in (page, *parts)} == {200}
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        assert "https://" not in page.text
        assert sum(len(each.content) for each in (page, *parts)) < MOST_BYTES
        assert (await client.get("/page/uPlot.LICENSE")).status_code == 200
        assert (await client.get("/page/../app.py")).status_code == 404
        assert (await client.post("/page/app.js")).headers["allow"] == "GET, HEAD"
        again = await client.get(
            "/page/app.js", headers={"If-None-Match": parts[names.index("app.js")].headers["etag"]}
        )
        assert again.status_code == 304


async def test_errors_of_the_database_are_shown(page: Page, token: str, owner: Any) -> None:
    await owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_deleted")
    await log_in(page, token)
    await expect(page.locator("#conditions")).to_contain_text("triggers: a trigger that counts messages is disabled.")
    assert await findings(page) == []

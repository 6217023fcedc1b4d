"""The view of one sender: figures, history, and all kinds of keys."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.steps import go_to, log_in, open_sender, sender_link, split_by
from tests.counters.clock import FOLD_SECONDS, Clock
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)
HOSTILE = [
    *("long-isp." * 28, "x" * 255, "بريد مصر", "📮 Emoji Mail 🇩🇪", "<b>bold</b><script>alert(1)</script>"),
    *("tab\there", " leading", "\u202eevil", "null", "without ISP", ""),
]
LARGE = 9_007_199_254_740_993


async def test_rates_are_shown_for_a_minute_and_the_chart_at_once(page: Page, token: str, owner: Any) -> None:
    clock = Clock(owner, datetime.now(UTC) - timedelta(minutes=7))
    await clock.begin()
    await clock.run(240)
    await insert(owner, [Message()] * 20)
    await owner.execute("DELETE FROM messages WHERE status = 'proc'")
    await clock.run(180)
    await log_in(page, token)
    await go_to(page, 119)
    await expect(page.locator("#count-total")).to_have_text("44")
    await expect(page.locator("#arrived")).to_have_text("4")
    await expect(page.locator("#left")).to_have_text("1.2")
    await expect(page.locator("#outlook-label")).to_have_text("grows by")
    await expect(page.locator("#outlook")).to_have_text("2.8 per minute")
    await expect(page.locator("#recorded")).to_contain_text("in steps of 1 min.")


async def test_a_queue_without_departures_shows_the_time_of_the_last_one(page: Page, token: str, owner: Any) -> None:
    clock = Clock(owner, begun := datetime.now(UTC) - timedelta(minutes=7))
    await clock.begin()
    await owner.execute("DELETE FROM messages WHERE status = 'proc'")
    await clock.run(420)
    await open_sender(page, token, total=24)
    await expect(page.locator("#outlook-label")).to_have_text("no message left since")
    # The end of the minute in which the fold recorded that they left.
    since = (begun + timedelta(seconds=FOLD_SECONDS)).replace(second=0) + timedelta(minutes=1)
    await expect(page.locator("#outlook")).to_contain_text(f"{since.astimezone():%H:%M:%S}")
    await page.get_by_role("link", name="queuestats").click()
    await expect(page.locator("#oldest")).to_contain_text("none since ")
    moving = {"left": 0, "last_left": "2026-03-01T12:05:00Z", "window": {"to": "2026-03-01T12:05:00Z"}}
    script = "async (row) => (await import('/page/words.js')).stillSince(row)"
    assert await page.evaluate(script, moving) is None


async def test_no_name_of_an_isp_changes_the_page(page: Page, token: str, owner: Any) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await insert(owner, [Message(8, isp=isp) for isp in HOSTILE for _ in range(len(HOSTILE))])
    await page.set_viewport_size({"width": 1280, "height": 900})
    await log_in(page, token)
    await go_to(page, 8)
    await expect(page.locator("#split tbody tr")).to_have_count(len(HOSTILE))
    assert {*await page.locator("#split td:first-child bdi").all_text_contents()} == {*HOSTILE} - {""}
    await expect(page.locator("#split td:first-child i")).to_have_text("without ISP")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 1280
    # All columns are visible beside the longest name.
    assert (
        await page.evaluate(
            "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('#split .scroll'))"
        )
        == 0
    )
    assert dialogs == []


async def test_ids_beyond_the_numbers_of_javascript_are_exact(page: Page, token: str, owner: Any) -> None:
    await insert(owner, [Message(LARGE, account_id=LARGE + 2, campaign_id=2**63 - 1)] * 40)
    await log_in(page, token)
    await sender_link(page, LARGE).click()
    await expect(page.get_by_role("heading", name=f"Sender {LARGE}", exact=True)).to_be_visible()
    await split_by(page, "account", "campaign")
    keys = page.locator("#split tbody td.text a")
    assert sorted(await keys.all_text_contents()) == [str(LARGE + 2), str(2**63 - 1)]
    await expect(page.locator("#count-total")).to_have_text("40")


async def test_a_bar_has_its_numbers_as_a_label(page: Page, token: str) -> None:
    await open_sender(page, token)
    await split_by(page, "account")
    bar = page.locator("#split").get_by_role("img", name="6 new, 3 proc, 3 retry, 3 hold")
    await expect(bar).to_have_count(2)


async def test_a_hidden_page_reads_nothing(page: Page, token: str, owner: Any) -> None:
    """A browser opens at most six connections to a service for all its pages."""
    await page.clock.install()
    await open_sender(page, token)
    hide = "Object.defineProperty(document, 'hidden', { value: $, configurable: true });"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    await page.evaluate(hide.replace("$", "true"))
    # Open requests have ended after this time.
    await page.wait_for_timeout(3000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await insert(owner, [Message()])
    await page.clock.fast_forward(30_000)
    await expect(page).to_have_title("Sender 119 · queuestats")
    await expect(page.locator("#count-total")).to_have_text("30")
    assert [url for url in requests if not url.endswith("/conditions")] == []
    await page.evaluate(hide.replace("$", "false"))
    await expect(page.locator("#count-total")).to_have_text("31")

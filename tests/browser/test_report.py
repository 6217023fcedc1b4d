"""The table of messages: the page states every omission, and an address always shows the same view."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.steps import OF_SENDERS, held_back, log_in, open_sender, sender_link, shown, split_by, watch
from tests.browser.test_page import findings
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)
SENDERS, RANGE, SPLIT = "#senders tbody tr", "#senders .range", "#split tbody tr"
TO = "\N{EN DASH}"
MANY = """
INSERT INTO messages (sender_id, account_id, isp, status, recipient)
SELECT 1000 + number, 1, 'Gmail', (CASE WHEN number % 100 = 0 THEN 'retry' ELSE 'new' END)::message_status, ''
FROM generate_series(1, 11000) AS number
"""
# A sender with many accounts of ten messages, and thirty small accounts with retries.
ACCOUNTS = """
INSERT INTO messages (sender_id, account_id, campaign_id, isp, status, recipient)
SELECT 9, account_id, account_id % 3, 'Gmail',
  (CASE WHEN account_id > 4970 THEN 'retry' ELSE 'new' END)::message_status, ''
FROM generate_series(1, 5000) AS account_id
  CROSS JOIN LATERAL generate_series(1, CASE WHEN account_id > 4970 THEN 1 ELSE 3 END)
"""


async def keys(rows: Locator) -> list[str]:
    return await rows.locator("td:first-child").all_text_contents()


async def test_eleven_thousand_senders_are_counted_paged_searched_and_filtered(
    page: Page, token: str, owner: Any
) -> None:
    await owner.execute(MANY)
    await log_in(page, token)
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}100 of 11,002 senders")
    await expect(page.locator("#all-total")).to_have_text("11,031")
    pages = [await keys(page.locator(SENDERS))]
    forward = page.get_by_role("button", name="Next")
    for first in (101, 201):
        await forward.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(RANGE)).to_have_text(f"{first}{TO}{first + 99} of 11,002 senders")
        await expect(forward).to_be_focused()
        pages.append(await keys(page.locator(SENDERS)))
    assert len({key for each in pages for key in each}) == 300
    assert await findings(page) == []
    # A reload needs the token, and shows the same page. The link to the previous page still works.
    await page.reload()
    await log_in(page, token)
    await expect(page.locator(RANGE)).to_have_text(f"201{TO}300 of 11,002 senders")
    assert await keys(page.locator(SENDERS)) == pages[2]
    await page.get_by_role("button", name="Previous").click()
    await expect(page.locator(RANGE)).to_have_text(f"101{TO}200 of 11,002 senders")
    assert await keys(page.locator(SENDERS)) == pages[1]
    await page.go_back()
    await expect(page.locator(RANGE)).to_have_text(f"201{TO}300 of 11,002 senders")
    # Another order begins with its first page. Choosing the same order again adds no step to the browser history.
    for _ in range(2):
        await page.locator("#senders table").get_by_role("button", name="sender").click()
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}100 of 11,002 senders")
    assert (await keys(page.locator(SENDERS)))[:3] == ["7", "119", "1001"]
    await page.go_back()
    await expect(page.locator(RANGE)).to_have_text(f"201{TO}300 of 11,002 senders")
    await page.go_forward()
    await page.get_by_label("Search senders").fill("1199")
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}11 of 11 senders")
    await expect(forward).to_have_attribute("aria-disabled", "true")
    await page.locator("#senders [data-status=retry]").click()
    await expect(page.locator(RANGE)).to_be_empty()
    await expect(page.locator(SENDERS)).to_have_text("No messages.")
    await page.get_by_label("Search senders").fill("")
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}100 of 111 senders")
    assert await page.evaluate("location.hash") == "#/?order=key&status=retry"


async def test_a_bookmark_shows_its_page_in_two_tabs(page: Page, url: str, token: str, owner: Any) -> None:
    await insert(owner, [Message(sender_id) for sender_id in range(1000, 1200)])
    await log_in(page, token)
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}100 of 202 senders")
    await page.locator("#senders table").get_by_role("button", name="retry").click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(RANGE)).to_have_text(f"101{TO}200 of 202 senders")
    rows = await keys(page.locator(SENDERS))
    other = await page.context.new_page()
    await other.goto(page.url)
    await log_in(other, token)
    await expect(other.locator(RANGE)).to_have_text(f"101{TO}200 of 202 senders")
    assert await keys(other.locator(SENDERS)) == rows
    # There, the previous pages are not known. The first page is.
    await expect(other.get_by_role("button", name="Previous")).to_have_attribute("aria-disabled", "true")
    await other.get_by_role("button", name="First").click()
    await expect(other.locator(RANGE)).to_have_text(f"1{TO}100 of 202 senders")


async def test_few_retries_among_five_thousand_accounts_are_found_with_every_filter(
    page: Page, token: str, owner: Any
) -> None:
    await owner.execute(ACCOUNTS)
    await log_in(page, token)
    await sender_link(page, 9).click()
    await split_by(page, "account")
    await expect(page.locator("#split .range")).to_have_text(f"1{TO}100 of 5,000 accounts")
    await page.locator("#split table").get_by_role("button", name="retry").click()
    await expect(page.locator(SPLIT).first).to_contain_text("4971")
    assert sorted(map(int, (await keys(page.locator(SPLIT)))[:30])) == [*range(4971, 5001)]
    await page.locator("#split [data-status=retry]").click()
    await expect(page.locator("#split .range")).to_have_text(f"1{TO}30 of 30 accounts")
    await split_by(page, "account", "campaign")
    await expect(page.locator("#split .range")).to_have_text(f"1{TO}30 of 30 rows")
    address = "#/sender/9?by=campaign,account&order=retry&status=retry"
    assert await page.evaluate("location.hash") == address
    # The address also has the range of the chart.
    await page.get_by_role("button", name="24 hours").click()
    assert await page.evaluate("location.hash") == f"{address}&chart=day"


async def test_messages_without_a_campaign_are_not_all_messages(page: Page, token: str) -> None:
    await open_sender(page, token)
    await split_by(page, "campaign")
    await page.locator(SPLIT).get_by_role("link", name="without campaign").click()
    chip = page.locator("#split .chip")
    await expect(chip).to_contain_text("without campaign")
    # The campaign was the only key, so the next key replaces it.
    await expect(page.locator(SPLIT)).to_have_count(1)
    await expect(page.locator(SPLIT)).to_contain_text("without ISP")
    await expect(page.locator(SPLIT).locator("td").nth(5)).to_have_text("10")
    await chip.click()
    await expect(page.locator(SPLIT)).to_have_count(3)
    await expect(page.locator("#split .scroll")).to_be_focused()
    await page.get_by_label("Key of the filter").nth(1).select_option("campaign")
    await page.locator("#split").get_by_role("button", name="Filter").click()
    await expect(page.locator("#split .range")).to_have_text(f"1{TO}1 of 1 ISP")
    await page.go_back()
    await expect(page.locator("#split .range")).to_have_text(f"1{TO}3 of 3 ISPs")
    await page.locator("#split .value").fill("4591")
    await page.locator("#split").get_by_role("button", name="Filter").click()
    await expect(page.locator("#split .chip")).to_contain_text("campaign 4591")
    await expect(page.locator(SPLIT)).to_contain_text("Gmail")


async def test_the_senders_of_an_isp_are_one_click_from_the_isps_of_all(page: Page, token: str) -> None:
    await log_in(page, token)
    await page.locator("#senders [data-key=isp]").click()
    await page.locator("#senders [data-key=sender]").click()
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}3 of 3 ISPs")
    await page.locator(SENDERS).get_by_role("link", name="Yahoo").click()
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}1 of 1 sender")
    # The view of the sender has the same filter.
    await sender_link(page, 119).click()
    await expect(page.locator("#split .chip")).to_contain_text("Yahoo")
    await expect(page.locator(SPLIT)).to_have_count(1)


async def test_back_restores_the_scroll_position_and_the_focused_link(page: Page, token: str, owner: Any) -> None:
    await insert(owner, [Message(sender_id) for sender_id in range(1000, 1200)])
    await log_in(page, token)
    await page.locator("#senders table").get_by_role("button", name="sender").click()
    await sender_link(page, 1060).focus()
    top = "document.activeElement.getBoundingClientRect().top"
    before = await page.evaluate(top)
    assert await page.evaluate("scrollY") > 300
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Sender 1060", exact=True)).to_be_focused()
    assert await page.evaluate("scrollY") == 0
    await page.go_back()
    await expect(sender_link(page, 1060)).to_be_focused()
    assert abs(await page.evaluate(top) - before) < 5
    await page.reload()
    await log_in(page, token)
    await expect(sender_link(page, 1060)).to_be_focused()
    assert abs(await page.evaluate(top) - before) < 5
    # A new number in the table changes neither.
    await insert(owner, [Message(1060)])
    await expect(page.locator(SENDERS).filter(has_text="1060").locator("td").nth(5)).to_have_text("2")
    await expect(sender_link(page, 1060)).to_be_focused()


async def test_the_sum_of_all_senders_is_a_legend_and_links_to_their_messages(page: Page, token: str) -> None:
    await log_in(page, token)
    await expect(page.locator("#all-total")).to_have_text("31")
    figures = [await page.locator(f"#all-{each}").text_content() for each in ("new", "proc", "retry", "hold")]
    assert figures == ["13", "6", "6", "6"]
    await page.locator("#totals").get_by_role("link", name="retry").click()
    await expect(page.locator(SENDERS)).to_have_count(1)
    for status in ("new", "proc", "retry", "hold"):
        colours = await page.evaluate(
            """(status) => [
              getComputedStyle(document.querySelector(`#senders th .mark.${status}`), '::before').backgroundColor,
              getComputedStyle(document.querySelector(`#senders [data-status=${status}]`), '::before').backgroundColor,
              getComputedStyle(document.querySelector(`#senders .bar .${status}`)).backgroundColor,
            ]""",
            status,
        )
        assert len({*colours}) == 1


async def test_a_report_with_too_many_counters_is_an_error_and_not_an_empty_table(
    page: Page, token: str, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.report.MOST_READ", 50)
    await insert(owner, [Message(sender_id) for sender_id in range(1000, 1200)])
    await log_in(page, token)
    await expect(page.locator("#sum")).to_contain_text(
        "The sum of all senders is not available: Incorrect request: this page"
    )
    # The largest are shown, without their number.
    await expect(page.locator(RANGE)).to_have_text(f"1{TO}100, and more")
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(RANGE)).to_have_text(f"101{TO}200, and more")
    await page.locator("#senders [data-key=isp]").click()
    await expect(page.locator("#senders .refusal")).to_contain_text("would take more than 50 counters")
    await expect(page.locator(SENDERS)).to_have_count(0)
    await expect(page.get_by_role("alert")).to_be_hidden()
    await page.locator("#senders table").get_by_role("button", name="sender").click()
    await expect(page.locator(SENDERS)).not_to_have_count(0)
    await expect(page.locator("#senders .refusal")).to_be_empty()
    # The page lists the largest accounts of one sender, as on a cluster.
    await insert(owner, [Message(9, account_id=account_id) for account_id in range(1, 121)])
    await page.evaluate("location.hash = '#/sender/9?by=account'")
    await expect(page.locator("#split .range")).to_have_text(f"1{TO}100, and others that are not shown")


async def test_a_token_with_too_many_reports_waits_as_long_as_retry_after(page: Page, token: str, owner: Any) -> None:
    refused = {"error": 429, "error_text": "Too many requests: this token has its share of open reports"}

    async def refuse(route: Route) -> None:
        await route.fulfill(status=429, headers={"Retry-After": "5"}, json=refused)

    await log_in(page, token)
    await expect(page.locator(SENDERS)).to_have_count(2)
    # With a fixed clock, no data becomes old on a slow machine.
    await page.clock.set_fixed_time(datetime.now(UTC))
    await watch(page)
    async with page.expect_response(lambda response: response.status == 429) as refusal:
        await page.route("**/report/", refuse, times=1)
    refused_at, body = time.monotonic(), (await refusal.value).request.post_data
    async with page.expect_request(lambda request: request.post_data == body):
        await insert(owner, [Message(8)])
    assert time.monotonic() - refused_at > 4
    await expect(page.locator(SENDERS)).to_have_count(3)
    for text in ("Too many requests", "no data"):
        assert text not in await shown(page)


async def test_rows_of_the_former_filter_are_not_shown_if_the_request_fails(page: Page, token: str) -> None:
    await log_in(page, token)
    await expect(page.locator(SENDERS)).to_have_count(2)

    async def away(route: Route) -> None:
        await route.fulfill(status=503, json={"error": 503, "error_text": "Service unavailable"})

    await page.route("**/report/", away)
    await page.locator("#senders [data-status=hold]").click()
    await expect(page.locator("#senders .as-of")).to_have_text(re.compile("^no data"))
    await expect(page.locator(SENDERS)).to_have_count(0)
    await page.unroute("**/report/")
    await expect(page.locator(SENDERS)).to_have_count(1)


async def test_a_late_response_for_a_former_filter_is_ignored(page: Page, token: str) -> None:
    await log_in(page, token)
    await expect(page.locator(SENDERS)).to_have_count(2)
    async with held_back(page, "**/report/", OF_SENDERS) as former:
        await former.arrived.wait()
        former.lets_new_ones_pass = True
        await page.locator("#senders [data-status=hold]").click()
        await expect(page.locator(SENDERS)).to_have_count(1)
        await former.release()
    await expect(page.locator(SENDERS)).to_have_count(1)

"""Hold, release and purge on the page: an operator confirms exactly the counted messages."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.steps import go_to, held_back, log_in, open_sender, split_by
from tests.counters.clock import Clock
from tests.oracle import Message, insert

pytestmark = pytest.mark.slow
expect.set_options(timeout=60_000)


async def count(page: Page, action: str = "purge") -> None:
    await page.get_by_label("Action").select_option(action)
    await page.get_by_role("button", name="Count …", exact=True).click()


async def count_all(page: Page, token: str) -> None:
    """Opens sender 119 and counts a purge of its whole queue, up to the confirmation."""
    await open_sender(page, token)
    await count(page)
    await expect(page.locator("#hit")).to_have_text(
        "purge of sender 119, the whole queue: 6 hold, 12 new, 6 proc, 6 retry."
    )
    await expect(page.locator("#confirm")).to_have_text("Confirm purge of 30 messages")


async def expect_disarmed(page: Page) -> None:
    await expect(page.locator("#confirm")).to_be_hidden()
    await expect(page.locator("#confirm")).to_be_empty()
    await expect(page.locator("#hit")).to_be_empty()


def effects(page: Page) -> list[Any]:
    """The bodies of requests with effects that the page sends."""
    bodies: list[Any] = []

    def note(request: Request) -> None:
        if request.url.endswith(("/hold/", "/release/", "/purge/")):
            body = json.loads(request.post_data or "")
            if "dry_run" not in body:
                bodies.append(body)

    page.on("request", note)
    return bodies


async def test_the_counted_messages_are_named_and_sent_with_their_number(page: Page, token: str) -> None:
    sent = effects(page)
    await open_sender(page, token)
    for label, value in (("Account", "306"), ("Campaign", "4914"), ("ISP", "Yahoo"), ("Reason", "complaints")):
        await page.get_by_label(label, exact=True).fill(value)
    await count(page, "hold")
    words = "sender 119, account 306, campaign 4914, ISP Yahoo"
    await expect(page.locator("#hit")).to_have_text(f"hold of {words}: 2 new, 1 retry.")
    await page.get_by_role("button", name="Confirm hold of 3 messages", exact=True).click()
    await expect(page.locator("#outcome")).to_contain_text(f"hold of {words}: 3 messages, job ")
    filter = {"id": "119", "account_id": "306", "campaign_id": "4914", "isp": "Yahoo"}
    assert sent == [{**filter, "reason": "complaints", "details": 1, "at_most": 3}]


async def test_a_filter_that_is_not_filled_in_is_left_out(page: Page, token: str) -> None:
    sent = effects(page)
    await count_all(page, token)
    await page.locator("#confirm").dblclick()
    await expect(page.locator("#outcome")).to_contain_text("purge of sender 119, the whole queue: 30 messages, job ")
    assert sent == [{"id": "119", "details": 1, "at_most": 30}]


async def test_a_queue_that_has_grown_is_counted_again_in_place(page: Page, token: str, owner: Any) -> None:
    sent = effects(page)
    await count_all(page, token)
    await insert(owner, [Message()] * 2)
    await page.locator("#confirm").click()
    await expect(page.locator("#recounted")).to_have_text(
        "Nothing was changed: more than 30 messages matched. This is a new count."
    )
    await expect(page.locator("#asked")).to_have_text("Purge 32 messages?")
    await expect(page.locator("#outcome")).to_contain_text("Conflict")
    await expect(page.locator("#count-total")).to_have_text("32")
    # The button has the limit. Twice the growth is added to the new count.
    await expect(page.locator("#margin")).to_have_text("The queue grows, so 4 more than counted are permitted.")
    await insert(owner, [Message()] * 3)
    await page.get_by_role("button", name="Confirm purge of up to 36 messages", exact=True).click()
    await expect(page.locator("#outcome")).to_contain_text("35 messages, job ")
    assert [body["at_most"] for body in sent] == [30, 36]


async def test_messages_that_arrive_within_a_minute_are_added_to_the_limit(page: Page, token: str, owner: Any) -> None:
    clock = Clock(owner, datetime.now(UTC) - timedelta(minutes=7))
    await clock.begin()
    await clock.run(240)
    await insert(owner, [Message(isp="Gmail")] * 20)
    await clock.run(180)
    sent = effects(page)
    await open_sender(page, token, total=50)
    await expect(page.locator("#arrived")).to_have_text("4")
    await count(page)
    await expect(page.get_by_role("button", name="Confirm purge of up to 54 messages", exact=True)).to_be_visible()
    await page.get_by_label("Refuse if more than").fill("50")
    await expect(page.locator("#confirm")).to_have_text("Confirm purge of 50 messages")
    await page.get_by_role("button", name="Cancel").click()
    # A filter gets the same share of the arriving messages as of the queue.
    await page.get_by_label("Account", exact=True).fill("306")
    await count(page)
    await page.get_by_role("button", name="Confirm purge of up to 17 messages", exact=True).click()
    await expect(page.locator("#outcome")).to_contain_text("15 messages, job ")
    assert [body["at_most"] for body in sent] == [17]


async def test_a_new_count_is_not_shown_after_another_action_of_the_user(page: Page, token: str, owner: Any) -> None:
    await count_all(page, token)
    await insert(owner, [Message()] * 2)
    async with held_back(page, "**/purge/") as acted:
        await page.locator("#confirm").click()
        await acted.arrived.wait()
        await page.get_by_label("Account", exact=True).fill("306")
        acted.lets_new_ones_pass = True
        await acted.release()
    await expect(page.locator("#outcome")).to_contain_text("Nothing was changed.")
    await expect_disarmed(page)


async def test_actions_are_in_the_audit_of_the_sender(page: Page, token: str) -> None:
    await open_sender(page, token)
    await expect(page.locator("#entries")).to_contain_text("No entries.")
    await page.get_by_label("ISP", exact=True).fill("Gmail")
    await page.get_by_label("Reason").fill("complaints")
    await count(page, "hold")
    await page.locator("#confirm").click()
    entry = page.locator("#entries tbody tr").last
    await expect(entry).to_contain_text("ISP Gmail")
    await expect(entry).to_contain_text("operator")
    await expect(entry).to_contain_text("complaints")


async def to_another_sender(page: Page, token: str) -> None:
    await go_to(page, 7)


async def by_the_address(page: Page, token: str) -> None:
    await page.evaluate("location.hash = '#/sender/7'")
    await expect(page.get_by_role("heading", name="Sender 7", exact=True)).to_be_visible()


async def back_and_forth(page: Page, token: str) -> None:
    await page.go_back()
    await expect(page.get_by_role("heading", name="Senders", exact=True)).to_be_visible()
    await page.go_forward()
    await expect(page.locator("#count-total")).to_have_text("30")


async def out_and_in_again(page: Page, token: str) -> None:
    await page.get_by_role("button", name="Log out").click()
    await log_in(page, token)
    await expect(page.locator("#count-total")).to_have_text("30")


async def to_another_page_and_back(page: Page, token: str) -> None:
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")


Step = Callable[[Page, str], Awaitable[None]]
# Actions that a user can do while the dialog is open.
BESIDE_THE_DIALOG = [by_the_address, back_and_forth, to_another_page_and_back]
NAVIGATIONS = [*BESIDE_THE_DIALOG, to_another_sender, out_and_in_again]


@pytest.mark.parametrize("navigate", BESIDE_THE_DIALOG)
async def test_a_navigation_cancels_the_confirmation(page: Page, token: str, navigate: Step) -> None:
    await count_all(page, token)
    await navigate(page, token)
    await expect(page.locator("#control")).to_be_visible()
    await expect_disarmed(page)


@pytest.mark.parametrize("navigate", NAVIGATIONS)
async def test_a_count_that_arrives_after_a_navigation_is_dropped(page: Page, token: str, navigate: Step) -> None:
    await open_sender(page, token)
    async with held_back(page, "**/purge/") as counted:
        await count(page)
        await counted.arrived.wait()
        await navigate(page, token)
        await counted.release()
    await expect(page.locator("#control")).to_be_visible()
    await expect_disarmed(page)


EDITS = [("#account_id", "306"), ("#campaign_id", "4914"), ("#isp", "Gmail"), ("#reason", "x"), ("#action", "release")]


async def edit(page: Page, field: str, value: str) -> None:
    await (page.locator(field).select_option(value) if field == "#action" else page.locator(field).fill(value))


async def test_a_cancel_closes_the_confirmation(page: Page, token: str) -> None:
    await count_all(page, token)
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect_disarmed(page)
    await count(page)
    await expect(page.locator("#confirm")).to_have_text("Confirm purge of 30 messages")
    await page.keyboard.press("Escape")
    await expect_disarmed(page)
    await expect(page.get_by_role("button", name="Count …")).to_be_focused()


async def test_a_count_that_arrives_after_an_edit_is_dropped(page: Page, token: str) -> None:
    await open_sender(page, token)
    for field, value in EDITS:
        async with held_back(page, "**/hold/") as counted:
            await count(page, "hold")
            await counted.arrived.wait()
            await edit(page, field, value)
            await counted.release()
        await expect_disarmed(page)


async def test_the_later_of_two_counts_is_confirmed(page: Page, token: str) -> None:
    await open_sender(page, token)
    async with held_back(page, "**/purge/") as former:
        await count(page, "purge")
        await former.arrived.wait()
        await count(page, "hold")
        confirm = page.get_by_role("button", name="Confirm hold of 18 messages", exact=True)
        await expect(confirm).to_be_visible()
        await former.release()
        await expect(confirm).to_be_visible()


async def test_a_confirmation_does_not_read_the_form_again(page: Page, token: str) -> None:
    sent = effects(page)
    await count_all(page, token)
    # A browser or an extension that fills in a form causes no event.
    await page.evaluate("document.getElementById('action').value = 'hold'")
    await page.evaluate("document.getElementById('isp').value = 'Gmail'")
    await page.locator("#confirm").click()
    await expect(page.locator("#outcome")).to_contain_text("purge of sender 119, the whole queue: 30 messages")
    assert sent == [{"id": "119", "details": 1, "at_most": 30}]


async def test_the_result_of_an_action_is_not_shown_in_another_view(page: Page, token: str) -> None:
    await count_all(page, token)
    async with held_back(page, "**/purge/") as acted:
        await page.locator("#confirm").click()
        await acted.arrived.wait()
        await go_to(page, 7)
        await acted.release()
    await expect(page.locator("#control")).to_be_visible()
    await expect(page.locator("#outcome")).to_be_empty()
    await expect(page.locator("#count-total")).to_have_text("1")


async def test_the_form_is_cleared_for_the_next_sender(page: Page, token: str) -> None:
    await open_sender(page, token)
    await page.get_by_label("Account", exact=True).fill("306")
    await count(page)
    await by_the_address(page, token)
    await expect(page.get_by_label("Account", exact=True)).to_have_value("")
    await expect(page.get_by_label("Action")).to_have_value("hold")


async def test_a_refused_count_is_shown_at_the_form_and_remains(page: Page, token: str) -> None:
    await open_sender(page, token)
    await page.get_by_label("Account", exact=True).fill("9223372036854775808")
    await count(page)
    text = "Incorrect request: account_id must be a whole number from"
    await expect(page.locator("#refused")).to_contain_text(text)
    for _ in range(2):
        async with page.expect_response("**/jobs/"):
            pass
    await expect(page.locator("#refused")).to_contain_text(text)
    await expect(page.locator("#confirm")).to_be_hidden()


async def test_a_hold_has_the_chosen_end(page: Page, token: str) -> None:
    sent = effects(page)
    await open_sender(page, token)
    await page.get_by_label("Account", exact=True).fill("306")
    await page.get_by_label("Ends after").select_option("4 hours")
    await count(page, "hold")
    await expect(page.locator("#warning")).to_contain_text("It ends after 4 hours.")
    await page.locator("#confirm").click()
    await expect(page.locator("#holds tbody")).to_contain_text("account 306")
    await expect(page.locator("#holds tbody td").nth(6)).not_to_have_text("never")
    assert sent == [{"id": "119", "account_id": "306", "expires_in": "14400", "details": 1, "at_most": 9}]


async def test_a_hold_has_its_number_its_token_and_a_button_for_its_release(page: Page, token: str) -> None:
    sent = effects(page)
    await open_sender(page, token)
    for isp in ("Gmail", "Yahoo"):
        await page.get_by_label("ISP", exact=True).fill(isp)
        await count(page, "hold")
        await page.locator("#confirm").click()
        await expect(page.locator("#outcome")).to_contain_text(f"ISP {isp}: 6 messages, job ")
    hold = page.locator("#holds tbody tr").nth(1)
    await expect(hold).to_contain_text("ISP Yahoo")
    await expect(hold.locator("td").nth(2)).to_have_text("6")
    await expect(hold.locator("td").nth(4)).to_have_text("operator")
    await hold.get_by_role("button").focus()
    # Longer than two refreshes of the table.
    for _ in range(2):
        async with page.expect_response("**/holds/"):
            pass
    await expect(hold.get_by_role("button")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#asked")).to_have_text("Release 6 messages?")
    await page.locator("#confirm").click()
    await expect(page.locator("#holds tbody tr")).to_have_count(1)
    await expect(page.locator("#holds tbody tr")).to_contain_text("ISP Gmail")
    assert sent[-1] == {"id": "119", "hold_id": sent[-1]["hold_id"], "details": 1, "at_most": 6}


async def test_an_open_job_shows_its_progress_and_the_reason_of_its_wait(page: Page, token: str, owner: Any) -> None:
    await open_sender(page, token)
    await count(page)
    async with owner.transaction():
        await owner.execute("SELECT FROM messages WHERE sender_id = 119 AND account_id = 306 FOR UPDATE")
        await page.locator("#confirm").click()
        job = page.locator("#jobs tbody tr").first
        await expect(job.get_by_role("progressbar")).to_be_visible()
        await expect(job.locator("td").nth(4)).to_contain_text("15 of 30")
        await expect(job.locator("td").nth(5)).to_contain_text("since ")
    await expect(job.locator("td").nth(3)).to_have_text("done")
    await expect(page.locator("#outcome")).to_contain_text("30 messages, job ")


async def test_a_growing_queue_can_be_held_with_a_higher_limit_in_the_dialog(
    page: Page, token: str, owner: Any
) -> None:
    sent = effects(page)
    await open_sender(page, token)
    await count(page, "hold")
    await expect(page.get_by_label("Refuse if more than")).to_have_value("18")
    await page.get_by_label("Refuse if more than").fill("20")
    await insert(owner, [Message()] * 2)
    await page.locator("#confirm").click()
    await expect(page.locator("#outcome")).to_contain_text("hold of sender 119, the whole queue: 20 messages, job ")
    assert sent == [{"id": "119", "details": 1, "at_most": 20}]


async def test_a_key_of_a_table_is_put_into_the_form(page: Page, token: str) -> None:
    await open_sender(page, token)
    await page.get_by_label("Account", exact=True).fill("306")
    rows = page.locator("#split tbody tr")
    await rows.filter(has_text="Gmail").get_by_role("button", name="Act …").click()
    await expect(page.get_by_label("Action")).to_be_focused()
    await expect(page.get_by_label("ISP", exact=True)).to_have_value("Gmail")
    await expect(page.get_by_label("Account", exact=True)).to_have_value("")
    # A hold is for all ISPs or for one ISP.
    await expect(page.locator("#split tbody button")).to_have_count(2)


async def test_all_keys_of_a_row_and_the_filter_are_put_into_the_form(page: Page, token: str) -> None:
    await open_sender(page, token)
    await page.locator("#split tbody").get_by_role("link", name="Gmail").click()
    await split_by(page, "account", "campaign")
    row = page.locator("#split tbody tr").filter(has_text="307")
    await row.get_by_role("button", name="Act …").click()
    for label, value in (("Account", "307"), ("Campaign", "4591"), ("ISP", "Gmail")):
        await expect(page.get_by_label(label, exact=True)).to_have_value(value)
    # The same key under another filter has other messages.
    await split_by(page, "account")
    await page.locator("#split .chip").click()
    await row.get_by_role("button", name="Act …").click()
    await expect(page.get_by_label("ISP", exact=True)).to_have_value("")

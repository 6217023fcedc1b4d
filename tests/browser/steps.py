"""Functions for tests of the page: the steps of an operator, and delayed responses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from playwright.async_api import Error, Locator, Page, Route, expect


def sender_link(page: Page, sender_id: int) -> Locator:
    """The link in the list of the largest senders."""
    return page.locator("#senders table").get_by_role("link", name=str(sender_id), exact=True)


async def log_in(page: Page, token: str) -> None:
    await page.get_by_label("API token").fill(token)
    await page.keyboard.press("Enter")


async def open_sender(page: Page, token: str, total: int = 30) -> None:
    """Follows the link of sender 119, and waits for its figures."""
    await log_in(page, token)
    await sender_link(page, 119).click()
    await expect(page.locator("#count-total")).to_have_text(str(total))


async def split_by(page: Page, *keys: str) -> None:
    """Selects which of account, campaign and isp are the keys of the table of messages."""
    for is_chosen in (True, False):
        for key in ("account", "campaign", "isp"):
            button = page.locator(f"#split [data-key={key}]")
            if (key in keys) is is_chosen and await button.get_attribute("aria-pressed") != str(is_chosen).lower():
                await button.click()
                await expect(button).to_have_attribute("aria-pressed", str(is_chosen).lower())


async def go_to(page: Page, sender_id: int | str) -> None:
    await page.get_by_label("Sender", exact=True).fill(str(sender_id))
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("heading", name=f"Sender {sender_id}", exact=True)).to_be_visible()


# In requests of the table of senders. The sum of all senders is also a report.
OF_SENDERS = '"by":["sender"]'


class HeldBack:
    """Requests whose responses reach the page at `release`. A request for a stream is sent at `release`."""

    def __init__(self, page: Page, text: str) -> None:
        self._page, self._text = page, text
        self._released = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.arrived = asyncio.Event()
        self.lets_new_ones_pass = False

    async def handle(self, route: Route) -> None:
        if self.lets_new_ones_pass or self._text not in (route.request.post_data or ""):
            await route.continue_()
        else:
            self._tasks.append(asyncio.create_task(self._pass_on(route)))

    async def _pass_on(self, route: Route) -> None:
        response = None if "/stream/" in route.request.url else await route.fetch()
        self.arrived.set()
        await self._released.wait()
        # The page may have aborted the request.
        with suppress(Error):
            await (route.continue_() if response is None else route.fulfill(response=response))

    async def release(self) -> None:
        """Waits until the page has all responses and has processed them."""
        self._released.set()
        await asyncio.gather(*self._tasks)
        await self._page.evaluate("fetch('healthz').then(() => new Promise((done) => setTimeout(done, 100)))")


@asynccontextmanager
async def held_back(page: Page, pattern: str, text: str = "") -> AsyncIterator[HeldBack]:
    """Delays the responses to requests with a matching address and this text in the body."""
    responses = HeldBack(page, text)
    await page.route(pattern, responses.handle)
    try:
        yield responses
    finally:
        await responses.release()
        await page.unroute(pattern)


async def watch(page: Page, part: str = "main") -> None:
    """Records every text that the page shows from now on, because a late response may be visible only for a moment."""
    await page.evaluate(
        """(part) => {
          const main = document.querySelector(part);
          window.shown = [main.innerText];
          const keep = () => window.shown.push(main.innerText);
          new MutationObserver(keep).observe(main, { childList: true, subtree: true, characterData: true });
        }""",
        part,
    )


async def shown(page: Page) -> str:
    texts: list[str] = await page.evaluate("window.shown")
    return "\n".join(texts)

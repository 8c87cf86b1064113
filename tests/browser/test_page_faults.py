"""What a person sees on the demo page while something fails, and that what they typed arrives nevertheless."""

import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import PATIENCE_MS, OpenPage
from tests.browser.demo import Pane, add_leads
from tests.stack import Stack, run_stack

BEN, RITA = "ben@demo.test", "rita@demo.test"

# Keeps what the line was, however short.
KEEP_STATES = """(line) => {
  window.states = [];
  new MutationObserver(() => states.push(line.dataset.state)).observe(line, { attributes: true });
}"""


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """Servers that a test may kill."""
    with run_stack("page-faults", gateways=1) as stack:
        yield stack


async def open_alone(page: Page, stack: Stack, email: str) -> Pane:
    """The page with one person, live."""
    await page.goto(f"{stack.api_url}/?only=left&left.person={email}&colleagues=off")
    pane = Pane(page.locator(".pane"))
    await pane.wait_live()
    await pane.element.locator(".line").evaluate(KEEP_STATES)
    return pane


def kill(stack: Stack, kind: str) -> None:
    """Kill the processes of a kind; `up` starts them anew."""
    for name, process in stack.up.processes().items():
        if name.startswith(kind):
            os.kill(process.pid, signal.SIGKILL)


def state_of(stack: Stack, id_: str) -> str:
    return stack.psql(f"SELECT status FROM leads WHERE id = '{id_}'").strip()


async def test_a_gateway_that_is_killed_shows_in_the_pill_until_it_is_back(
    open_page: OpenPage, own: Stack
) -> None:
    mine, theirs = add_leads(own, 2, "While the gateway is away")
    page = await open_page(tolerated="ERR_")
    ben = await open_alone(page, own, BEN)
    kill(own, "gateway")
    await page.wait_for_function("() => states.includes('reconnecting')")
    await ben.state_of(mine).select_option("won")
    own.psql(f"UPDATE leads SET status = 'lost' WHERE id = '{theirs}'")
    await ben.wait_live()
    await expect(ben.state_of(theirs)).to_have_value("lost")
    await expect(ben.row(mine)).to_have_class("row")
    assert state_of(own, mine) == "won"


async def test_what_is_typed_while_the_api_is_away_arrives(open_page: OpenPage, own: Stack) -> None:
    (mine,) = add_leads(own, 1, "While the API is away")
    page = await open_page(tolerated="ERR_")
    ben = await open_alone(page, own, BEN)
    kill(own, "api")
    async with page.expect_event("requestfailed"):
        await ben.state_of(mine).select_option("won")
    await expect(ben.row(mine)).to_have_class("row")
    assert state_of(own, mine) == "won"


async def test_a_tab_that_slept_while_its_gateway_died_catches_up(open_page: OpenPage, own: Stack) -> None:
    (id_,) = add_leads(own, 1, "While asleep")
    page = await open_page(tolerated="ERR_")
    ben = await open_alone(page, own, BEN)
    async with asleep(page):
        kill(own, "gateway")
        own.psql(f"UPDATE leads SET status = 'won' WHERE id = '{id_}'")
    await expect(ben.state_of(id_)).to_have_value("won")
    await ben.wait_live()
    assert "reconnecting" in await page.evaluate("states")


@contextlib.asynccontextmanager
async def asleep(page: Page) -> AsyncIterator[None]:
    """Stop the processes that run the browser's pages, as when the lid of a laptop is closed."""
    browser = page.context.browser
    assert browser is not None
    devtools = await browser.new_browser_cdp_session()
    running = (await devtools.send("SystemInfo.getProcessInfo"))["processInfo"]
    await devtools.detach()
    renderers = [process["id"] for process in running if process["type"] == "renderer"]
    assert renderers
    for pid in renderers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in renderers:
            os.kill(pid, signal.SIGCONT)


async def test_where_sockets_do_not_get_through_the_pill_says_polling_and_changes_arrive(
    open_page: OpenPage, own: Stack, screenshots: Path
) -> None:
    mine, theirs = add_leads(own, 2, "Polled")
    # The page's policy names its gateway, and would forbid the other port before anything is tried.
    page = await open_page(tolerated="WebSocket", bypass_csp=True)
    await page.route("**/api/client-config", name_a_port_for_nothing)
    await page.goto(f"{own.api_url}/?only=left&left.person={BEN}&colleagues=off")
    ben = Pane(page.locator(".pane"))
    # Only the first try that fails after 15 s makes it poll, and tries are up to 16 s apart by then.
    await expect(ben.pill).to_have_text("Polling", timeout=3 * PATIENCE_MS)
    own.psql(f"UPDATE leads SET status = 'lost' WHERE id = '{theirs}'")
    await ben.state_of(mine).select_option("won")
    await expect(ben.state_of(theirs)).to_have_value("lost")
    await expect(ben.row(mine)).to_have_class("row")
    assert state_of(own, mine) == "won"
    await expect(ben.element.get_by_role("button", name="New lead")).to_be_enabled()
    await page.screenshot(path=screenshots / "page-polling.png")
    await assert_accessible(page)


async def name_a_port_for_nothing(route: Route) -> None:
    """Answer with a gateway's address at which nobody listens: the API answers, and no socket opens."""
    answer = await route.fetch()
    settings = await answer.json()
    await route.fulfill(json={**settings, "gateway_url": re.sub(r":\d+/", ":9/", settings["gateway_url"])})


async def test_who_loses_their_access_is_told_and_nothing_stays_on_the_device(
    open_page: OpenPage, own: Stack, screenshots: Path
) -> None:
    page = await open_page()
    rita = await open_alone(page, own, RITA)
    await page.evaluate(UNTIL_KEPT, True)
    own.psql(
        "UPDATE organization_members SET disabled_at = now() "
        f"WHERE user_id = (SELECT id FROM users WHERE email = '{RITA}')"
    )
    await expect(rita.pill).to_have_text("Ended")
    notice = rita.element.get_by_role("alert")
    await expect(notice).to_contain_text("the session or the membership has ended.")
    await expect(rita.rows).to_have_count(0)
    await expect(rita.element.locator(".empty")).to_have_text("Nothing of this is kept on this device")
    await page.evaluate(UNTIL_KEPT, False)
    await expect(rita.element.get_by_role("button", name="New lead")).to_be_disabled()
    await page.screenshot(path=screenshots / "page-revoked.png")
    await assert_accessible(page)


# Waits until records lie on this device, or none do.
UNTIL_KEPT = """async (wanted) => {
  const { openDB } = await import("idb");
  const deadline = performance.now() + 30_000;
  for (let count = -1; count < 0 || count > 0 !== wanted; ) {
    if (performance.now() > deadline) throw new Error(`${count} records are kept`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    count = 0;
    for (const { name } of await indexedDB.databases()) {
      const db = await openDB(name);
      count += await db.count("records");
      db.close();
    }
  }
}"""

"""Several people with several tabs of the demo page each: all show the same, whichever of them writes or goes away."""

import asyncio
from dataclasses import dataclass

from playwright.async_api import Page, WebSocket, expect

from tests.browser.conftest import PATIENCE_MS, OpenPage
from tests.browser.demo import Pane, add_leads
from tests.stack import Stack

ANA, BEN = "ana@demo.test", "ben@demo.test"
STATES = ["contacted", "qualified", "won", "lost", "contacted", "qualified"]


@dataclass(eq=False)
class Tab:
    """One tab with one person; `sockets` are the addresses of those that it has opened."""

    page: Page
    pane: Pane
    sockets: list[str]

    def note(self, socket: WebSocket) -> None:
        """It has opened one."""
        self.sockets.append(socket.url)


async def open_tabs(open_page: OpenPage, stack: Stack, email: str, count: int = 3) -> list[Tab]:
    """Tabs of one person in one profile, all live; the first has the connection."""
    first = await open_page()
    pages = [first, *[await first.context.new_page() for _ in range(count - 1)]]
    tabs = [Tab(page, Pane(page.locator(".pane")), []) for page in pages]
    for tab in tabs:
        tab.page.set_default_timeout(PATIENCE_MS)
        tab.page.on("websocket", tab.note)
        await tab.page.goto(f"{stack.api_url}/?only=left&left.person={email}&colleagues=off")
        await tab.pane.wait_live()
    assert [len(tab.sockets) for tab in tabs] == [1, *[0] * (count - 1)]
    return tabs


async def test_what_any_of_six_tabs_writes_all_six_show(open_page: OpenPage, stack: Stack) -> None:
    ids = add_leads(stack, 7, "Of six tabs")
    tabs = [*await open_tabs(open_page, stack, BEN), *await open_tabs(open_page, stack, ANA)]
    shared = ids.pop()
    for tab, id_, wanted in zip(tabs, ids, STATES, strict=True):
        await tab.pane.state_of(id_).select_option(wanted)
    for tab in tabs:
        for id_, wanted in zip(ids, STATES, strict=True):
            await expect(tab.pane.state_of(id_)).to_have_value(wanted)
            await expect(tab.pane.row(id_)).not_to_have_class("row saving")
    # The same field of the same record, in all at once: one of the values stays, and it is the same one everywhere.
    async with asyncio.TaskGroup() as group:
        for tab, wanted in zip(tabs, STATES, strict=True):
            group.create_task(tab.pane.state_of(shared).select_option(wanted))
    for tab in tabs:
        await expect(tab.pane.row(shared)).not_to_have_class("row saving")
    for tab in tabs:
        await expect(tab.pane.state_of(shared)).to_have_value(state_in_database(stack, shared))


async def test_a_leading_tab_that_is_closed_mid_write_loses_nothing_and_another_leads(
    open_page: OpenPage, stack: Stack
) -> None:
    here, there, later = add_leads(stack, 3, "Mid-write")
    leading, *others = await open_tabs(open_page, stack, BEN)
    await leading.page.route("**/api/sync", lambda route: asyncio.sleep(0))  # under way for ever
    async with leading.page.expect_request("**/api/sync"):
        await leading.pane.state_of(here).select_option("won")
    await others[0].pane.state_of(there).select_option("lost")
    for id_ in (here, there):
        await expect(others[1].pane.row(id_)).to_have_class("row saving")
    assert [state_in_database(stack, id_) for id_ in (here, there)] == ["new", "new"]
    await leading.page.close()
    for tab in others:
        for id_, wanted in ((here, "won"), (there, "lost")):
            await expect(tab.pane.state_of(id_)).to_have_value(wanted)
            await expect(tab.pane.row(id_)).to_have_class("row")
        await tab.pane.wait_live()
    assert [state_in_database(stack, id_) for id_ in (here, there)] == ["won", "lost"]
    assert sum(len(tab.sockets) for tab in others) == 1
    stack.psql(f"UPDATE leads SET status = 'qualified' WHERE id = '{later}'")
    for tab in others:
        await expect(tab.pane.state_of(later)).to_have_value("qualified")


async def test_every_tab_says_that_the_person_is_offline_and_any_ends_it(
    open_page: OpenPage, stack: Stack
) -> None:
    one, other = await open_tabs(open_page, stack, BEN, 2)
    for tab in (one, other):
        await tab.pane.pill.click()
    await one.pane.offline.check()
    for tab in (one, other):
        await expect(tab.pane.pill).to_have_text("Offline")
        await expect(tab.pane.offline).to_be_checked()
    # A reload does not end it, not even of both.
    for tab in (one, other):
        await tab.page.goto("about:blank")
    for tab in (one, other):
        await tab.page.go_back()
        await expect(tab.pane.pill).to_have_text("Offline")
        await tab.pane.pill.click()
        await expect(tab.pane.offline).to_be_checked()
    await other.pane.offline.uncheck()
    for tab in (one, other):
        await tab.pane.wait_live()
        await expect(tab.pane.offline).not_to_be_checked()


def state_in_database(stack: Stack, id_: str) -> str:
    return stack.psql(f"SELECT status FROM leads WHERE id = '{id_}'").strip()

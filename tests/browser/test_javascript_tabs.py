"""The JavaScript client's tabs: one connection for all tabs of a person, one queue, the same state in all."""

import asyncio

from playwright.async_api import Page

from tests.browser.client_page import serve_client, start_client
from tests.browser.conftest import OpenPage
from tests.stack import Stack

ANA, BEN = "ana@demo.test", "ben@demo.test"
QUICK = {"base_ms": 20, "cap_ms": 500, "lost_ms": 200, "silent_ms": 100, "away_ms": 200}
INSERT = (
    "(fields) => { const write = client.insert('leads', fields); return write.local.then(() => write.id); }"
)


SOCKETS: list[str] = []
"""Those that tabs have opened."""


async def open_tabs(open_page: OpenPage, stack: Stack, email: str, count: int = 3) -> list[Page]:
    """Tabs of one person in one profile, all live; the first one leads."""
    first = await open_page()
    await serve_client(first.context, stack)
    pages = [first, *[await first.context.new_page() for _ in range(count - 1)]]
    for page in pages:
        page.on("websocket", lambda socket: SOCKETS.append(socket.url))
        await start_client(page, stack, email, retry=QUICK)
        await page.evaluate("until(() => leads.state === 'live')")
    return pages


async def leader_of(pages: list[Page]) -> Page:
    """The one tab that has the connection."""
    for _ in range(300):
        leading = [page for page in pages if await page.evaluate("client.leads && client.state === 'live'")]
        if len(leading) == 1:
            return leading[0]
        await asyncio.sleep(0.1)
    raise AssertionError("expected one tab to lead")


async def test_two_people_with_three_tabs_each_have_one_connection_each_and_one_state(
    open_page: OpenPage, stack: Stack
) -> None:
    SOCKETS.clear()
    ben, ana = await open_tabs(open_page, stack, BEN), await open_tabs(open_page, stack, ANA)
    assert len(SOCKETS) == 2
    for pages in (ben, ana):
        assert [await page.evaluate("client.leads") for page in pages] == [True, False, False]
        assert [await page.evaluate("client.state") for page in pages] == ["live"] * 3
    id_ = await ben[2].evaluate(INSERT, {"name": "From the third tab"})
    for page in [*ben, *ana]:
        await page.evaluate(
            "(id) => until(() => leads.get(id)?.version === 1 && leads.stateOf(id) === 'saved')", id_
        )
    # One that is refused is in the inbox of all tabs, and out of it in all.
    await ben[1].evaluate(
        "(id) => client.update('leads', id, { status: 'none such' }).server.catch(() => {})", id_
    )
    for page in ben:
        await page.evaluate(
            "(id) => until(() => client.inbox.length === 1 && leads.stateOf(id) === 'needs-review')", id_
        )
    await ben[0].evaluate("client.discard(client.inbox[0].id)")
    for page in ben:
        await page.evaluate("until(() => !client.inbox.length)")


async def test_a_leading_tab_that_is_killed_mid_write_leaves_its_write_to_the_next(
    open_page: OpenPage, stack: Stack
) -> None:
    pages = await open_tabs(open_page, stack, BEN)
    # The request never gets through, as if the tab died while it was under way.
    await pages[0].route("**/api/sync", lambda route: asyncio.sleep(0))
    id_ = await pages[0].evaluate(INSERT, {"name": "Mid-write"})
    await pages[0].close()
    next_ = await leader_of(pages[1:])
    for page in pages[1:]:
        await page.evaluate(
            "(id) => until(() => leads.get(id)?.version === 1 && leads.stateOf(id) === 'saved')", id_
        )
    await next_.evaluate("until(() => client.pending === 0)")
    assert stack.psql("SELECT count(*) FROM leads WHERE name = 'Mid-write'").strip() == "1"


async def test_a_leading_tab_that_stands_still_loses_the_lead_and_follows_when_it_wakes(
    open_page: OpenPage, stack: Stack
) -> None:
    pages = await open_tabs(open_page, stack, BEN, 2)
    still, other = pages
    await other.bring_to_front()
    standing = asyncio.ensure_future(
        still.evaluate("() => { const end = performance.now() + 6_000; while (performance.now() < end); }")
    )
    await other.evaluate("until(() => client.leads && client.state === 'live')")
    id_ = await other.evaluate(INSERT, {"name": "Taken over"})
    await standing
    await still.evaluate("until(() => !client.leads && client.state === 'live')")
    await still.evaluate("(id) => until(() => leads.get(id)?.version === 1)", id_)
    await still.evaluate("(id) => client.update('leads', id, { phone: 'awake' }).server", id_)
    await other.evaluate("(id) => until(() => leads.get(id)?.phone === 'awake')", id_)


async def test_a_pause_and_what_is_typed_in_it_are_for_all_tabs(open_page: OpenPage, stack: Stack) -> None:
    pages = await open_tabs(open_page, stack, BEN, 2)
    await pages[1].evaluate("client.pause()")
    for page in pages:
        await page.evaluate("until(() => client.state === 'idle' && leads.state === 'stale')")
    id_ = await pages[1].evaluate(INSERT, {"name": "Paused"})
    await pages[0].evaluate("(id) => until(() => leads.get(id)?.name === 'Paused')", id_)
    assert [await page.evaluate("client.pending") for page in pages] == [1, 1]
    await pages[0].evaluate("client.resume()")
    for page in pages:
        await page.evaluate("(id) => until(() => leads.get(id)?.version === 1 && !client.pending)", id_)


async def test_who_is_there_is_seen_in_every_tab_and_ones_own_tabs_are_nobody_else(
    open_page: OpenPage, stack: Stack
) -> None:
    ben, ana = await open_tabs(open_page, stack, BEN, 2), await open_tabs(open_page, stack, ANA, 2)
    for page in [*ben, *ana]:
        await page.evaluate("() => { window.people = client.presence('leads'); }")
    await ana[1].evaluate("people.announce({ mood: 'calm' })")
    for page in ben:
        await page.evaluate("until(() => people.others.some(({ state }) => state?.mood === 'calm'))")
    await ben[1].evaluate("() => { people.onSignal((signal) => (window.heard = signal.payload)); }")
    await ana[0].evaluate("people.signal('nudge', { well: true })")
    await ben[1].evaluate("until(() => window.heard?.well)")
    for page in ana:
        assert (
            await page.evaluate("people.others.filter(({ user_id }) => user_id === client.principal.user_id)")
            == []
        )
    await ana[1].close()
    for page in ben:
        await page.evaluate("until(() => !people.others.some(({ state }) => state?.mood === 'calm'))")


IS_GONE = "until(async () => client.state === 'idle' && !(await indexedDB.databases()).length)"


async def test_signing_out_in_one_tab_signs_out_all(open_page: OpenPage, stack: Stack) -> None:
    pages = await open_tabs(open_page, stack, BEN, 2)
    await pages[0].evaluate("client.signOut()")
    for page in pages:
        await page.evaluate(IS_GONE)


async def test_a_tab_that_hears_late_of_a_sign_out_leaves_no_database_that_it_made_again(
    open_page: OpenPage, stack: Stack
) -> None:
    pages = await open_tabs(open_page, stack, BEN, 2)
    await pages[0].evaluate(
        """() => {
          const post = BroadcastChannel.prototype.postMessage;
          BroadcastChannel.prototype.postMessage = function (message) {
            if (message.type !== "signed_out") return post.call(this, message);
            window.tell = () => post.call(new BroadcastChannel(this.name), message);
          };
        }"""
    )
    await pages[0].evaluate("client.signOut()")
    await pages[1].evaluate(INSERT, {"name": "Typed too late"})
    assert len(await pages[1].evaluate("indexedDB.databases()")) == 1
    await pages[0].evaluate("tell()")
    for page in pages:
        await page.evaluate(IS_GONE)

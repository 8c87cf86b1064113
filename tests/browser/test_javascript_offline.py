"""The JavaScript client in a real browser: what outlives the page, and what the server's state becomes in the end."""

import os
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.client_page import open_client, serve_client, start_client
from tests.browser.conftest import OpenPage
from tests.stack import Stack, run_stack

ANA, BEN, CARLA, RITA = (f"{name}@demo.test" for name in ("ana", "ben", "carla", "rita"))
QUICK = {"base_ms": 20, "cap_ms": 500, "lost_ms": 200, "silent_ms": 100, "away_ms": 200}
Person = Callable[..., Awaitable[Page]]

INSERT = """async (fields) => {
  const write = client.insert("leads", fields);
  await write.server;
  await until(() => leads.get(write.id));
  return write.id;
}"""


@pytest.fixture
def person(open_page: OpenPage, stack: Stack) -> Person:
    """Opens a live client of somebody in a profile of its own."""

    async def open_one(email: str, tolerated: str | None = None, **options: Any) -> Page:
        page = await open_page(tolerated=tolerated)
        await serve_client(page.context, stack)
        await start_client(page, stack, email, **{"retry": QUICK, **options})
        await page.evaluate("until(() => leads.state === 'live')")
        return page

    return open_one


def row(stack: Stack, record_id: str) -> str:
    return stack.psql(f"SELECT name, phone, email FROM leads WHERE id = '{record_id}'")


async def has(page: Page, record_id: str, **fields: str) -> None:
    """Wait until a record is shown with these values, and nothing of it is pending."""
    condition = """([id, fields]) => until(() => leads.stateOf(id) === "saved"
      && Object.entries(fields).every(([name, value]) => leads.get(id)?.[name] === value), "the record's values")"""
    await page.evaluate(condition, [record_id, fields])


async def test_a_client_that_is_closed_while_it_opens_complains_of_nothing(person: Person) -> None:
    page = await person(BEN)
    # Each is closed a little later than the one before, somewhere on its way to the database and to the lead.
    await page.evaluate("""async () => {
      const { connect } = await import("branchline");
      const { offline } = await import("branchline/offline");
      await client.close();
      for (let wait_ms = 0; wait_ms < 40; wait_ms += 0.5) {
        const brief = connect({ token: () => null, offline: offline({}) });
        await new Promise((resolve) => setTimeout(resolve, wait_ms));
        await brief.close();
      }
    }""")


async def test_two_fields_edited_offline_in_two_branches_both_survive(person: Person, stack: Stack) -> None:
    ben, carla = await person(BEN), await person(ANA)
    id_ = await ben.evaluate(INSERT, {"name": "Two fields"})
    await has(carla, id_, name="Two fields")
    for page, field in ((ben, "phone"), (carla, "email")):
        await page.evaluate("client.pause()")
        await page.evaluate(
            "([id, field]) => client.update('leads', id, { [field]: `of ${field}` }).local", [id_, field]
        )
    for page in (ben, carla):
        await page.evaluate("client.resume()")
    for page in (ben, carla):
        await has(page, id_, phone="of phone", email="of email")
    assert row(stack, id_).strip() == "Two fields|of phone|of email"


async def test_of_two_values_for_one_field_one_is_told_and_restores(person: Person, stack: Stack) -> None:
    ben, ana = await person(BEN), await person(ANA)
    id_ = await ben.evaluate(INSERT, {"name": "One field"})
    await has(ana, id_, name="One field")
    await ben.evaluate("client.pause()")
    await ben.evaluate("(id) => client.update('leads', id, { phone: 'of ben' }).local", id_)
    await ana.evaluate("(id) => client.update('leads', id, { phone: 'of ana' }).server", id_)
    await ben.evaluate("client.resume()")
    # Ana's came first to the server, but was written later: Ben's lost on its way.
    await ben.evaluate("until(() => client.lost.length === 1)")
    mine, theirs = await ben.evaluate("[client.lost[0].mine, client.lost[0].theirs]")
    assert (mine, theirs) == ("of ben", "of ana")
    await has(ben, id_, phone="of ana")
    await ben.evaluate("client.restore(client.lost[0]).server")
    await has(ana, id_, phone="of ben")
    await ben.evaluate("until(() => !client.lost.length)")


async def test_a_reload_with_a_full_queue_and_no_connection_loses_nothing(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN, tolerated="ERR_INTERNET_DISCONNECTED")
    id_ = await page.evaluate(INSERT, {"name": "Reloaded"})
    # The copy on the disk has it.
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
    await page.evaluate("client.pause()")
    await page.evaluate(
        """(id) => Promise.all(Array.from({ length: 50 }, (_, i) => `${i}`).map(
             (phone) => client.update('leads', id, { phone }).local))""",
        id_,
    )
    await page.route("**/api/**", lambda route: route.abort("internetdisconnected"))
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate("client.resume()")
    await page.evaluate("(id) => until(() => leads.get(id)?.phone === '49')", id_)
    assert await page.evaluate("[client.pending, leads.state]") == [50, "stale"]
    assert await page.evaluate("(id) => leads.stateOf(id, 'phone')", id_) == "saving"
    await page.unroute("**/api/**")
    await page.evaluate("client.online(), client.drain()")
    await has(page, id_, phone="49")
    assert row(stack, id_).strip() == "Reloaded|49|"


async def test_a_pause_outlives_a_reload_until_it_is_ended_or_the_person_signs_out(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN)
    id_ = await page.evaluate(INSERT, {"name": "Paused"})
    # The copy on the disk has it.
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
    await page.evaluate("client.pause()")
    await page.evaluate("(id) => client.update('leads', id, { phone: 'waits' }).local", id_)
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate(
        "(id) => until(() => leads.get(id)?.phone === 'waits' && client.reason === 'paused')", id_
    )
    await page.evaluate("client.online(), new Promise((resolve) => setTimeout(resolve, 1000))")
    assert await page.evaluate("[client.isPaused, client.state, client.pending, leads.state]") == [
        True,
        "idle",
        1,
        "stale",
    ]
    assert row(stack, id_).strip() == "Paused||"
    other = await page.context.new_page()
    await start_client(other, stack, BEN, retry=QUICK)
    await other.evaluate("until(() => client.isPaused && client.reason === 'paused')")
    await other.evaluate("client.resume()")
    await has(page, id_, phone="waits")
    assert row(stack, id_).strip() == "Paused|waits|"
    await other.close()
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate("until(() => client.state === 'live')")
    await page.evaluate("client.pause(), client.signOut()")
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate("until(() => client.state === 'live')")


async def test_a_refused_write_lies_in_the_inbox_after_a_reload_and_held_nothing_up(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN)
    id_ = await page.evaluate(INSERT, {"name": "Refused"})
    await page.evaluate(
        """async (id) => {
          const bad = client.update("leads", id, { status: "no such status" });
          const good = client.update("leads", id, { phone: "1" });
          await bad.server.catch(() => {});
          await good.server;
        }""",
        id_,
    )
    await start_client(page, stack, BEN)
    await page.evaluate("until(() => client.inbox.length === 1)")
    assert await page.evaluate("client.inbox[0].mutation.fields") == {"status": "no such status"}
    await page.evaluate("client.retry(client.inbox[0].id, { status: 'won' })[0].server")
    await page.evaluate("(id) => until(() => leads.get(id)?.status === 'won')", id_)
    assert await page.evaluate("client.inbox.length") == 0


async def test_lost_access_deletes_what_is_kept_and_puts_what_waits_aside(
    person: Person, stack: Stack
) -> None:
    slow = {**QUICK, "base_ms": 600_000, "cap_ms": 600_000}
    page = await person(RITA, tolerated="ERR_FAILED", retry=slow)
    member = f"user_id = (SELECT id FROM users WHERE email = '{RITA}')"
    stack.psql(f"UPDATE organization_members SET reads = 'all' WHERE {member}")
    try:
        await page.evaluate("until(() => leads.state === 'live' && leads.size > 2000)")
        everything = await page.evaluate("leads.size")
        await page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            await route.abort()
            refused.append(route.request.url)

        await page.route("**/api/sync", refuse)
        own = await page.evaluate(
            "leads.records.find(({ branch_id }) => branch_id === client.principal.branch_ids[0]).id"
        )
        await page.evaluate("(id) => client.update('leads', id, { phone: 'typed' }).local", own)
        # What is under way would be answered; this waits for its next try.
        while not refused:
            await page.evaluate("client.request('GET', '/api/auth/me')")
        await page.evaluate("client.request('GET', '/api/auth/me')")
        stack.psql(f"UPDATE organization_members SET reads = 'own' WHERE {member}")
        await page.evaluate("(all) => until(() => leads.state === 'live' && leads.size < all)", everything)
        await page.evaluate("until(() => client.inbox.length === 1)")
        assert await page.evaluate("[client.inbox[0].code, client.inbox[0].mutation.fields.phone]") == [
            "access_lost",
            "typed",
        ]
        kept = """async () => {
          const { openDB } = await import("idb");
          const [{ name }] = await indexedDB.databases();
          const db = await openDB(name);
          const rows = await db.getAll("records");
          db.close();
          const own = [null, ...client.principal.branch_ids];
          return rows.filter(({ branch_id }) => !own.includes(branch_id)).length;
        }"""
        await page.evaluate(f"until(async () => await ({kept})() === 0)")
    finally:
        stack.psql(f"UPDATE organization_members SET reads = 'own' WHERE {member}")


async def test_sensitive_rows_lie_on_the_disk_encrypted_by_a_key_that_cannot_be_read(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN, kept={"sensitive": ["leads"]})
    await page.evaluate("client.pause()")
    await page.evaluate("client.insert('leads', { name: 'A secret', phone: '+33 secret' }).local")
    await page.evaluate("client.offline.drafts.save('leads', 'x', 'notes', 'a secret draft')")
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
    found = await page.evaluate(
        """async () => {
          const { openDB } = await import("idb");
          const [{ name }] = await indexedDB.databases();
          const db = await openDB(name);
          const rows = [];
          for (const store of ["queue", "records", "drafts"]) rows.push(...await db.getAll(store));
          const key = await db.get("meta", "key");
          db.close();
          const textOf = (row) => row.sealed ? new TextDecoder("latin1").decode(row.sealed) : JSON.stringify(row);
          const leaks = rows.some((row) => textOf(row).includes("secret"));
          const raw = await crypto.subtle.exportKey("raw", key).then(() => "read", (error) => error.name);
          return { count: rows.length, open: rows.filter((row) => !row.sealed).length, leaks, raw };
        }"""
    )
    assert found["count"] > 1000
    assert {key: found[key] for key in ("open", "leaks", "raw")} == {
        "open": 0,
        "leaks": False,
        "raw": "InvalidAccessError",
    }
    await start_client(page, stack, BEN, kept={"sensitive": ["leads"]})
    await page.evaluate("client.resume(), client.drain()")
    await page.evaluate("until(() => leads.records.some(({ name }) => name === 'A secret'))")
    assert await page.evaluate("client.offline.drafts.get('leads', 'x')") == {"notes": "a secret draft"}


async def test_signing_out_deletes_everything_of_this_person(person: Person) -> None:
    page = await person(BEN)
    await page.evaluate("client.offline.drafts.save('leads', 'x', 'notes', 'typed')")
    await page.evaluate("client.signOut()")
    assert await page.evaluate("indexedDB.databases()") == []
    assert await page.evaluate("localStorage.length") == 0


LOSE_DATABASE = """async () => {
  const [{ name }] = await indexedDB.databases();
  await new Promise((resolve, reject) => {
    const asked = indexedDB.deleteDatabase(name);
    asked.onsuccess = resolve;
    asked.onerror = asked.onblocked = () => reject(asked.error ?? new Error("blocked"));
  });
}"""


async def test_a_database_that_is_deleted_under_the_page_is_made_again_with_all_that_waits(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN, tolerated="ERR_INTERNET_DISCONNECTED")
    id_ = await page.evaluate(INSERT, {"name": "Database lost"})
    await page.evaluate("client.pause()")
    await page.evaluate("(id) => client.update('leads', id, { phone: 'before' }).local", id_)
    await page.evaluate(LOSE_DATABASE)
    assert await page.evaluate("[client.offline.isDurable, client.isUnsafe]") == [False, True]
    await page.evaluate("(id) => client.update('leads', id, { email: 'after' }).local", id_)
    await page.evaluate("(id) => client.offline.drafts.save('leads', id, 'notes', 'draft')", id_)
    await page.evaluate("until(() => client.offline.isDurable && !client.isUnsafe)")
    await page.route("**/api/**", lambda route: route.abort("internetdisconnected"))
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate("client.resume()")
    await page.evaluate("until(() => client.pending === 2)")
    assert await page.evaluate("(id) => client.offline.drafts.get('leads', id)", id_) == {"notes": "draft"}
    await page.unroute("**/api/**")
    await page.evaluate("client.online(), client.drain()")
    await has(page, id_, phone="before", email="after")
    assert row(stack, id_).strip() == "Database lost|before|after"


async def test_what_a_full_device_cannot_keep_is_sent_and_what_waits_is_kept_when_there_is_room(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN, tolerated="not kept on this device")
    id_ = await page.evaluate(INSERT, {"name": "Device full"})
    await page.evaluate(
        """() => {
          const put = IDBObjectStore.prototype.put;
          window.isFull = true;
          IDBObjectStore.prototype.put = function (...row) {
            const request = put.apply(this, row);
            if (isFull && this.name === "queue") request.addEventListener("success", () => this.transaction.abort());
            return request;
          };
        }"""
    )
    written = """async ([id, fields]) => {
      const write = client.update("leads", id, fields);
      const local = await write.local.then(() => "kept", ({ code }) => code);
      return [local, client.offline.isDurable, client.isUnsafe, leads.get(id)];
    }"""
    local, is_durable, _, _ = await page.evaluate(written, [id_, {"phone": "sent"}])
    assert (local, is_durable) == ("store_failed", False)
    await page.evaluate("client.drain()")
    assert row(stack, id_).strip() == "Device full|sent|"
    await page.evaluate("client.pause()")
    local, is_durable, is_unsafe, shown = await page.evaluate(written, [id_, {"phone": "waits"}])
    assert (local, is_durable, is_unsafe, shown["phone"]) == ("store_failed", False, True, "waits")
    assert await page.evaluate("(id) => leads.stateOf(id, 'phone')", id_) == "local"
    await page.evaluate("isFull = false")
    local, is_durable, is_unsafe, _ = await page.evaluate(written, [id_, {"email": "kept"}])
    assert (local, is_durable, is_unsafe) == ("kept", True, False)
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate("client.resume(), client.drain()")
    await has(page, id_, phone="waits", email="kept")
    assert row(stack, id_).strip() == "Device full|waits|kept"


async def test_a_draft_is_there_after_a_reload_until_it_is_deleted(person: Person, stack: Stack) -> None:
    page = await person(BEN)
    saved = "Promise.all(['a', 'ab', 'abc'].map((text) => client.offline.drafts.save('leads', 'new', 'name', text)))"
    await page.evaluate(saved)
    await start_client(page, stack, BEN)
    assert await page.evaluate("client.offline.drafts.list()") == [
        {"collection": "leads", "id": "new", "fields": {"name": "abc"}}
    ]
    await page.evaluate("client.offline.drafts.delete('leads', 'new', 'name')")
    assert await page.evaluate("client.offline.drafts.get('leads', 'new')") == {}


async def test_old_data_is_imported_once_and_deleted_when_the_server_has_it(
    person: Person, stack: Stack
) -> None:
    page = await person(BEN, tolerated="404")
    old = """() => {
      localStorage.setItem("old.leads", JSON.stringify([{ id: 7, title: "Old seven" }, { id: 8, title: "Old eight" }]));
      localStorage.setItem("old.theme", "dark");
    }"""
    run = """async () => {
      const told = [];
      const fields = (item) => ({ name: item.title });
      const mapping = { "old.leads": { collection: "leads", fields } };
      const result = await client.offline.import(mapping, (at) => told.push(at.done));
      return [result, told, localStorage.getItem("old.leads"), localStorage.getItem("old.theme")];
    }"""
    await page.evaluate(old)
    assert await page.evaluate(run) == [{"imported": 2, "refused": 0}, [1, 2], None, "dark"]
    # Interrupted before the clean-up, and done again.
    await page.evaluate(old)
    assert (await page.evaluate(run))[0] == {"imported": 2, "refused": 0}
    assert stack.psql("SELECT count(*) FROM leads WHERE name LIKE 'Old %'").strip() == "2"


async def test_where_sockets_do_not_get_through_it_polls(
    person: Person, stack: Stack, open_page: OpenPage
) -> None:
    page = await open_page(tolerated="WebSocket")
    await serve_client(page.context, stack)
    # The port for nothing: the API answers, and no socket opens.
    blocked = {
        "gateway_url": "ws://127.0.0.1:9/ws",
        "retry": {**QUICK, "blocked_ms": 200, "blocked_cap_ms": 600_000},
    }
    await start_client(page, stack, ANA, poll_ms=200, **blocked)
    await page.evaluate("until(() => client.state === 'polling' && leads.state === 'live')")
    ben = await person(BEN)
    id_ = await ben.evaluate(INSERT, {"name": "Polled"})
    await has(page, id_, name="Polled")
    await page.evaluate("(id) => client.update('leads', id, { phone: 'polled' }).server", id_)
    await has(ben, id_, phone="polled")
    await has(page, id_, phone="polled")


async def test_a_dead_socket_is_found_and_replaced_from_the_position(
    open_page: OpenPage, person: Person, stack: Stack
) -> None:
    page = await open_page()
    await serve_client(page.context, stack)
    silent: list[bool] = []

    def pass_on(socket: Any) -> None:
        server = socket.connect_to_server()
        number = len(silent)
        silent.append(False)
        server.on_message(lambda text: None if silent[number] else socket.send(text))

    await page.route_web_socket(re.compile("/ws$"), pass_on)
    await start_client(page, stack, BEN, silence_ms=2_000, retry=QUICK)
    await page.evaluate("until(() => leads.state === 'live')")
    silent[0] = True
    ana = await person(ANA)
    id_ = await ana.evaluate(INSERT, {"name": "While deaf"})
    await page.evaluate("until(() => events.some(([name, state]) => state === 'waiting'))")
    await has(page, id_, name="While deaf")
    kinds = await page.evaluate("[...new Set(updates.map(([kind]) => kind))]")
    assert kinds == ["added"], "no row was removed and put back"


async def test_without_a_secure_context_it_works_and_says_so(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    await serve_client(page.context, stack)
    origin = "http://page.test"

    async def pass_on(route: Any) -> None:
        answer = await route.fetch(url=route.request.url.replace(origin, stack.api_url))
        await route.fulfill(response=answer)

    await page.route(f"{origin}/**", pass_on)
    page_html = await page.context.new_page()
    await open_client(page_html, stack)
    html = await page_html.content()
    await page.route(
        f"{origin}/client-page", lambda route: route.fulfill(body=html, content_type="text/html")
    )
    await page.goto(f"{origin}/client-page")
    await page.wait_for_function("window.isReady")
    assert not await page.evaluate("isSecureContext")
    options = {"sockets": False, "poll_ms": 200, "kept": {"sensitive": ["leads"]}}
    await page.evaluate("(options) => start('ben@demo.test', 'demo', options)", options)
    await page.evaluate("until(() => leads.state === 'live')")
    notes = await page.evaluate("until(() => client.offline.notes.length).then(() => client.offline.notes)")
    assert "no secure context" in notes[0]
    id_ = await page.evaluate(INSERT, {"name": "Plain"})
    assert row(stack, id_).startswith("Plain")
    kept = """async () => {
      const { openDB } = await import("idb");
      const [{ name }] = await indexedDB.databases();
      const db = await openDB(name);
      const count = (await db.count("records")) + (await db.count("queue"));
      db.close();
      return count;
    }"""
    assert await page.evaluate(kept) == 0


BLOCK_SITE_DATA = """() => {
  const deny = (name) => Promise.reject(new DOMException("denied by the test", name));
  const denied = () => { throw new DOMException("denied by the test", "SecurityError"); };
  Object.defineProperty(window, "localStorage", { get: denied });
  for (const name of ["request", "query"]) LockManager.prototype[name] = () => deny("SecurityError");
  IDBFactory.prototype.open = () => {
    const asked = new EventTarget();
    Object.setPrototypeOf(asked, Object.create(IDBOpenDBRequest.prototype, {
      error: { value: new DOMException("denied by the test", "UnknownError") },
    }));
    setTimeout(() => asked.dispatchEvent(new Event("error")));
    return asked;
  };
}"""


@pytest.fixture
async def page_without_site_data(open_page: OpenPage) -> Page:
    """A page of a person who lets no page keep anything.

    The headless browser has no such setting. This is what Chromium does with it.
    """
    page = await open_page()
    await page.add_init_script(f"({BLOCK_SITE_DATA})()")
    return page


async def test_where_site_data_is_blocked_it_works_and_says_so(
    page_without_site_data: Page, stack: Stack
) -> None:
    page = page_without_site_data
    await serve_client(page.context, stack)
    await start_client(page, stack, BEN, retry=QUICK)
    await page.evaluate("until(() => leads.state === 'live')")
    id_ = await page.evaluate(INSERT, {"name": "Nothing kept"})
    assert row(stack, id_).startswith("Nothing kept")
    assert await page.evaluate("[client.offline.isDurable, client.leads]") == [False, True]
    notes = " ".join(await page.evaluate("client.offline.notes"))
    assert "does not remember" in notes
    assert "keeps nothing" in notes


async def test_the_page_is_there_where_site_data_is_blocked(
    page_without_site_data: Page, stack: Stack
) -> None:
    page = page_without_site_data
    await page.goto(stack.api_url)
    await expect(page.locator(".row").first).to_be_visible()
    await expect(page.locator("#colleagues")).to_be_checked()


async def test_servers_that_are_killed_come_back_without_a_loss(open_page: OpenPage) -> None:
    with run_stack("javascript-killed", gateways=1) as own:
        page = await open_page(tolerated="ERR_")
        await serve_client(page.context, own)
        await start_client(page, own, BEN, retry=QUICK)
        await page.evaluate("until(() => leads.state === 'live')")
        for name, process in own.up.processes().items():
            if name.startswith(("api", "gateway")):
                os.kill(process.pid, signal.SIGKILL)
        ids = await page.evaluate(
            """async () => {
              const writes = Array.from({ length: 20 }, (_, i) => client.insert("leads", { name: `Killed ${i}` }));
              await Promise.all(writes.map(({ local }) => local));
              return writes.map(({ id }) => id);
            }"""
        )
        await page.evaluate("client.drain()")
        await page.evaluate("until(() => client.state === 'live' && leads.state === 'live')")
        await page.evaluate("(ids) => until(() => ids.every((id) => leads.get(id)?.version === 1))", ids)
        assert own.psql("SELECT count(*) FROM leads WHERE name LIKE 'Killed %'").strip() == "20"


STORM = """async ([seed, rounds, ids]) => {
  let state = seed;
  const random = () => ((state = (state * 1103515245 + 12345) % 2147483648) / 2147483648);
  for (let round = 0; round < rounds; round++) {
    const chance = random();
    const id = ids[Math.floor(random() * ids.length)];
    const field = ["phone", "email", "company"][Math.floor(random() * 3)];
    if (chance < 0.1) client.pause();
    else if (chance < 0.25) client.resume();
    else if (chance < 0.3) client.online();
    else client.update("leads", id, { [field]: `${seed}-${round}` });
    await new Promise((resolve) => setTimeout(resolve, random() * 15));
  }
  client.resume();
  await client.drain();
}"""


async def test_after_a_storm_of_edits_and_breaks_all_copies_are_the_servers_rows(
    person: Person, stack: Stack
) -> None:
    """I7: ana, ben and ben's second device, each on and off at random; the seeds are in the calls."""
    pages = [await person(ANA), await person(BEN), await person(BEN)]
    ids = [await pages[1].evaluate(INSERT, {"name": f"Storm {n}"}) for n in range(4)]
    for page in pages:
        await page.evaluate("(ids) => until(() => ids.every((id) => leads.get(id)))", ids)
    storms = [page.evaluate_handle(STORM, [seed, 120, ids]) for seed, page in enumerate(pages, start=7)]
    for storm in [await storm for storm in storms]:
        await storm.dispose()
    rows: dict[str, Any] = {}
    with stack.http(ANA) as http:
        rows = {id_: http.get(f"/api/leads/{id_}").json() for id_ in ids}
    for page in pages:
        await page.evaluate(
            "(rows) => until(() => Object.values(rows).every((row) => leads.get(row.id)?.version === row.version))",
            rows,
        )
        assert (
            await page.evaluate("(ids) => Object.fromEntries(ids.map((id) => [id, leads.get(id)]))", ids)
            == rows
        )
        assert await page.evaluate("[client.pending, client.inbox.length]") == [0, 0]

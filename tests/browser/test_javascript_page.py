"""The JavaScript client as a new user meets it: the README's page, and a page that opens without a network."""

import asyncio
import re
import secrets
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.stack import Stack

# The copy of what was read is written a moment after it is shown.
UNTIL_COPIED = """async () => {
  const { openDB } = await import("idb");
  const [{ name }] = await indexedDB.databases();
  const db = await openDB(name);
  const deadline = performance.now() + 30_000;
  while (!(await db.getKey("topics", "leads"))) {
    if (performance.now() > deadline) throw new Error("nothing is copied");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  db.close();
}"""

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"
README = CLIENT / "README.md"


async def test_the_six_lines_of_the_readme_are_a_live_list(open_page: OpenPage, stack: Stack) -> None:
    readme = README.read_text(encoding="utf-8")
    found = re.search(r"```html\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    page = await open_page()
    await page.context.grant_permissions(["local-network-access"])
    html = f"<!doctype html><title>README</title>{found.group(1)}"
    await page.route(f"{stack.api_url}/new", lambda route: route.fulfill(body=html, content_type="text/html"))
    token = stack.token("ana@demo.test")
    await page.route(f"{stack.api_url}/my-token", lambda route: route.fulfill(body=token))
    await page.goto(f"{stack.api_url}/new")
    await expect(page.locator("li").first).to_be_visible()
    with stack.http("ana@demo.test") as http:
        created = http.post("/api/leads", json={"name": "Aaa from the README", "status": "new"})
        assert created.status_code == 201, created.text
    await expect(page.locator("li", has_text="Aaa from the README")).to_be_visible()


async def test_the_readmes_page_of_another_origin_is_a_live_list(
    open_page: OpenPage, stack: Stack, tmp_path: Path
) -> None:
    _, html = re.findall(r"```html\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "leads.html").write_text(
        html.replace("http://127.0.0.1:8000", stack.api_url), encoding="utf-8"
    )
    files = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        serving = asyncio.create_task(asyncio.to_thread(server.serve_forever))
        page = await open_page()
        await page.goto(f"http://127.0.0.1:{server.server_port}/leads.html")
        await expect(page.locator("li").first).to_be_visible()
        with stack.http("ana@demo.test") as http:
            created = http.post("/api/leads", json={"name": "Aaa from elsewhere", "status": "new"})
            assert created.status_code == 201, created.text
        await expect(page.locator("li", has_text="Aaa from elsewhere")).to_be_visible()
        server.shutdown()
        await serving


async def test_the_record_types_are_written_from_a_running_server(stack: Stack) -> None:
    command = ["node", str(CLIENT / "bin" / "branchline-types.js"), stack.api_url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    written, _ = await process.communicate()
    assert process.returncode == 0
    # The sample, which programs are checked against, is what a server says.
    sample = (CLIENT / "test" / "schema" / "schema.d.ts").read_text(encoding="utf-8")
    *records, schema = (part.strip() for part in sample.split("\n\n"))
    assert len(records) == 2
    for record in records:
        assert record in written.decode()
    for line in schema.splitlines():
        assert f"{line}\n" in written.decode()


async def test_the_demo_opens_without_a_network_with_what_it_showed(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page(tolerated="ERR_")
    await page.goto(f"{stack.api_url}/?only=left&colleagues=off")
    row = page.locator(".row").first
    await expect(row).to_be_visible()
    await page.evaluate(
        "navigator.serviceWorker.ready.then(() => true)"
    )  # the page has asked for it by itself
    await page.evaluate("import('/client/src/offline.js').then(({ keepPage }) => keepPage())")  # it is done
    name = await row.locator(".name").inner_text()
    await page.evaluate(UNTIL_COPIED)
    await page.context.set_offline(True)
    await page.goto(
        f"{stack.api_url}/?only=left&colleagues=off&left.sort=-created_at"
    )  # another address of the page
    await expect(page.locator(".row", has_text=name).first).to_be_visible()
    asked = "fetch('/api/client-config').then(() => 'answered', () => 'no answer')"
    assert await page.evaluate(asked) == "no answer"
    # What is typed there and then is kept, and sent once there is a network.
    await page.locator(".new").click()
    typed = f"Typed without a network {secrets.token_hex(4)}"
    await page.locator(".create input[name=name]").fill(typed)
    await page.locator(".create input[name=name]").press("Enter")
    await expect(page.locator(".row", has_text=typed)).to_contain_text("Saved on this device")
    await page.reload()
    await expect(page.locator(".row", has_text=typed)).to_contain_text("Saved on this device")
    await page.context.set_offline(False)
    await expect(page.locator(".pill-text")).to_have_text(re.compile("^Live"))
    await expect(page.locator(".row", has_text=typed)).not_to_contain_text("Saved on this device")
    assert stack.psql(f"SELECT count(*) FROM leads WHERE name = '{typed}'").strip() == "1"


async def test_a_page_that_was_kept_is_the_newest_where_there_is_a_network(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    await page.goto(f"{stack.api_url}/?only=left&colleagues=off")
    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.evaluate("import('/client/src/offline.js').then(({ keepPage }) => keepPage())")
    await page.evaluate(
        """async () => {
          const cache = await caches.open("branchline-files");
          for (const { url } of await cache.keys()) await cache.put(url, new Response("old"));
        }"""
    )
    await page.reload()
    await expect(page.locator(".row").first).to_be_visible()
    await page.wait_for_function(
        "caches.match('/').then((page) => page.text()).then((text) => text !== 'old')"
    )

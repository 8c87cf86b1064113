"""The JavaScript client as a new user meets it: the README's page, and a page that opens without a network."""

import re
from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.stack import Stack

README = Path(__file__).parents[2] / "clients" / "javascript" / "README.md"


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


async def test_a_page_that_was_kept_opens_without_the_server(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(tolerated="ERR_")
    # A page of the server's own: a test's answers do not reach a service worker.
    await page.goto(f"{stack.api_url}/?colleagues=off")
    await page.evaluate(
        """async () => {
          const options = { scope: "/", type: "module" };
          await navigator.serviceWorker.register("/client/src/service-worker.js", options);
          const { active } = await navigator.serviceWorker.ready;
          const files = performance.getEntriesByType("resource").map(({ name }) => name);
          const own = [location.href, ...files].filter((url) => !new URL(url).pathname.startsWith("/api/"));
          active.postMessage({ type: "keep", urls: own });
          const deadline = performance.now() + 30_000;
          const isMissing = async (url) => !(await caches.match(url));
          for (const url of own) {
            while (await isMissing(url)) {
              if (performance.now() > deadline) throw new Error(`${url} is not kept`);
              await new Promise((resolve) => setTimeout(resolve, 50));
            }
          }
        }"""
    )
    await page.context.set_offline(True)
    await page.goto(f"{stack.api_url}/?another=filter")
    await expect(page.locator("h1")).to_contain_text("Branchline")
    assert (
        await page.evaluate("fetch('/api/client-config').then(() => 'answered', () => 'no answer')")
        == "no answer"
    )

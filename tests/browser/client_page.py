"""A page that uses the JavaScript client as its users do: by an import map, from the server that it talks to."""

from typing import Any

from playwright.async_api import BrowserContext, Page, Route

from tests.stack import DEMO_PASSWORD, Stack

HTML = """<!doctype html><title>client</title>
<script type="importmap">{ "imports": {
  "branchline": "/client/src/index.js", "branchline/offline": "/client/src/offline.js",
  "idb": "/client/vendor/idb/index.js", "uuidv7": "/client/vendor/uuidv7/index.js"
} }</script>
<script type="module">
  import { connect } from "branchline";
  import { offline } from "branchline/offline";
  const login = (email, password) => async () => {
    const body = JSON.stringify({ email, password });
    const headers = { "content-type": "application/json" };
    const answer = await fetch("/api/auth/login", { method: "POST", headers, body });
    return answer.ok ? (await answer.json()).access_token : null;
  };
  // Waits as a test does: for a condition, with a deadline.
  window.until = async (condition, what) => {
    const deadline = performance.now() + 30_000;
    while (!(await condition())) {
      if (performance.now() > deadline) throw new Error(`waited in vain for ${what ?? condition}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  window.start = (email, password, { kept = true, topic = {}, ...options } = {}) => {
    window.events = [];
    const parts = kept ? { offline: offline(kept === true ? {} : kept) } : {};
    window.client = connect({ token: login(email, password), ...parts, ...options });
    for (const name of ["state", "purge"]) client.on(name, (told) => events.push([name, told]));
    window.leads = client.live("leads", topic);
    window.updates = [];
    leads.on((update) => updates.push(...update.effects.map(({ kind, id }) => [kind, id])));
  };
  window.isReady = true;
</script>"""


async def serve_client(context: BrowserContext, stack: Stack) -> None:
    """Answer for the page in all tabs of a profile; everything else comes from the server."""

    async def answer(route: Route) -> None:
        await route.fulfill(body=HTML, content_type="text/html")

    await context.route(f"{stack.api_url}/client-page", answer)
    # Chromium cannot tell where a page that a test answers for comes from.
    await context.grant_permissions(["local-network-access"])


async def open_client(page: Page, stack: Stack) -> None:
    """Open the page, without a client."""
    await page.goto(f"{stack.api_url}/client-page")
    await page.wait_for_function("window.isReady")


async def start_client(page: Page, stack: Stack, email: str, **options: Any) -> None:
    """Open the page and start a client that follows the leads."""
    await open_client(page, stack)
    await page.evaluate(
        "([email, password, options]) => start(email, password, options)", [email, DEMO_PASSWORD, options]
    )

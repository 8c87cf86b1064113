"""The browser client and the demo page in Chromium: size, first load, the work of an update, commit to screen."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from benchmarks.harness.latencies import Histogram
from benchmarks.harness.people import Connection
from benchmarks.harness.report import Report, median
from benchmarks.harness.stack import Stack
from benchmarks.harness.tracing import CATEGORIES, work_ms
from core.lifecycle import StartupError
from core.queries import load
from tools import outside_programs
from tools.system_packages import MissingProgramError

RECORDS = 10_000
CORE_BYTES, ALL_BYTES = 6_000, 13_000
LOAD_SECONDS = 2.0
UPDATE_MS = 16.0
DRAWN_MS = 50.0
WARM_UP = 10
FIRST_VALUE = 5_000_000
PATIENCE_MS = 120_000.0
CHANGED = 8
_CLIENT = Path(outside_programs.JAVASCRIPT_CLIENT)
_queries = load("benchmarks", "page.sql")

# Notes when the first row, and when all records of all panes, were on the screen: a message that is posted in a frame
# is handled once that frame has been painted. The page is judged by what it shows.
WATCH_LOAD = """(records) => {
  const painted = (done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { port1.close(); done(); };
    port2.postMessage(null);
  };
  const isThere = (pane) => pane.querySelector(".line").dataset.state === "live" && pane.querySelector(".row")
    && pane.querySelector("[role=tab]").textContent.includes(records.toLocaleString("en"));
  const look = () => {
    const panes = [...document.querySelectorAll(".pane")];
    if (!window.firstRow && document.querySelector(".row")) painted(() => (window.firstRow = performance.now()));
    if (panes.length > 0 && panes.every(isThere)) painted(() => (window.allThere = performance.now()));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""

# Notes each amount that a row shows anew, and when it was painted.
WATCH_AMOUNTS = """() => {
  window.drawn = [];
  document.querySelectorAll(".pane").forEach((pane, place) => {
    new MutationObserver((mutations) => {
      const { port1, port2 } = new MessageChannel();
      const amounts = mutations.map(({ target }) => target).filter(({ className }) => className === "amount");
      port1.onmessage = () => {
        port1.close();
        for (const { textContent } of amounts) {
          const value = Number(textContent.replace(/\\D/g, ""));
          drawn.push([place, value, Date.now()]);
          performance.mark(`drawn ${value}`);
        }
      };
      port2.postMessage(null);
    }).observe(pane.querySelector(".list"), { childList: true, subtree: true });
  });
}"""


@dataclass(frozen=True, slots=True)
class Updates:
    """Writes of somebody elsewhere, one after the other: when each was begun, by the monotonic clock."""

    record_ids: tuple[str, ...]
    first_value: int
    begun_us: tuple[float, ...]


def run(stack: Stack, *, updates: int, loads: int) -> int:
    """Measure; print, keep, judge. The exit status. Raises StartupError without Chromium or Node.js."""
    try:
        os.environ.update(outside_programs.environment(browser=True, node=True))
    except MissingProgramError as error:
        raise StartupError(str(error)) from error
    return asyncio.run(_run(stack, updates, loads))


async def _run(stack: Stack, updates: int, loads: int) -> int:
    report = Report("page")
    await report.introduce(stack)
    _judge_size(report)
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    try:
        await owner.execute(_queries.fill_leads, RECORDS)
        await owner.execute("ANALYZE")
        async with async_playwright() as playwright:
            switches = outside_programs.CHROMIUM_SWITCHES
            browser = await playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=switches)
            report.say(f"Chromium {browser.version}, headless; {RECORDS:,} leads, and the demo's deals")
            await _judge_loads(report, stack, browser, loads)
            await _judge_work(report, stack, browser, updates)
            await _judge_drawn(report, stack, browser, updates, owner)
            await browser.close()
    finally:
        await owner.close()
    return report.finish()


def _judge_size(report: Report) -> None:
    """What `npm run size` says: minified by esbuild, gzip -9."""
    answer = subprocess.run(
        ["node", "tools/size.js"], cwd=_CLIENT, capture_output=True, text=True, check=True, timeout=120
    )
    sizes = {}
    for line in answer.stdout.splitlines()[1:]:
        _, gzipped, name = line.split(maxsplit=2)
        sizes[name] = int(gzipped)
        report.say(f"  {int(gzipped):7,} bytes gzipped  {name}")
    report.runs["size"] = {"gzipped_bytes": sizes, "invalid": []}
    core, both = sizes["core, our own code"], sizes["core, offline and tabs, our own code"]
    report.judge(
        "P12, size",
        core <= CORE_BYTES and both <= ALL_BYTES,
        f"core {core / 1000:.1f} kB gzipped (at most {CORE_BYTES / 1000:g}), "
        f"with offline and tabs {both / 1000:.1f} kB (at most {ALL_BYTES / 1000:g})",
    )


async def _open(stack: Stack, browser: Browser, query: str = "") -> Page:
    """The page in a profile of its own, with everything on the screen. Whoever calls closes its context."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.add_init_script(f"({WATCH_LOAD})({RECORDS})")
    await page.goto(f"{stack.api_url}/?colleagues=off{query}")
    await page.wait_for_function("() => window.allThere")
    return page


async def _judge_loads(report: Report, stack: Stack, browser: Browser, loads: int) -> None:
    """First visits, each in a new profile: from the start of the navigation."""
    first_rows, everything = [], []
    for _ in range(loads):
        page = await _open(stack, browser)
        first_rows.append(await page.evaluate("firstRow") / 1000)
        everything.append(await page.evaluate("allThere") / 1000)
        await page.context.close()
    report.runs["first load"] = {
        "first_row_seconds": [round(each, 3) for each in first_rows],
        "all_seconds": [round(each, 3) for each in everything],
        "invalid": [],
    }
    report.say(
        f"  first row after {median(first_rows):.2f} s, all of both panes live after {median(everything):.2f} s"
    )
    report.judge(
        "First load",
        median(everything) <= LOAD_SECONDS,
        f"both panes live with {RECORDS:,} leads after {median(everything):.2f} s, "
        f"median of {loads} new profiles (at most {LOAD_SECONDS:g})",
    )


async def _judge_work(report: Report, stack: Stack, browser: Browser, updates: int) -> None:
    """What an update costs the main thread of a page with one pane, from its being written to its being painted."""
    page = await _open(stack, browser, "&only=left")
    await page.evaluate(WATCH_AMOUNTS)
    await _write(stack, page, WARM_UP, FIRST_VALUE)
    await browser.start_tracing(page=page, categories=CATEGORIES)
    first = FIRST_VALUE + WARM_UP
    written = await _write(stack, page, updates, first)
    await _wait_drawn(page, first, updates)
    trace = json.loads(await browser.stop_tracing())
    await page.context.close()
    begun = {f"drawn {first + number}": us for number, us in enumerate(written.begun_us)}
    work = work_ms(trace["traceEvents"], begun)
    clock, cpu = (_histogram([each[place] for each in work]) for place in (0, 1))
    invalid = [] if len(work) == updates else [f"{len(work)} of {updates} updates are in the trace"]
    report.runs["update"] = {"clock_ms": clock.summary(), "cpu_ms": cpu.summary(), "invalid": invalid}
    report.histograms |= {"update/clock": clock, "update/cpu": cpu}
    report.invalid += [f"update: {fault}" for fault in invalid]
    report.say(f"  work of an update in {RECORDS:,} records, by the clock  {clock}")
    report.say(f"  the same in CPU                                 {cpu}")
    p95 = clock.percentile_ms(95)
    report.judge(
        "P12, an update",
        p95 <= UPDATE_MS,
        f"{p95:.1f} ms of the page's main thread by the clock, {cpu.percentile_ms(95):.1f} ms of CPU, "
        f"p95 of {len(work)}, from a trace (at most {UPDATE_MS:g})",
    )


async def _wait_drawn(page: Page, first: int, count: int) -> None:
    """Until so many amounts were drawn. What is missing in the end is counted by who asks."""
    condition = "([first, count]) => drawn.filter(([, value]) => value >= first).length >= count"
    with contextlib.suppress(PlaywrightTimeoutError):
        await page.wait_for_function(condition, arg=[first, count])


async def _judge_drawn(
    report: Report, stack: Stack, browser: Browser, updates: int, owner: Connection
) -> None:
    """From the commit of somebody's write to its being painted, in each of the two panes."""
    page = await _open(stack, browser)
    await page.evaluate(WATCH_AMOUNTS)
    first = FIRST_VALUE * 2
    await _write(stack, page, WARM_UP, first)
    first += WARM_UP
    written = await _write(stack, page, updates, first)
    await _wait_drawn(page, first, 2 * updates)
    drawn = await page.evaluate("drawn")
    await page.context.close()
    rows = await owner.fetch(_queries.fetch_commits, list(written.record_ids), first)
    committed = {row["value"]: row["committed_at_ms"] for row in rows}
    # Date.now() drops what is below a millisecond: half of one, on average.
    latencies = [at - committed[value] + 0.5 for _, value, at in drawn if value in committed]
    shown = len(latencies)
    invalid = [] if shown == 2 * updates else [f"{shown} of {2 * updates} updates were drawn"]
    histogram = _histogram(latencies)
    report.runs["commit to screen"] = {"drawn_ms": histogram.summary(), "invalid": invalid}
    report.histograms["commit to screen/drawn"] = histogram
    report.invalid += [f"commit to screen: {fault}" for fault in invalid]
    report.say(f"  from commit to screen, both panes open  {histogram}")
    p95 = histogram.percentile_ms(95)
    report.judge(
        "Commit to screen",
        p95 <= DRAWN_MS,
        f"p95 {p95:.0f} ms of {len(latencies)} in two panes (at most {DRAWN_MS:g})",
    )


async def _write(stack: Stack, page: Page, count: int, first_value: int) -> Updates:
    """Somebody else gives records in sight other amounts, each a different one, at no beat of the screen's."""
    rows = page.locator(".pane").first.locator(".row")
    shown = [await rows.nth(place).get_attribute("data-id") for place in range(CHANGED)]
    record_ids = tuple(id_ for id_ in shown if id_ is not None)
    pauses = random.Random(count)
    begun = []
    async with httpx.AsyncClient(base_url=stack.api_url, timeout=30) as client:
        credentials = {"email": "ana@demo.test", "password": "demo"}
        login = (await client.post("/api/auth/login", json=credentials)).raise_for_status()
        client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        for number in range(count):
            begun.append(time.monotonic_ns() / 1000)
            path = f"/api/leads/{record_ids[number % CHANGED]}"
            fields: dict[str, Any] = {"estimated_value": f"{first_value + number}.00"}
            (await client.patch(path, json=fields)).raise_for_status()
            await asyncio.sleep(pauses.uniform(0.1, 0.2))
    return Updates(record_ids, first_value, tuple(begun))


def _histogram(values_ms: Sequence[float]) -> Histogram:
    histogram = Histogram()
    for value in values_ms:
        histogram.add_us(max(1, round(value * 1000)), 1)
    return histogram

"""The demo page as a test sees it: two panes, rows, and waits for what somebody would see."""

import json
from dataclasses import dataclass

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.stack import Stack

SIZES = {390: 844, 900: 800, 1440: 900}
"""Heights of windows by their widths: a telephone, a tablet, a screen."""

_USUAL = {(390, "light"), (900, "dark"), (1440, "light")}
FORMATS = [
    pytest.param(width, scheme, marks=() if (width, scheme) in _USUAL else pytest.mark.long)
    for width in SIZES
    for scheme in ("light", "dark")
]
"""Every width and colour scheme; each of them once in the ordinary suite."""


@dataclass(frozen=True, slots=True)
class Pane:
    """One person's half of the page."""

    element: Locator

    @property
    def list(self) -> Locator:
        """What scrolls."""
        return self.element.locator(".list")

    @property
    def rows(self) -> Locator:
        """The rows that are in the document."""
        return self.element.locator(".row")

    @property
    def writable(self) -> Locator:
        """Rows that this person may change."""
        return self.rows.filter(has=self.element.page.locator("select[aria-disabled=false]"))

    @property
    def pill(self) -> Locator:
        """The word about the line."""
        return self.element.locator(".pill-text")

    @property
    def offline(self) -> Locator:
        """The switch that takes this person off the network; the pill opens it."""
        return self.element.get_by_role("switch", name="Go offline")

    def row(self, id_: str) -> Locator:
        """The row of a record."""
        return self.element.locator(f'.row[data-id="{id_}"]')

    def state_of(self, id_: str) -> Locator:
        """The select that shows and changes a record's state."""
        return self.row(id_).locator("select")

    async def wait_live(self) -> None:
        """Wait until this person's socket is live and their list is there."""
        await expect(self.element.locator(".line")).to_have_attribute("data-state", "live")
        await expect(self.rows.first).to_be_visible()

    async def become(self, email: str) -> None:
        """Sign in as somebody else."""
        await self.element.locator(".picker").select_option(email)
        await self.wait_live()


async def open_demo(page: Page, stack: Stack, *, colleagues: bool = False) -> tuple[Pane, Pane]:
    """The page with both panes live: Ben of North on the left, Carla of South on the right."""
    await page.goto(f"{stack.api_url}/?colleagues={'on' if colleagues else 'off'}")
    panes = page.locator(".pane")
    await expect(panes).to_have_count(2)
    left, right = Pane(panes.nth(0)), Pane(panes.nth(1))
    await left.wait_live()
    await right.wait_live()
    return left, right


def add_leads(stack: Stack, count: int, name: str) -> list[str]:
    """New leads of North, made in the database; their ids."""
    made = stack.psql(
        "INSERT INTO leads (organization_id, branch_id, name, company) "
        f"SELECT organization_id, id, '{name}', 'Test' FROM branches, generate_series(1, {count}) "
        "WHERE slug = 'north' AND organization_id = (SELECT id FROM organizations WHERE slug = 'demo') RETURNING id"
    )
    return made.splitlines()[:count]


async def id_of(row: Locator) -> str:
    """The id of the record that a row shows."""
    found = await row.get_attribute("data-id")
    assert found is not None
    return found


async def refuse_pushes(page: Page, **why: str) -> None:
    """Have the server refuse every write of this page."""

    async def refuse(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        refused = [{"mutation_id": m["mutation_id"], "status": "rejected", **why} for m in body["mutations"]]
        await route.fulfill(json={"results": refused, "epoch": "", "offset": 0})

    await page.route("**/api/sync", refuse)


# Whether this lies on this device, to be found after a reload: a part of a key.
_IS_KEPT = """async (part) => {
  for (const { name } of await indexedDB.databases()) {
    const found = await new Promise((resolve) => {
      const opening = indexedDB.open(name);
      opening.onsuccess = () => {
        const database = opening.result;
        if (!database.objectStoreNames.contains("STORE")) return resolve(database.close() ?? false);
        const asking = database.transaction("STORE").objectStore("STORE").getAllKeys();
        asking.onsuccess = () => resolve(database.close() ?? asking.result.some((key) => String(key).includes(part)));
      };
    });
    if (found) return true;
  }
  return false;
}"""
IS_DRAFTED = _IS_KEPT.replace("STORE", "drafts")
"""A draft of this record, or of a field of this name."""
NOTHING_IS_REFUSED = f"async () => !(await ({_IS_KEPT.replace('STORE', 'inbox')})(''))"

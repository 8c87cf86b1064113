"""A storm of changes from elsewhere: nothing flickers, nothing moves, and what somebody types stays."""

from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.demo import Pane, add_leads, id_of, open_demo
from tests.stack import Stack

ROUNDS = 25
STATES = ["new", "contacted", "qualified", "won", "lost"]

# Notes each row that is put into a list or taken out of it, and each scrolling, from now on.
WATCH = """(list) => {
  window.seen = [];
  const names = { addedNodes: "put in", removedNodes: "taken out" };
  new MutationObserver((mutations) => {
    for (const mutation of mutations) for (const [nodes, name] of Object.entries(names)) {
      for (const { className, dataset } of mutation[nodes]) {
        if (/\\brow\\b/.test(className)) seen.push(`${dataset.id} ${name}`);
      }
    }
  }).observe(list, { childList: true, subtree: true });
  list.addEventListener("scroll", () => seen.push(`scrolled to ${list.scrollTop}`));
}"""


def storm(stack: Stack, ids: list[str]) -> None:
    """Another person changes several fields of each record, again and again; the last state is won."""
    with stack.http("ana@demo.test") as ana:
        for round_ in range(ROUNDS):
            for place, id_ in enumerate(ids):
                last = round_ == ROUNDS - 1
                fields = {
                    "name": f"Round {round_}",
                    "status": "won" if last else STATES[(round_ + place) % len(STATES)],
                    "estimated_value": f"{round_}.00",
                }
                ana.patch(f"/api/leads/{id_}", json=fields).raise_for_status()


async def shows_the_end(pane: Pane, ids: list[str]) -> None:
    """Wait until the rows show what the storm has left."""
    for id_ in ids:
        await expect(pane.state_of(id_)).to_have_value("won")
        await expect(pane.row(id_).locator(".name")).to_have_text(f"Round {ROUNDS - 1}")


async def test_no_row_is_taken_out_or_put_back_and_the_list_does_not_scroll(
    open_page: OpenPage, stack: Stack
) -> None:
    add_leads(stack, 60, "Below and above")
    page = await open_page()
    _, carla = await open_demo(page, stack)
    await carla.list.evaluate("(list) => list.scrollTo({ top: 20 * 58 })")
    # Those in sight, when the rows for the new place are there.
    await expect(carla.list.locator("[aria-rowindex='21']")).to_be_visible()
    await expect(carla.list.locator("[aria-rowindex='1']")).to_have_count(0)
    ids = [await id_of(carla.list.locator(f"[aria-rowindex='{index}']")) for index in range(21, 27)]
    await carla.list.evaluate(WATCH)
    storm(stack, ids)
    await shows_the_end(carla, ids)
    assert await page.evaluate("seen") == []


async def test_rows_that_change_places_keep_their_elements(open_page: OpenPage, stack: Stack) -> None:
    ids = add_leads(stack, 6, "Changing places")
    page = await open_page()
    await page.goto(f"{stack.api_url}/?only=right&right.sort=-updated_at&colleagues=off")
    carla = Pane(page.locator(".pane"))
    await carla.wait_live()
    await expect(carla.row(ids[0])).to_be_visible()
    await carla.list.evaluate(WATCH)
    storm(stack, ids)
    await shows_the_end(carla, ids)
    await expect(carla.rows.first).to_have_attribute("data-id", ids[-1])
    assert await page.evaluate("seen") == []


async def test_what_somebody_types_outlasts_what_others_change(open_page: OpenPage, stack: Stack) -> None:
    ids = add_leads(stack, 3, "Typed into")
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await ben.row(ids[1]).locator("button.name").click()
    typed = ben.row(ids[1]).locator("input.name")
    await typed.fill("Half ty")
    storm(stack, ids)
    await shows_the_end(carla, ids)
    await expect(ben.state_of(ids[1])).to_have_value("won")
    await expect(typed).to_be_focused()
    await page.keyboard.type("ped")
    await page.keyboard.press("Enter")
    await expect(carla.row(ids[1]).locator(".name")).to_have_text("Half typed")
    await expect(ben.row(ids[1]).locator(".name")).to_have_text("Half typed")

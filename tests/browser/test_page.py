"""The demo page in a real browser, against everything that `branchline up` runs."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import expect

from cli.placement import find_postgresql
from tests.browser.conftest import OpenPage
from tests.browser.demo import IS_DRAFTED, add_leads, id_of, open_demo, refuse_pushes
from tests.stack import Stack

LONG_LIST = 10_000
DEMO = "SELECT id FROM organizations WHERE slug = 'demo'"
SIZES = {390: 844, 900: 800, 1440: 900}


async def test_a_click_in_one_window_appears_in_another_persons(
    open_page: OpenPage, stack: Stack, screenshots: Path
) -> None:
    here, there = await open_page(), await open_page()
    ben, _ = await open_demo(here, stack)
    _, carla = await open_demo(there, stack)
    row = ben.writable.first
    id_ = await id_of(row)
    before = await ben.state_of(id_).input_value()
    wanted = "qualified" if before != "qualified" else "contacted"
    await ben.state_of(id_).select_option(wanted)
    await expect(carla.state_of(id_)).to_have_value(wanted)
    await expect(carla.row(id_).locator(".by")).to_have_text("Ben, North")
    await expect(ben.row(id_).locator(".by")).to_have_text("Saved")
    await expect(carla.element.locator(".ticker")).to_contain_text(f"to {wanted}")
    await expect(carla.element.locator("[aria-live]")).to_contain_text("Ben, North moved")
    await expect(carla.pill).to_contain_text("Live · ")
    await here.screenshot(path=screenshots / "click-ben.png")
    await there.screenshot(path=screenshots / "click-carla.png")
    assert stack.psql(f"SELECT status FROM leads WHERE id = '{id_}'") == wanted


async def test_a_name_is_edited_with_the_keyboard_alone(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await ben.element.locator(".search").focus()
    for _ in range(10):  # the button for a new lead, five states, the branch, the order, two heads of columns
        await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")  # the list, which is one stop
    id_ = await id_of(ben.element.locator(".row:focus-within"))
    while await ben.state_of(id_).get_attribute("aria-disabled") == "true":
        await page.keyboard.press("ArrowDown")
        id_ = await id_of(ben.element.locator(".row:focus-within"))
    await page.keyboard.press("Enter")
    await page.keyboard.type("Zoë Ångström")
    await page.keyboard.press("Enter")
    await expect(carla.row(id_).locator(".name")).to_have_text("Zoë Ångström")
    await expect(ben.row(id_).locator("button.name")).to_be_focused()


async def test_a_new_lead_appears_on_top_in_the_other_pane(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await ben.element.get_by_role("button", name="New lead").click()
    await page.keyboard.type("   ")
    await page.keyboard.press("Enter")
    name = ben.element.locator(".create input[name=name]")
    assert await name.evaluate("(input) => input.validationMessage") == "A name has more than blanks."
    await name.fill("Café Ñandú")
    await page.keyboard.press("Enter")
    await expect(carla.rows.first.locator(".name")).to_have_text("Café Ñandú")
    await expect(ben.rows.first.locator(".name")).to_have_text("Café Ñandú")
    await expect(ben.rows.first.locator(".about")).to_have_text("North")
    await expect(ben.element.locator(".create")).to_be_hidden()


async def test_a_new_deal_has_its_stage_and_amount_and_what_is_typed_outlives_the_page(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    for pane in (ben, carla):
        await pane.element.get_by_role("tab", name="Deals").click()
    await ben.element.get_by_role("button", name="New deal").click()
    await page.keyboard.type("Two halls at the harbour")
    await ben.element.locator(".create").get_by_label("Amount").fill("18000")
    await page.wait_for_function(IS_DRAFTED, arg="amount")
    await page.reload()
    await ben.wait_live()
    await ben.element.get_by_role("button", name="New deal").click()
    form = ben.element.locator(".create")
    await expect(form.get_by_label("Name")).to_have_value("Two halls at the harbour")
    await form.get_by_label("Stage").select_option("proposal")
    await form.get_by_role("button", name="Add").click()
    row = carla.rows.filter(has_text="Two halls at the harbour").first
    await expect(row.locator("select")).to_have_value("proposal")
    await expect(row.locator(".amount")).to_have_text("€18,000")
    await ben.element.get_by_role("button", name="New deal").click()
    await expect(form.get_by_label("Name")).to_have_value("")


async def test_rows_keep_their_places_under_the_pointer(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    first = await id_of(carla.rows.first)
    await carla.rows.nth(1).hover()
    with stack.http("ana@demo.test") as ana:
        ana.post("/api/leads", json={"name": "While you point"}).raise_for_status()
    await expect(carla.element.locator(".fresh")).to_have_text("1 new")
    assert await id_of(carla.rows.first) == first
    await carla.element.locator(".fresh").click()
    await expect(carla.rows.first.locator(".name")).to_have_text("While you point")
    await expect(carla.element.locator(".fresh")).to_be_hidden()
    await expect(ben.rows.first.locator(".name")).to_have_text("While you point")


async def test_the_lines_for_a_terminal_make_the_writes_that_they_show(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    id_ = await id_of(ben.writable.first)
    await ben.row(id_).locator("button.name").focus()
    await expect(page.locator("#curl")).to_contain_text(id_)
    wanted = make_curl_write(await page.locator("#curl").inner_text(), id_)
    await expect(carla.state_of(id_)).to_have_value(wanted)
    await expect(carla.row(id_).locator(".by")).to_have_text("Ben, North")

    await expect(page.locator("#psql")).not_to_contain_text(f"= '{wanted}'")
    await expect(page.locator("#psql")).to_contain_text(f"'{stack.up.home}/environment'")
    wanted = make_psql_write(await page.locator("#psql").inner_text(), stack)
    await expect(carla.state_of(id_)).to_have_value(wanted)
    await expect(carla.row(id_).locator(".by")).to_have_text("SQL")


def make_curl_write(line: str, id_: str) -> str:
    """Send what the curl line would send; the state that it asks for."""
    words = shlex.split(line)
    assert words[:3] == ["curl", "-X", "PATCH"]
    assert words[3].endswith(f"/api/leads/{id_}")
    headers = dict(words[place + 1].split(": ", 1) for place, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1]
    httpx.patch(words[3], headers=headers, content=body).raise_for_status()
    return body.split('"')[3]


def make_psql_write(line: str, stack: Stack) -> str:
    """Have a shell run the psql line; the state that it asks for."""
    path = os.pathsep.join([str(find_postgresql()), os.environ["PATH"]])
    finished = subprocess.run(
        ["sh", "-c", line], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert finished.stdout == "UPDATE 1\n", finished.stderr
    return line.split("SET status = '")[1].split("'")[0]


async def test_who_may_not_write_is_told_and_nothing_is_sent(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    writes: list[str] = []
    page.on(
        "request", lambda request: writes.append(request.url) if request.url.endswith("/api/sync") else None
    )
    foreign = ben.row(
        stack.psql(
            "INSERT INTO leads (organization_id, branch_id, name, company)"
            " SELECT organization_id, id, 'Sato', 'Foreign' FROM branches"
            f" WHERE slug = 'south' AND organization_id = ({DEMO}) RETURNING id"
        ).splitlines()[0]
    )
    await foreign.locator("button.name").click(force=True)
    await expect(ben.element.get_by_role("alert")).to_have_text("Ben may not write to South.×")
    await expect(foreign.locator("input")).to_have_count(0)
    assert writes == []


async def test_rita_reads_her_own_branch_only(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    _, right = await open_demo(page, stack)
    await right.become("rita@demo.test")
    own = stack.psql(
        f"SELECT count(*) FROM leads WHERE organization_id = ({DEMO}) "
        "AND (branch_id IS NULL OR branch_id IN (SELECT id FROM branches WHERE slug = 'south'))"
    )
    await expect(right.element.get_by_role("tab", name="Leads")).to_contain_text(f"{int(own):,}")
    for about in await right.rows.locator(".about").all_text_contents():
        assert about.split(" · ")[-1] in ("South", "All branches")


async def test_a_value_that_is_refused_is_shown_with_its_reason(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    row = ben.writable.first
    id_ = await id_of(row)
    before = await row.locator("button.name").inner_text()
    await refuse_pushes(page, code="invalid", message="That name is taken")
    await ben.row(id_).locator("button.name").click()
    await page.keyboard.type("A name that is typed once")
    await page.keyboard.press("Enter")
    notice = ben.element.get_by_role("alert")
    await expect(notice).to_contain_text("“A name that is typed once” was not saved. That name is taken.")
    await expect(ben.row(id_).locator("button.name")).to_have_text(before)


async def test_what_happened_while_somebody_was_offline_is_there_when_they_are_back(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    id_ = await id_of(ben.writable.first)
    await carla.pill.click()
    await carla.offline.check()
    await expect(carla.pill).to_have_text("Offline")
    before = await carla.state_of(id_).input_value()
    wanted = "won" if before != "won" else "lost"
    await ben.state_of(id_).select_option(wanted)
    await expect(ben.row(id_).locator(".by")).to_have_text("Saved")
    await expect(carla.state_of(id_)).to_have_value(before)
    await carla.offline.uncheck()
    await expect(carla.state_of(id_)).to_have_value(wanted)
    await carla.wait_live()


async def test_colleagues_write_while_the_switch_is_on(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack, colleagues=True)
    for pane in (ben, carla):
        await expect(pane.element.locator(".ticker")).to_contain_text("Ana")
        await expect(pane.element.locator(".ticker")).to_contain_text("Rita, South")
    await page.get_by_role("switch", name="Colleagues at work").click()
    await expect(page.get_by_role("switch", name="Colleagues at work")).not_to_be_checked()
    await page.goto(stack.api_url)
    await expect(
        page.get_by_role("switch", name="Colleagues at work")
    ).not_to_be_checked()  # it is remembered


@pytest.fixture
def long_list(stack: Stack) -> Iterator[int]:
    """Leads enough for a long list, taken away afterwards; how many there are."""
    known = int(stack.psql(f"SELECT count(*) FROM leads WHERE organization_id = ({DEMO})"))
    stack.psql(
        "INSERT INTO leads (organization_id, name, company, notes) "
        f"SELECT ({DEMO}), 'Lead ' || n, 'Long list', 'long list' FROM generate_series({known} + 1, {LONG_LIST}) n"
    )
    yield LONG_LIST
    stack.psql("DELETE FROM leads WHERE notes = 'long list'")


async def test_ten_thousand_leads_are_a_list_like_any_other(
    open_page: OpenPage, stack: Stack, long_list: int, screenshots: Path
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await expect(ben.element.get_by_role("tab", name="Leads")).to_contain_text(f"{long_list:,}")
    assert await ben.rows.count() < 60
    await page.evaluate(LONGEST_FRAME)
    await ben.rows.first.locator("button.name").focus()
    await page.keyboard.press("End")
    last = ben.rows.last
    await expect(last).to_have_attribute("aria-rowindex", str(long_list))
    assert await ben.rows.count() < 60
    await page.keyboard.press("Home")
    id_ = await id_of(ben.rows.first)
    stack.psql(f"UPDATE leads SET status = 'won' WHERE id = '{id_}'")
    await expect(carla.state_of(id_)).to_have_value("won")
    print(f"longest frame with {long_list} leads: {await page.evaluate('longestFrame'):.0f} ms")
    await page.screenshot(path=screenshots / "long-list.png")


LONGEST_FRAME = """() => {
  window.longestFrame = 0;
  let last = performance.now();
  const tick = (now) => { longestFrame = Math.max(longestFrame, now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
async def test_the_page_fits_and_can_be_read(
    open_page: OpenPage, stack: Stack, screenshots: Path, width: int, scheme: str
) -> None:
    page = await open_page(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    ben, carla = await open_demo(page, stack)
    id_ = await id_of(ben.writable.first)
    was_won = await ben.state_of(id_).input_value() == "won"
    await ben.state_of(id_).select_option("qualified" if was_won else "won")
    await expect(carla.row(id_).locator(".by")).to_have_text("Ben, North")
    await page.screenshot(path=screenshots / f"page-{width}-{scheme}.png")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.evaluate(FAINT_TEXTS) == []


# Texts whose contrast with what is behind them is below 4.5 (WCAG 2, AA): what they say, and the ratio.
FAINT_TEXTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => rgb
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const faint = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const { parentElement: element, data } = words.currentNode;
    if (!data.trim() || !element.checkVisibility() || element.closest("option, :disabled, .unseen")) continue;
    const behind = [];
    for (let each = element; each; each = each.parentElement) behind.unshift(getComputedStyle(each).backgroundColor);
    const [light, dark] = [pixel(behind), pixel([...behind, getComputedStyle(element).color])]
      .map(luminance).sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) faint.push(`${data.trim()} ${ratio.toFixed(2)}`);
  }
  return faint;
}"""


async def test_the_page_asks_nobody_but_this_machine(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))
    await open_demo(page, stack, colleagues=True)
    assert hosts == {urlsplit(stack.api_url).netloc, urlsplit(stack.gateway_url).netloc}


async def test_a_narrow_row_keeps_its_branch_and_its_amount(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 390, "height": 844})
    (id_,) = add_leads(stack, 1, "Narrow")
    stack.psql(f"UPDATE leads SET company = '{'Long ' * 20}', estimated_value = 8750 WHERE id = '{id_}'")
    ben, _ = await open_demo(page, stack)
    about = ben.row(id_).locator(".about")
    place, branch = await about.bounding_box(), await about.get_by_text("North").bounding_box()
    assert place is not None
    assert branch is not None
    assert branch["x"] + branch["width"] <= place["x"] + place["width"] + 1
    await expect(ben.row(id_).locator(".amount")).to_be_visible()
    await expect(ben.row(id_).locator(".amount")).to_have_text("€8,750")
    spread = await ben.element.locator(".spread").bounding_box()
    lost = await ben.element.get_by_role("button", name="Lost").bounding_box()
    assert spread is not None
    assert lost is not None
    assert lost["x"] + lost["width"] <= spread["x"] + spread["width"]


async def test_a_tab_names_the_panel_that_it_fills(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    for pane in await open_demo(page, stack):
        deals = pane.element.get_by_role("tab", name="Deals")
        await deals.click()
        panel = pane.element.get_by_role("tabpanel", name="Deals")
        await expect(panel.get_by_role("grid", name="Deals")).to_be_visible()
        panel_id = await panel.get_attribute("id")
        assert panel_id is not None
        await expect(deals).to_have_attribute("aria-controls", panel_id)

"""The board of deals: cards in columns by stage, moved by mouse, finger and keyboard, by those who may."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import OpenPage
from tests.browser.demo import FORMATS, SIZES
from tests.stack import Stack

DEMO = "SELECT id FROM organizations WHERE slug = 'demo'"
MANY = 10_000
BOARDS = "left.list=deals&left.view=board&right.list=deals&right.view=board"


@dataclass(frozen=True, slots=True)
class BoardPane:
    """One person's half of the page, with the board in it."""

    element: Locator

    def column(self, stage: str) -> Locator:
        return self.element.locator(f'.column[data-state="{stage}"]')

    def card(self, id_: str, stage: str | None = None) -> Locator:
        within = self.element if stage is None else self.column(stage)
        return within.locator(f'.card[data-id="{id_}"]')

    def title(self, id_: str) -> Locator:
        return self.card(id_).get_by_role("button")

    async def count(self, stage: str) -> int:
        return int((await self.column(stage).locator(".count").inner_text()).replace(",", ""))


async def open_boards(page: Page, stack: Stack, query: str = BOARDS) -> tuple[BoardPane, BoardPane]:
    """Ben of North on the left, Carla of South on the right, each with the board."""
    await page.goto(f"{stack.api_url}/?colleagues=off&{query}")
    panes = page.locator(".pane")
    left, right = BoardPane(panes.nth(0)), BoardPane(panes.nth(1))
    for pane in (left, right):
        await expect(pane.element.locator(".line")).to_have_attribute("data-state", "live")
        await expect(pane.element.locator(".card, .row").first).to_be_visible()
    return left, right


def add_deals(stack: Stack, name: str, *, branch: str = "north", count: int = 1) -> list[str]:
    """New deals in qualification, each of a thousand euros; their ids. They are the newest, and so on top."""
    made = stack.psql(
        "INSERT INTO deals (organization_id, branch_id, name, amount) "
        f"SELECT organization_id, id, '{name}', 1000 FROM branches, generate_series(1, {count}) "
        f"WHERE slug = '{branch}' AND organization_id = ({DEMO}) RETURNING id"
    )
    return made.splitlines()[:count]


def stage_of(stack: Stack, id_: str) -> str:
    return stack.psql(f"SELECT stage FROM deals WHERE id = '{id_}'")


async def drag(page: Page, card: Locator, column: Locator) -> None:
    """Take a card by the mouse and hold it over a column."""
    await card.hover()
    await page.mouse.down()
    await page.mouse.move(*await middle_of(card), steps=2)
    await page.mouse.move(*await middle_of(column), steps=12)


async def middle_of(place: Locator) -> tuple[float, float]:
    box = await place.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


async def test_a_deal_is_dragged_to_another_stage_and_moves_on_the_other_board(
    open_page: OpenPage, stack: Stack, screenshots: Path
) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, carla = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Dragged deal")
    await expect(ben.card(id_, "qualification")).to_be_visible()
    await expect(carla.card(id_, "qualification")).to_be_visible()
    before = await ben.count("proposal")
    await drag(page, ben.card(id_), ben.column("proposal"))
    await expect(page.locator(".ghost")).to_contain_text("Dragged deal")
    await expect(ben.column("proposal").locator(".slot")).to_be_visible()
    await page.screenshot(path=screenshots / "board-drag.png")
    await page.mouse.up()
    await expect(page.locator(".ghost")).to_have_count(0)
    await expect(ben.card(id_, "proposal")).to_be_visible()
    await expect(ben.card(id_, "qualification")).to_have_count(0)
    await expect(carla.card(id_, "proposal")).to_be_visible()
    await expect(carla.card(id_, "qualification")).to_have_count(0)
    await expect(carla.card(id_).locator(".by")).to_have_text("Ben, North")
    assert await ben.count("proposal") == before + 1
    assert stage_of(stack, id_) == "proposal"


@pytest.mark.parametrize("is_offline", [False, True])
async def test_a_new_deal_with_an_amount_is_a_card_at_once(
    open_page: OpenPage, stack: Stack, *, is_offline: bool
) -> None:
    """The server has not said its currency, its probability nor its owner yet."""
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack, BOARDS)
    if is_offline:
        await ben.element.locator(".pill-text").click()
        await ben.element.get_by_role("switch", name="Go offline").check()
        await ben.element.locator(".pill-text").click()
    name = f"Greenhouse {is_offline}"
    form = ben.element.locator(".create")
    await ben.element.get_by_role("button", name="New deal").click()
    await form.get_by_label("Name").fill(name)
    await form.get_by_label("Amount").fill("500")
    await form.get_by_role("button", name="Add").click()
    await expect(form).to_be_hidden()
    card = ben.column("qualification").locator(".card", has_text=name)
    await expect(card.locator(".amount")).to_have_text("€500")
    if is_offline:
        await expect(ben.element.locator(".pill-text")).to_have_text("Offline · 1 to send")
        await page.reload()
        await expect(card).to_have_count(1)
    else:
        await expect(card.locator(".by")).to_have_text("Saved")
        assert stack.psql(f"SELECT count(*) FROM deals WHERE name = '{name}'") == "1"


async def test_a_new_deal_shows_nothing_for_what_it_has_not(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_boards(page, stack, "left.list=deals&right.list=deals")
    await ben.element.locator(".pill-text").click()
    await ben.element.get_by_role("switch", name="Go offline").check()
    await ben.element.locator(".pill-text").click()
    await ben.element.get_by_role("button", name="New deal").click()
    await ben.element.locator(".create").get_by_label("Name").fill("Only a name")
    await page.keyboard.press("Enter")
    row = ben.element.locator(".row", has_text="Only a name")
    await expect(row.locator(".about")).to_have_text("North")
    await row.locator(".open").click()
    await expect(ben.element.locator(".record").get_by_label("Currency")).to_have_value("EUR")
    await expect(ben.element.locator(".record").get_by_label("Probability")).to_have_value("")


async def test_escape_puts_a_dragged_card_back(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Never moved")
    await drag(page, ben.card(id_, "qualification"), ben.column("proposal"))
    await expect(ben.column("proposal").locator(".slot")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator(".ghost")).to_have_count(0)
    await page.mouse.up()
    await expect(ben.card(id_, "qualification")).to_be_visible()
    assert stage_of(stack, id_) == "qualification"


async def test_a_finger_that_rests_on_a_card_drags_it(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900}, has_touch=True)
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Under a finger")
    await ben.element.locator(".board").evaluate("(board) => board.scrollTo(0, 0)")
    fingers = await page.context.new_cdp_session(page)
    x, y = await middle_of(ben.card(id_, "qualification"))

    async def touch(kind: str, *points: tuple[float, float]) -> None:
        await fingers.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
        )

    await touch("touchStart", (x, y))
    await expect(page.locator(".ghost")).to_be_visible()
    to = await middle_of(ben.column("proposal"))
    await touch("touchMove", to)
    await expect(ben.column("proposal").locator(".slot")).to_be_visible()
    await touch("touchEnd")
    await expect(ben.card(id_, "proposal")).to_be_visible()
    await expect(ben.card(id_).locator(".by")).to_have_text("Saved")
    assert stage_of(stack, id_) == "proposal"


async def test_a_card_at_the_edge_scrolls_the_board(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 390, "height": 844})
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Taken far")
    board = ben.element.locator(".board")
    box = await board.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await ben.card(id_, "qualification").hover()
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] - 4, middle, steps=8)
    last = ben.column("lost")
    await expect(last.locator(".slot")).to_be_visible()  # it has scrolled past all the others
    await page.mouse.up()
    await expect(ben.card(id_, "lost")).to_be_visible()
    await expect(ben.card(id_).locator(".by")).to_have_text("Saved")
    assert stage_of(stack, id_) == "lost"


async def test_a_deal_is_moved_with_the_keyboard_alone(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, carla = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Moved by keys")
    await ben.title(id_).focus()
    await page.keyboard.press("Shift+ArrowRight")
    await expect(ben.card(id_, "proposal").get_by_role("button")).to_be_focused()
    await page.keyboard.press("Shift+ArrowRight")
    await expect(ben.card(id_, "negotiation").get_by_role("button")).to_be_focused()
    await expect(carla.card(id_, "negotiation")).to_be_visible()
    await page.keyboard.press("Tab")  # the list of stages on the card
    await expect(ben.card(id_).get_by_label("Stage of Moved by keys")).to_be_focused()
    await page.keyboard.press("w")
    await expect(ben.card(id_, "won").get_by_role("button")).to_be_focused()
    await expect(carla.card(id_, "won")).to_have_count(1)


async def test_the_arrows_go_from_card_to_card_and_from_column_to_column(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    await ben.column("qualification").locator(".headline").first.focus()
    await page.keyboard.press("ArrowDown")
    await expect(ben.column("qualification").locator(".headline").nth(1)).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(ben.column("proposal").locator(".headline").nth(1)).to_be_focused()
    await page.keyboard.press("End")
    last = ben.column("proposal").locator(".card:focus-within")
    await expect(last).to_have_attribute("aria-rowindex", str(await ben.count("proposal")))


async def test_who_may_not_move_a_deal_is_told_and_it_stays(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Of the south", branch="south")
    notice = ben.element.get_by_role("alert")
    place = await ben.card(id_, "qualification").bounding_box()
    await drag(page, ben.card(id_), ben.column("proposal"))
    await expect(notice).to_contain_text("Ben may not write to South.")
    await expect(page.locator(".ghost")).to_have_count(0)
    assert await ben.card(id_).bounding_box() == place
    await page.mouse.up()
    await notice.get_by_role("button").last.click()
    await ben.title(id_).focus()
    await page.keyboard.press("Shift+ArrowRight")
    await expect(notice).to_contain_text("Ben may not write to South.")
    await expect(ben.card(id_, "qualification")).to_be_visible()
    assert stage_of(stack, id_) == "qualification"


async def test_cards_keep_their_places_under_the_pointer(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, carla = await open_boards(page, stack)
    first, second = add_deals(stack, "Pointed at", count=2)
    for id_ in (first, second):
        await expect(ben.card(id_, "qualification")).to_be_visible()
    await ben.card(first).hover()
    place = await ben.card(first).bounding_box()
    (new,) = add_deals(stack, "While somebody points")
    stack.psql(f"UPDATE deals SET stage = 'won' WHERE id = '{second}'")
    await expect(carla.card(new, "qualification")).to_be_visible()
    await expect(carla.card(second, "won")).to_have_count(1)
    column = ben.column("qualification")
    await expect(column.locator(".fresh")).to_have_text("1 new")
    await expect(ben.card(second, "qualification")).to_contain_text("Now won")
    assert await ben.card(first).bounding_box() == place
    await column.locator(".fresh").click()
    await expect(ben.card(new, "qualification")).to_be_visible()
    await expect(ben.card(second, "qualification")).to_have_count(0)


async def test_a_card_that_is_dragged_is_not_moved_by_others(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, carla = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Wanted by two")
    await drag(page, ben.card(id_, "qualification"), ben.column("proposal"))
    stack.psql(f"UPDATE deals SET stage = 'lost' WHERE id = '{id_}'")
    await expect(carla.card(id_, "lost")).to_have_count(1)
    await expect(ben.card(id_, "qualification")).to_contain_text("Now lost")
    await page.mouse.up()
    await expect(ben.card(id_, "proposal")).to_be_visible()
    await expect(carla.card(id_, "proposal")).to_have_count(1)


async def test_filters_apply_and_the_address_keeps_the_board(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    add_deals(stack, "Findable thing", count=2)
    ben, _ = await open_boards(page, stack, "left.list=deals&right.list=deals&right.view=board")
    await ben.element.get_by_role("button", name="Board").click()
    assert "left.view=board" in page.url
    await ben.element.get_by_role("searchbox").fill("findable thing")
    await expect(ben.element.locator(".card")).to_have_count(2)
    assert await ben.count("qualification") == 2
    await expect(ben.column("qualification").locator(".sum")).to_have_text("€2K")
    await ben.column("won").get_by_role("button", name="Won").click()
    await expect(ben.column("qualification")).to_have_class(re.compile("aside"))
    assert "left.status=won" in page.url
    await page.go_back()
    await expect(ben.column("qualification")).not_to_have_class(re.compile("aside"))
    await ben.element.get_by_role("button", name="List").click()
    await expect(ben.element.locator(".row")).to_have_count(2)


async def test_a_card_opens_its_record_and_back_is_where_it_was(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Looked into")
    await ben.card(id_, "qualification").click()
    await expect(ben.element.get_by_role("heading", name="Looked into")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(ben.title(id_)).to_be_focused()


async def test_the_focus_goes_with_a_card_that_is_taken_back(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Moved and taken back")
    await ben.title(id_).focus()
    await page.keyboard.press("Shift+ArrowRight")
    await expect(ben.card(id_, "proposal").get_by_role("button")).to_be_focused()
    await page.keyboard.press("Control+z")
    await expect(ben.card(id_, "qualification").get_by_role("button")).to_be_focused()
    await drag(page, ben.card(id_), ben.column("proposal"))
    await page.mouse.up()
    await expect(ben.card(id_, "proposal").get_by_role("button")).to_be_focused()
    await page.keyboard.press("Control+z")
    await expect(ben.card(id_, "qualification").get_by_role("button")).to_be_focused()


async def test_what_a_card_says_stays_within_it(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    large, moved = add_deals(stack, "Within its card", count=2)
    stack.psql(f"UPDATE deals SET amount = 999999999999.99 WHERE id = '{large}'")
    amount = ben.card(large).locator(".amount")
    await expect(amount).to_have_text("€999,999,999,999.99")
    await ben.element.locator(".pill-text").click()
    await ben.element.get_by_role("switch", name="Go offline").check()
    await expect(ben.element.locator(".fact-reason")).to_have_text("Paused.")
    await page.keyboard.press("Escape")
    await ben.title(moved).focus()
    await page.keyboard.press("Shift+ArrowRight")
    word = ben.card(moved, "proposal").locator(".by")
    await expect(word).to_have_text("Saved on this device")
    for place, card in ((amount, ben.card(large)), (word, ben.card(moved))):
        inner, outer = await place.bounding_box(), await card.bounding_box()
        assert inner is not None
        assert outer is not None
        assert outer["x"] <= inner["x"]
        assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]


async def test_two_boards_side_by_side_show_four_stages_and_the_edge_of_the_last(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_boards(page, stack)
    board = await ben.element.locator(".board").bounding_box()
    won, lost = [await ben.column(stage).bounding_box() for stage in ("won", "lost")]
    assert board is not None
    assert won is not None
    assert lost is not None
    edge = board["x"] + board["width"]
    assert won["x"] + won["width"] < edge
    assert edge - lost["x"] > 24
    for name in await ben.element.locator(".stage").all():
        assert await name.evaluate("(stage) => stage.scrollWidth <= stage.clientWidth")


@pytest.fixture
def many_deals(stack: Stack) -> Iterator[int]:
    """Deals enough for long columns, taken away afterwards; how many there are."""
    known = int(stack.psql(f"SELECT count(*) FROM deals WHERE organization_id = ({DEMO})"))
    stack.psql(
        "INSERT INTO deals (organization_id, name, notes, amount, stage) "
        f"SELECT ({DEMO}), 'Deal ' || n, 'long board', n, (enum_range(NULL::deal_stage))[1 + n % 5] "
        f"FROM generate_series({known} + 1, {MANY}) n"
    )
    yield MANY
    stack.psql("DELETE FROM deals WHERE notes = 'long board'")


async def test_ten_thousand_deals_are_a_board_like_any_other(
    open_page: OpenPage, stack: Stack, many_deals: int
) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, carla = await open_boards(page, stack)
    await expect(ben.element.get_by_role("tab", name="Deals")).to_contain_text(f"{many_deals:,}")
    assert await ben.element.locator(".card").count() < 120
    await page.evaluate(LONGEST_FRAME)
    await ben.column("qualification").locator(".headline").first.focus()
    await page.keyboard.press("End")
    last = ben.column("qualification").locator(".card").last
    await expect(last).to_have_attribute("aria-rowindex", str(await ben.count("qualification")))
    assert await ben.element.locator(".card").count() < 120
    (id_,) = add_deals(stack, "One more")
    await expect(carla.card(id_, "qualification")).to_be_visible()
    await drag(page, carla.card(id_), carla.column("proposal"))
    await page.keyboard.press("Escape")
    await page.mouse.up()
    print(f"longest frame with {many_deals} deals: {await page.evaluate('longestFrame'):.0f} ms")


LONGEST_FRAME = """() => {
  window.longestFrame = 0;
  let last = performance.now();
  const tick = (now) => { longestFrame = Math.max(longestFrame, now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


@pytest.mark.parametrize(("width", "scheme"), FORMATS)
async def test_the_board_fits_and_can_be_used_by_everybody(
    open_page: OpenPage, stack: Stack, screenshots: Path, width: int, scheme: str
) -> None:
    page = await open_page(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    ben, _ = await open_boards(page, stack)
    (id_,) = add_deals(stack, "Boiler exchange, Café Ñandú")
    await expect(ben.card(id_, "qualification")).to_be_visible()
    await page.screenshot(path=screenshots / f"board-{width}-{scheme}.png")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await assert_accessible(page)

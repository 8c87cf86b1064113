"""The demo page can be used by everybody: axe-core finds no serious fault in any of its states."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import OpenPage
from tests.browser.demo import FORMATS, Pane, id_of, open_demo
from tests.stack import Stack


@pytest.mark.parametrize(("width", "scheme"), FORMATS)
async def test_no_state_of_the_page_has_a_serious_fault(
    open_page: OpenPage, stack: Stack, width: int, scheme: str
) -> None:
    page = await open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    ben, carla = await open_demo(page, stack)
    await assert_accessible(page)
    await show_a_change(ben, carla)
    await assert_accessible(page)
    await edit_a_name(page, ben)
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await be_refused(carla)
    await assert_accessible(page)
    await add_a_lead(ben)
    await assert_accessible(page)
    await find_nothing(ben)
    await carla.element.get_by_role("tab", name="Deals").click()
    await assert_accessible(page)
    await go_offline(carla)
    await assert_accessible(page)


async def test_a_serious_fault_is_found(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    await open_demo(page, stack)
    await page.locator(".role").first.evaluate("(role) => { role.style.color = '#ccc'; }")
    await page.locator(".picker").first.evaluate("(picker) => picker.removeAttribute('aria-label')")
    with pytest.raises(AssertionError) as raised:
        await assert_accessible(page)
    assert "(color-contrast)" in str(raised.value)
    assert "(select-name)" in str(raised.value)


async def show_a_change(ben: Pane, carla: Pane) -> None:
    """Something lights up, and the foot says who did it."""
    id_ = await id_of(ben.writable.first)
    was_won = await ben.state_of(id_).input_value() == "won"
    await ben.state_of(id_).select_option("qualified" if was_won else "won")
    await expect(carla.row(id_).locator(".by")).to_have_text("Ben, North")


async def edit_a_name(page: Page, ben: Pane) -> None:
    """A name is a field."""
    await ben.writable.first.locator("button.name").click()
    await expect(ben.element.locator("input.name")).to_be_focused()


async def be_refused(pane: Pane) -> None:
    """A notice says that this person may not write."""
    await pane.become("vera@demo.test")
    await pane.rows.first.locator("button.name").click(force=True)
    await expect(pane.element.get_by_role("alert")).to_contain_text("Vera may read, not write.")


async def add_a_lead(ben: Pane) -> None:
    """The form for a new one is open."""
    await ben.element.get_by_role("button", name="New lead").click()
    await expect(ben.element.locator(".create")).to_be_visible()


async def find_nothing(ben: Pane) -> None:
    """Filters are on, and nothing is like that."""
    await ben.element.locator(".search").fill("nobody is called this")
    await expect(ben.element.locator(".empty")).to_be_visible()


async def go_offline(carla: Pane) -> None:
    """The facts about the line are open, and it is off."""
    await carla.pill.click()
    await carla.offline.check()
    await expect(carla.pill).to_have_text("Offline")

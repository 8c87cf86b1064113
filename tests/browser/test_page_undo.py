"""What a person has added, deleted or restored is taken back like any other step, with a connection or without."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.demo import Pane, add_leads, open_demo
from tests.browser.record import ANA, CARLA, RecordPage, make_lead, open_record, patch
from tests.stack import Stack


def count(stack: Stack, id_: str) -> str:
    return stack.psql(f"SELECT count(*) FROM leads WHERE id = '{id_}'")


async def set_offline(pane: Pane, is_offline: bool) -> None:
    await pane.pill.click()
    await pane.offline.set_checked(is_offline)
    await pane.pill.click()


async def delete(page: Page, pane: Pane, id_: str) -> RecordPage:
    await pane.row(id_).locator(".open").click()
    record = RecordPage(pane)
    await record.element.get_by_role("button", name="Delete").click()
    await expect(record.note).to_contain_text("You deleted this lead.")
    return record


@pytest.mark.parametrize("is_offline", [False, True])
async def test_a_deletion_is_taken_back(open_page: OpenPage, stack: Stack, *, is_offline: bool) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Jesús Andersen")
    stack.psql(f"UPDATE leads SET phone = '+33 1', score = 7 WHERE id = '{id_}'")
    await ben.state_of(id_).select_option("won")
    await expect(carla.state_of(id_)).to_have_value("won")
    if is_offline:
        await set_offline(ben, True)
    record = await delete(page, ben, id_)
    bar = ben.element.locator(".undo")
    await expect(bar).to_contain_text("Deleted Jesús Andersen")
    if not is_offline:
        await expect(carla.row(id_)).to_be_hidden()
    await bar.get_by_role("button", name="Undo").click()
    await expect(record.note).to_be_hidden()
    await expect(record.input("phone")).to_have_value("+33 1")
    await expect(bar).to_contain_text("Took back: deleted Jesús Andersen")
    if is_offline:
        await expect(record.element.locator(".overall")).to_have_text("Saved on this device")
        await set_offline(ben, False)
    await expect(record.element.locator(".overall")).to_have_text("Saved")
    await expect(carla.state_of(id_)).to_have_value("won")
    assert stack.psql(f"SELECT phone || ' ' || score FROM leads WHERE id = '{id_}'") == "+33 1 7"
    await page.keyboard.press("Control+z")  # the step before it
    await expect(carla.state_of(id_)).to_have_value("new")


async def test_a_record_that_was_deleted_without_a_network_is_brought_back_without_one(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Back at once")
    await expect(ben.row(id_)).to_be_visible()
    await set_offline(ben, True)
    record = await delete(page, ben, id_)
    await record.note.get_by_role("button", name="Bring it back").click()
    await expect(record.note).to_be_hidden()
    await expect(ben.element.locator(".undo")).to_contain_text("Brought back Back at once")
    await page.keyboard.press("Control+z")
    await expect(record.note).to_contain_text("You deleted this lead.")
    await set_offline(ben, False)
    await expect(carla.row(id_)).to_be_hidden()
    await expect(record.element.locator(".version")).to_have_count(4)
    await expect(record.version(0)).to_contain_text("deleted it")
    assert count(stack, id_) == "0"


async def test_a_step_that_cannot_be_taken_back_now_is_kept(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Gone for a while")
    await ben.state_of(id_).select_option("won")
    await expect(carla.state_of(id_)).to_have_value("won")
    with stack.http(ANA) as ana:
        ana.delete(f"/api/leads/{id_}").raise_for_status()
    await expect(carla.row(id_)).to_be_hidden()
    await page.keyboard.press("Control+z")
    bar = ben.element.locator(".undo")
    await expect(bar).to_have_text("Gone for a while is not there any more.")
    with stack.http(ANA) as ana:
        versions = ana.get(f"/api/leads/{id_}/history").raise_for_status().json()["items"]
        body = {"version": versions[1]["version"]}
        ana.post(f"/api/leads/{id_}/restore", json=body).raise_for_status()
    await expect(carla.state_of(id_)).to_have_value("won")
    await page.keyboard.press("Control+z")
    await expect(carla.state_of(id_)).to_have_value("new")


@pytest.mark.parametrize("query", ["left.status=won", "left.sort=name"])
async def test_who_adds_a_record_that_the_list_does_not_show_is_told_and_may_open_it_or_take_it_back(
    open_page: OpenPage, stack: Stack, query: str
) -> None:
    page = await open_page()
    await page.goto(f"{stack.api_url}/?colleagues=off&only=left&{query}")
    ben = Pane(page.locator(".pane"))
    await ben.wait_live()
    await ben.element.get_by_role("button", name="New lead").click()
    await page.keyboard.type("Zed Created")
    await page.keyboard.press("Enter")
    bar = ben.element.locator(".undo")
    await expect(bar).to_contain_text("Added Zed Created")
    await bar.get_by_role("button", name="Open").click()
    record = RecordPage(ben)
    await expect(record.title).to_have_text("Zed Created")
    await expect(record.element.locator(".overall")).to_have_text("Saved")
    await page.keyboard.press("Control+z")
    await expect(record.note).to_contain_text("You deleted this lead.")
    await page.keyboard.press("Control+Shift+z")
    await expect(record.note).to_be_hidden()


async def test_what_the_history_put_back_is_taken_back_also_without_a_network(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1", status="new")
    patch(stack, CARLA, id_, phone="2", status="contacted")
    ana, carla = await open_record(page, stack, id_)
    await carla.version(0).get_by_role("button", name="Put back Phone: 1").click()
    await expect(ana.input("phone")).to_have_value("1")
    await carla.title.click()
    await page.keyboard.press("Control+z")
    await expect(ana.input("phone")).to_have_value("2")
    await set_offline(carla.pane, True)
    await carla.element.locator(".version").last.get_by_role("button", name="Restore").click()
    await expect(carla.input("phone")).to_have_value("1")
    await expect(carla.input("status")).to_have_value("new")
    await carla.title.click()
    await page.keyboard.press("Control+z")
    await expect(carla.input("status")).to_have_value("contacted")
    await set_offline(carla.pane, False)
    await expect(carla.element.locator(".overall")).to_have_text("Saved")
    assert stack.psql(f"SELECT phone || status FROM leads WHERE id = '{id_}'") == "2contacted"


async def test_who_has_changed_a_value_since_in_another_tab_is_not_called_somebody(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Changed by oneself")
    await ben.state_of(id_).select_option("won")
    await expect(carla.state_of(id_)).to_have_value("won")
    patch(stack, "ben@demo.test", id_, status="lost")
    await expect(ben.state_of(id_)).to_have_value("lost")
    await page.keyboard.press("Control+z")
    await expect(ben.element.locator(".undo")).to_have_text(
        "You have changed status of Changed by oneself since: it stays."
    )

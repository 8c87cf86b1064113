"""A record's own page in a pane: its fields, who else is there, its history, and the address that opens it."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import OpenPage
from tests.browser.demo import FORMATS, IS_DRAFTED, SIZES, Pane, open_demo, refuse_pushes
from tests.browser.record import ANA, CARLA, VERA, RecordPage, make_lead, open_record, patch
from tests.stack import Stack


async def test_a_row_opens_its_record_and_gets_the_focus_back(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    _, carla = await open_demo(page, stack)
    id_ = make_lead(stack)
    await carla.row(id_).get_by_role("button", name="Open Émile Bertrand").click()
    record = RecordPage(carla)
    await expect(record.title).to_be_focused()
    await expect(carla.row(id_)).to_be_hidden()
    assert f"right.record={id_}" in page.url
    await page.keyboard.press("Escape")
    await expect(carla.row(id_).locator(".open")).to_be_focused()
    assert "right.record" not in page.url
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Control+Enter")
    await expect(record.title).to_be_focused()
    await record.element.get_by_role("button", name="Leads").click()
    await expect(carla.row(id_).locator(".open")).to_be_focused()


async def test_back_and_forward_go_between_the_list_and_the_record(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    id_ = make_lead(stack)
    await carla.row(id_).locator(".open").click()
    await expect(RecordPage(carla).title).to_have_text("Émile Bertrand")
    await page.go_back()
    await expect(carla.row(id_)).to_be_visible()
    await expect(RecordPage(carla).element).to_be_hidden()
    await page.go_forward()
    await expect(RecordPage(carla).title).to_have_text("Émile Bertrand")
    await expect(ben.rows.first).to_be_visible()  # the other pane has its list all the while


async def test_a_list_is_where_it_was_left(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    list_ = ben.element.locator(".list")
    await list_.evaluate("(list) => { list.scrollTop = 1234; }")
    row = ben.element.locator(".row[aria-rowindex='25']")
    await row.locator(".open").click()
    await expect(ben.element.locator(".record")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(row.locator(".open")).to_be_focused()
    assert await list_.evaluate("(list) => list.scrollTop") == 1234


async def test_a_field_that_one_writes_is_seen_by_the_other_with_who_it_was(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ana, carla = await open_record(page, stack, make_lead(stack))
    await carla.input("phone").fill("+33 1 40 20")
    await page.keyboard.press("Enter")
    await expect(carla.word("phone")).to_have_text("Saved")
    await expect(carla.input("phone")).to_be_focused()
    await expect(ana.input("phone")).to_have_value("+33 1 40 20")
    await expect(ana.word("phone")).to_have_text("Carla, South")
    await carla.input("estimated_value").fill("12400.50")
    await carla.input("notes").click()  # to leave a field is to write it
    await expect(ana.input("estimated_value")).to_have_value("12400.50")
    await ana.input("status").select_option("qualified")
    await expect(carla.input("status")).to_have_value("qualified")
    await expect(carla.word("status")).to_have_text("Ana")


async def test_what_cannot_be_is_not_written_and_escape_takes_it_back(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack)
    _, carla = await open_record(page, stack, id_)
    await carla.input("name").fill("   ")
    await page.keyboard.press("Enter")
    await expect(carla.input("name")).to_have_attribute("aria-invalid", "true")
    await page.keyboard.press("Escape")
    await expect(carla.input("name")).to_have_value("Émile Bertrand")
    await carla.input("score").fill("101")
    await page.keyboard.press("Enter")
    await expect(carla.input("score")).to_have_attribute("aria-invalid", "true")
    await expect(carla.below("score")).to_contain_text("100")
    await page.keyboard.press("Escape")
    await expect(carla.input("score")).to_have_value("")
    await expect(carla.below("score")).to_have_text("")
    await expect(carla.title).to_be_visible()  # it was the field that Escape was for
    assert stack.psql(f"SELECT version FROM leads WHERE id = '{id_}'") == "1"


async def test_a_field_that_is_written_offline_says_so_and_then_that_it_is_saved(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ana, carla = await open_record(page, stack, make_lead(stack))
    await carla.pane.pill.click()
    await carla.pane.offline.check()
    await carla.input("company").fill("Bertrand & Fils")
    await page.keyboard.press("Enter")
    await expect(carla.word("company")).to_have_text("Saved on this device")
    await expect(carla.word("phone")).to_have_text("")
    await expect(ana.input("company")).to_have_value("")
    await carla.pane.offline.uncheck()
    await expect(carla.word("company")).to_have_text("Saved")
    await expect(ana.input("company")).to_have_value("Bertrand & Fils")


async def test_a_value_that_lost_to_a_later_one_is_not_said_to_be_saved(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    _, carla = await open_record(page, stack, id_)
    await carla.pane.pill.click()
    await carla.pane.offline.check()
    for name in ("phone", "company"):
        await carla.input(name).fill("mine")
        await page.keyboard.press("Enter")
    await expect(carla.word("phone")).to_have_text("Saved on this device")
    patch(stack, "rita@demo.test", id_, phone="theirs")
    await carla.pane.offline.uncheck()
    await expect(carla.word("company")).to_have_text("Saved")
    await expect(carla.input("phone")).to_have_value("theirs")
    await expect(carla.word("phone")).not_to_have_text("Saved")


async def test_what_is_typed_outlives_the_page_and_is_offered_again(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    _, carla = await open_record(page, stack, id_)
    await carla.input("phone").click()
    await page.keyboard.press("End")
    await page.keyboard.type("234")
    await page.wait_for_function(IS_DRAFTED, arg=id_)
    await page.reload()
    await expect(carla.below("phone")).to_contain_text("not saved")
    await expect(carla.input("phone")).to_have_value("1234")
    assert stack.psql(f"SELECT phone FROM leads WHERE id = '{id_}'") == "1"
    await carla.below("phone").get_by_role("button", name="Save").click()
    await expect(carla.word("phone")).to_have_text("Saved")
    assert stack.psql(f"SELECT phone FROM leads WHERE id = '{id_}'") == "1234"
    await page.reload()
    await expect(carla.input("phone")).to_have_value("1234")
    await expect(carla.below("phone")).to_have_text("")


async def test_a_field_under_the_cursor_is_left_alone_and_anothers_value_offered_below(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    _, carla = await open_record(page, stack, id_)
    await carla.input("phone").fill("12")
    patch(stack, "rita@demo.test", id_, phone="99")
    await expect(carla.below("phone")).to_contain_text("Rita, South: 99")
    await expect(carla.input("phone")).to_have_value("12")
    await expect(carla.input("phone")).to_be_focused()
    await page.keyboard.press("Tab")  # to what takes it: the field is not left, and not written
    await page.keyboard.press("Enter")
    await expect(carla.input("phone")).to_have_value("99")
    await expect(carla.below("phone")).to_have_text("")
    assert stack.psql(f"SELECT phone, version FROM leads WHERE id = '{id_}'") == "99|2"


async def test_who_edits_a_field_is_seen_there_until_they_leave_it(open_page: OpenPage, stack: Stack) -> None:
    here, there = await open_page(), await open_page()
    id_ = make_lead(stack)
    ana, _ = await open_record(here, stack, id_, right=VERA)
    _, carla = await open_record(there, stack, id_, left=VERA)
    editing = ana.field("phone").locator(".editing")
    await expect(ana.element.locator(".here")).to_contain_text("Carla, South")
    await carla.input("phone").click()
    await expect(editing).to_have_text("Carla is editing")
    await carla.input("email").click()
    await expect(ana.field("email").locator(".editing")).to_have_text("Carla is editing")
    await expect(editing).to_have_text("")
    await there.close()
    await expect(ana.field("email").locator(".editing")).to_have_text("")
    await expect(ana.element.locator(".here")).not_to_contain_text("Carla")


async def test_the_history_says_who_changed_what_and_puts_it_back_for_both(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1", status="new")
    patch(stack, CARLA, id_, phone="2", status="contacted")
    ana, carla = await open_record(page, stack, id_)
    await ana.input("phone").fill("3")
    await page.keyboard.press("Enter")
    await expect(ana.version(0)).to_contain_text("You")
    await expect(carla.version(0)).to_contain_text("Ana")
    await expect(carla.version(0).locator("li")).to_have_text("Phone2→3Put back")
    await expect(ana.version(1)).to_contain_text("Carla, South")
    await expect(ana.version(1)).to_contain_text("New→Contacted")
    await expect(ana.version(2)).to_contain_text("Carla, South created it")

    await carla.version(0).get_by_role("button", name="Put back Phone: 2").click()
    await expect(ana.input("phone")).to_have_value("2")
    await expect(carla.input("phone")).to_have_value("2")
    await expect(carla.input("status")).to_have_value("contacted")
    await expect(ana.version(0).locator("li")).to_have_text("Phone3→2Put back")

    await ana.element.locator(".version").last.get_by_role("button", name="Restore").click()
    for each in (ana, carla):
        await expect(each.input("phone")).to_have_value("1")
        await expect(each.input("status")).to_have_value("new")


async def test_an_owner_is_called_by_name_to_whoever_may_know_them(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    id_ = make_lead(stack)
    with stack.http(ANA) as http:
        names = {person["name"]: person["id"] for person in http.get("/api/people").json()["items"]}
    patch(stack, ANA, id_, owner_id=names["Ben Lindqvist"])
    ana, rita = await open_record(page, stack, id_, right="rita@demo.test")
    await expect(ana.element.locator(".owner")).to_have_text("Owner: Ben Lindqvist")
    await expect(ana.version(0).locator("li")).to_have_text("Owner—→Ben LindqvistPut back")
    # Ben writes to the North alone, which Rita does not read.
    await expect(rita.version(0).locator("li")).to_have_text("Owner—→SomebodyPut back")
    await expect(rita.element.locator(".owner")).to_be_empty()


async def test_a_history_that_somebody_points_at_does_not_move(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    ana, carla = await open_record(page, stack, id_)
    await carla.version(0).hover()
    patch(stack, "rita@demo.test", id_, phone="2")
    await expect(carla.element.get_by_role("button", name="1 newer")).to_be_visible()
    await expect(carla.version(0)).to_contain_text("created it")
    await expect(ana.version(0)).to_contain_text("1→2")
    await page.mouse.move(0, 0)
    await expect(carla.version(0)).to_contain_text("1→2")
    await expect(carla.element.get_by_role("button", name="1 newer")).to_be_hidden()


async def test_a_value_that_the_server_refuses_needs_review(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    _, carla = await open_record(page, stack, make_lead(stack, phone="1"))
    await refuse_pushes(page, code="invalid", message="That number is taken")
    await carla.input("phone").fill("2")
    await page.keyboard.press("Enter")
    await expect(carla.word("phone")).to_have_text("Needs review")
    await expect(carla.word("company")).to_have_text("")
    await carla.input("company").click()
    await expect(carla.input("phone")).to_have_value("1")


async def test_older_versions_come_when_they_are_asked_for(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="0")
    for number in range(1, 31):
        stack.psql(f"UPDATE leads SET phone = '{number}' WHERE id = '{id_}'")
    _, carla = await open_record(page, stack, id_)
    await expect(carla.version(0)).to_contain_text("SQL")
    await expect(carla.element.locator(".version").last).to_contain_text("11→12")
    await carla.element.get_by_role("button", name="Older versions").click()
    await expect(carla.element.locator(".version").last).to_contain_text("created it")
    await expect(carla.element.locator(".version")).to_have_count(31)
    await expect(carla.version(19)).to_contain_text("10→11")


async def test_a_deleted_record_shows_what_was_there_and_comes_back(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    ana, carla = await open_record(page, stack, id_)
    await carla.element.get_by_role("button", name="Delete").click()
    await expect(carla.note).to_contain_text("You deleted this lead.")
    await expect(ana.note).to_contain_text("Carla, South deleted this lead.")
    await expect(ana.field("phone")).to_contain_text("1")
    await expect(ana.input("phone")).to_be_hidden()
    await expect(carla.version(0)).to_contain_text("deleted it")
    await assert_accessible(page)
    await page.reload()
    await expect(ana.note).to_contain_text("Carla, South deleted this lead.")
    await carla.note.get_by_role("button", name="Bring it back").click()
    for each in (ana, carla):
        await expect(each.input("phone")).to_have_value("1")
        await expect(each.note).to_be_hidden()


async def test_a_record_that_is_not_there_offers_the_way_back_and_no_history(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page(tolerated="404")
    nobody = "01999999-0000-7000-8000-000000000000"
    await page.goto(f"{stack.api_url}/?colleagues=off&only=left&left.record={nobody}")
    record = RecordPage(Pane(page.locator(".pane")))
    await expect(record.note).to_contain_text("There is no such lead")
    await expect(record.element.locator(".history")).to_be_hidden()
    await record.note.get_by_role("button", name="Back to leads").click()
    await record.pane.wait_live()
    assert "left.record" not in page.url


async def test_who_may_not_write_reads_and_is_told_why(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    ana, vera = await open_record(page, stack, id_, right=VERA)
    await expect(vera.note.locator("span")).to_have_text("Vera may read, not write.")
    await expect(vera.field("phone").locator(".read")).to_have_text("1")
    await expect(vera.element.locator("input, select, textarea").filter(visible=True)).to_have_count(0)
    for name in ("Restore", "Put back", "Delete"):
        await expect(vera.element.get_by_role("button", name=name)).to_have_count(0)
    await ana.input("phone").fill("2")
    await page.keyboard.press("Enter")
    await expect(vera.field("phone").locator(".read")).to_have_text("2")
    await expect(vera.word("phone")).to_have_text("Ana")
    await assert_accessible(page)


async def test_a_record_that_leaves_what_somebody_may_read_is_not_shown_to_them_any_more(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page(tolerated="404")
    id_ = make_lead(stack, phone="+33 1 40 20")
    ana, rita = await open_record(page, stack, id_, right="rita@demo.test")
    stack.psql(
        "UPDATE leads SET branch_id = (SELECT id FROM branches WHERE slug = 'north'"
        f" AND organization_id = leads.organization_id) WHERE id = '{id_}'"
    )
    await expect(ana.element.locator(".branch-name")).to_have_text("North")
    await expect(rita.note).to_contain_text("There is no such lead, or it is not this person’s to read.")
    await expect(rita.element).not_to_contain_text("+33 1 40 20")
    await expect(rita.element).not_to_contain_text("Émile")


@pytest.mark.parametrize(("width", "scheme"), FORMATS)
async def test_the_record_page_fits_and_can_be_used_by_everybody(
    open_page: OpenPage, stack: Stack, screenshots: Path, width: int, scheme: str
) -> None:
    page = await open_page(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    id_ = make_lead(stack, phone="1", company="Bertrand & Fils", estimated_value="12400")
    patch(stack, ANA, id_, notes="Wants an offer for both halls by the end of the month.", status="contacted")
    ana, carla = await open_record(page, stack, id_)
    await carla.input("phone").fill("12")
    patch(stack, "rita@demo.test", id_, phone="+33 1 40 20 50 50")
    await expect(carla.below("phone")).to_contain_text("Rita, South")
    await expect(ana.field("phone").locator(".editing")).to_have_text("Carla is editing")
    await ana.element.locator(".history").scroll_into_view_if_needed()
    await page.screenshot(path=screenshots / f"record-{width}-{scheme}.png")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await assert_accessible(page)
    await carla.element.get_by_role("button", name="Leads").click()
    await carla.pane.element.get_by_role("tab", name="Deals").click()
    await carla.pane.element.get_by_role("button", name="New deal").click()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await assert_accessible(page)

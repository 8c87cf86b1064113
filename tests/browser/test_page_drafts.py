"""What is typed and not written yet: it stays its author's, replaces nothing unseen, and outlives the page."""

from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.demo import IS_DRAFTED, Pane, add_leads, refuse_pushes
from tests.browser.record import ANA, VERA, make_lead, open_record, patch
from tests.stack import Stack


def lead(stack: Stack, id_: str, field: str) -> str:
    return stack.psql(f"SELECT {field} FROM leads WHERE id = '{id_}'")


async def test_a_record_that_is_deleted_under_somebody_who_types_stays_deleted_and_their_text_a_draft(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, notes="old")
    ana, carla = await open_record(page, stack, id_)
    await carla.input("notes").fill("half a sent")
    await page.wait_for_function(IS_DRAFTED, arg=id_)
    with stack.http(ANA) as http:
        http.delete(f"/api/leads/{id_}").raise_for_status()
    await expect(carla.note).to_contain_text("Ana deleted this lead.")
    await expect(carla.input("notes")).to_be_hidden()
    # What she writes after it comes after what the field would have written.
    await ana.note.get_by_role("button", name="Bring it back").click()
    await expect(carla.below("notes")).to_contain_text("not saved")
    await expect(carla.input("notes")).to_have_value("half a sent")
    await expect(ana.input("notes")).to_have_value("old")
    assert lead(stack, id_, "notes") == "old"
    await carla.below("notes").get_by_role("button", name="Save").click()
    await expect(ana.input("notes")).to_have_value("half a sent")


async def test_a_draft_that_is_offered_again_shows_what_was_written_since_it_was_typed(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1")
    _, carla = await open_record(page, stack, id_)
    await carla.input("phone").fill("12")
    await page.wait_for_function(IS_DRAFTED, arg=id_)
    await page.goto("about:blank")
    patch(stack, ANA, id_, phone="99")
    _, carla = await open_record(page, stack, id_)
    await expect(carla.input("phone")).to_have_value("12")
    await expect(carla.below("phone")).to_contain_text("not saved · ")
    await expect(carla.below("phone")).to_contain_text(": 99")
    await carla.below("phone").get_by_role("button", name="Take it").click()
    await expect(carla.input("phone")).to_have_value("99")
    await expect(carla.below("phone")).to_have_text("")
    assert lead(stack, id_, "phone || version") == "992"


async def test_a_value_whose_line_breaks_a_browser_writes_otherwise_is_kept_up_to_date(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    id_ = make_lead(stack, notes="one\r\ntwo")
    _, carla = await open_record(page, stack, id_)
    await expect(carla.input("notes")).to_have_value("one\ntwo")
    patch(stack, ANA, id_, notes="three")
    await expect(carla.input("notes")).to_have_value("three")


async def test_what_cannot_be_read_out_of_a_field_is_said_to_be_wrong_and_stays(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    _, carla = await open_record(page, stack, make_lead(stack))
    for name, half in (("score", "12e"), ("next_step_at", "0102")):
        await carla.input(name).click()
        await page.keyboard.type(half)
        await carla.input("notes").click()
        await expect(carla.input(name)).to_have_attribute("aria-invalid", "true")
        await expect(carla.below(name)).not_to_be_empty()
        assert await carla.input(name).evaluate("(input) => input.validity.badInput")
        await carla.input(name).focus()
        await page.keyboard.press("Escape")
        await expect(carla.below(name)).to_be_empty()
        assert not await carla.input(name).evaluate("(input) => input.validity.badInput")
    await expect(carla.title).to_be_visible()


async def test_two_tabs_keep_what_each_has_typed_into_one_field(open_page: OpenPage, stack: Stack) -> None:
    here = await open_page()
    id_ = make_lead(stack, notes="old")
    _, first = await open_record(here, stack, id_, left=VERA)
    there = await here.context.new_page()
    _, second = await open_record(there, stack, id_, left=VERA)
    await second.input("notes").fill("short")
    await there.wait_for_function(IS_DRAFTED, arg=id_)
    await first.input("notes").fill("a long text")
    await second.input("notes").press("Control+Enter")
    await expect(second.word("notes")).to_have_text("Saved")
    await expect(first.below("notes")).to_contain_text("short")
    await here.reload()
    await expect(first.input("notes")).to_have_value("a long text")
    await expect(first.below("notes")).to_contain_text("not saved · ")
    await expect(first.below("notes")).to_contain_text(": short")


async def test_what_this_device_cannot_keep_is_not_thrown_away(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(tolerated="The disk is full")
    id_ = make_lead(stack, phone="1")
    _, carla = await open_record(page, stack, id_, left=VERA)
    await page.evaluate(
        """() => {
          const { put } = IDBObjectStore.prototype;
          IDBObjectStore.prototype.put = function (...row) {
            if (this.name === "queue") throw new DOMException("The disk is full", "QuotaExceededError");
            return put.apply(this, row);
          };
        }"""
    )
    await carla.input("phone").fill("12")
    await page.keyboard.press("Enter")
    notice = carla.pane.element.get_by_role("alert")
    await expect(notice).to_contain_text("This device has no room")
    await expect(notice).not_to_contain_text("QuotaExceededError")
    await expect(carla.input("phone")).to_have_value("12")


async def test_a_new_record_goes_to_the_branch_that_was_chosen_whatever_the_connection_and_the_page_do(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    await page.goto(f"{stack.api_url}/?only=left&left.person=ana%40demo.test&colleagues=off")
    ana = Pane(page.locator(".pane"))
    await ana.wait_live()
    name, branch = (ana.element.locator(f".create [name={each}]") for each in ("name", "branch_id"))
    await ana.element.get_by_role("button", name="New lead").click()
    await name.fill("Meant for the South")
    await branch.select_option(label="South")
    await ana.pill.click()
    await ana.offline.check()
    await expect(ana.pill).to_contain_text("Offline")
    await ana.offline.uncheck()
    await ana.wait_live()
    await expect(branch.locator("option:checked")).to_have_text("South")
    await page.wait_for_function(IS_DRAFTED, arg="branch_id")
    await page.reload()
    await ana.wait_live()
    await ana.element.get_by_role("button", name="New lead").click()
    await expect(name).to_have_value("Meant for the South")
    await expect(branch.locator("option:checked")).to_have_text("South")
    await name.press("Enter")
    row = ana.rows.filter(has_text="Meant for the South")
    await expect(row.locator(".by")).to_have_text("Saved")
    made = stack.psql(
        "SELECT slug FROM branches JOIN leads ON branch_id = branches.id WHERE leads.name LIKE 'Meant %'"
    )
    assert made == "south"


async def test_what_is_typed_into_a_form_of_one_tab_is_no_other_tabs_to_add_or_to_delete(
    open_page: OpenPage, stack: Stack
) -> None:
    here = await open_page()
    there = await here.context.new_page()
    names = []
    for page in (here, there):
        await page.goto(f"{stack.api_url}/?only=left&colleagues=off")
        await Pane(page.locator(".pane")).wait_live()
        names.append(page.locator(".create [name=name]"))
    first, second = names
    await here.get_by_role("button", name="New lead").click()
    await first.fill("Typed in the first")
    await here.wait_for_function(IS_DRAFTED, arg="name")
    await there.get_by_role("button", name="New lead").click()
    await second.fill("Added in the second")
    await second.press("Enter")
    row = Pane(there.locator(".pane")).rows.filter(has_text="Added in the second")
    await expect(row.locator(".by")).to_have_text("Saved")
    await here.reload()
    await here.get_by_role("button", name="New lead").click()
    await expect(first).to_have_value("Typed in the first")


async def open_list_of_ben(page: Page, stack: Stack, id_: str) -> Pane:
    await page.goto(f"{stack.api_url}/?only=left&left.person=ben%40demo.test&colleagues=off")
    ben = Pane(page.locator(".pane"))
    await ben.wait_live()
    await ben.row(id_).locator("button.name").click()
    await ben.row(id_).locator("input.name").fill("Typed by Ben")
    await page.wait_for_function(IS_DRAFTED, arg=id_)
    return ben


async def test_whoever_renamed_a_record_while_another_did_so_in_the_list_is_told(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    [id_] = add_leads(stack, 1, "To be renamed")
    ben = await open_list_of_ben(page, stack, id_)
    patch(stack, ANA, id_, name="Named by Ana")
    await expect(ben.row(id_).locator(".by")).to_have_text("Ana")
    await page.keyboard.press("Enter")
    await expect(ben.row(id_).locator(".by")).to_have_text("Saved")
    with stack.http(ANA) as ana:
        items = [item for item in ana.get("/api/overwritten").json()["items"] if item["record_id"] == id_]
        ana.post("/api/overwritten/seen", json={"ids": [item["id"] for item in items]}).raise_for_status()
    assert [item["mine"] for item in items] == ["Named by Ana"]


async def test_a_record_that_is_deleted_while_it_is_renamed_in_the_list_stays_deleted(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    [id_, other] = add_leads(stack, 2, "To be deleted")
    ben = await open_list_of_ben(page, stack, id_)
    with stack.http(ANA) as ana:
        ana.delete(f"/api/leads/{id_}").raise_for_status()
    await expect(ben.element.locator(".ticker")).to_contain_text("deleted To be deleted")
    await page.keyboard.press("Enter")
    await ben.state_of(other).select_option("won")
    await expect(ben.row(other).locator(".by")).to_have_text("Saved")
    assert lead(stack, id_, "name") == ""


async def test_what_is_mended_in_the_inbox_outlives_the_page(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    id_ = make_lead(stack, phone="1", notes="old")
    _, carla = await open_record(page, stack, id_, left=VERA)
    await refuse_pushes(page, code="invalid", message="That number is taken")
    await carla.input("phone").fill("2")
    await page.keyboard.press("Enter")
    await carla.pane.element.get_by_role("button", name="Review", exact=True).click()
    mended = carla.pane.element.locator(".refused [name=phone]")
    await mended.fill("3")
    await page.wait_for_function(IS_DRAFTED, arg="phone")
    await page.unroute("**/api/sync")
    await page.reload()
    await carla.pane.element.locator(".to-review").click()
    await expect(mended).to_have_value("3")
    await carla.pane.element.get_by_role("button", name="Try again").click()
    await expect(carla.input("phone")).to_have_value("3")
    await expect(carla.pane.element.locator(".overall")).to_have_text("Saved")
    assert lead(stack, id_, "phone") == "3"

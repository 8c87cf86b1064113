"""What a person typed is never dropped in silence: refused writes, values that others wrote over, and the way back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Dialog, Locator, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import OpenPage
from tests.browser.demo import FORMATS, NOTHING_IS_REFUSED, SIZES, Pane, add_leads, open_demo, refuse_pushes
from tests.stack import Stack

DEMO = "SELECT id FROM organizations WHERE slug = 'demo'"
TOO_LONG = "x" * 201  # for a name


@pytest.fixture(autouse=True)
def nothing_is_told_of_other_tests(stack: Stack) -> Iterator[None]:
    """Losses are kept by the server until somebody has seen them."""
    see_losses(stack)
    yield
    see_losses(stack)


def see_losses(stack: Stack) -> None:
    for email in ("ben@demo.test", "ana@demo.test"):
        with stack.http(email) as person:
            items = person.get("/api/overwritten").raise_for_status().json()["items"]
            if items:
                ids = [item["id"] for item in items]
                person.post("/api/overwritten/seen", json={"ids": ids}).raise_for_status()


def lead(stack: Stack, id_: str, field: str) -> str:
    return stack.psql(f"SELECT {field} FROM leads WHERE id = '{id_}'")


async def rename(pane: Pane, id_: str, name: str) -> None:
    await pane.row(id_).locator("button.name").click()
    await pane.row(id_).locator("input.name").fill(name)
    await pane.row(id_).locator("input.name").press("Enter")
    await expect(pane.row(id_).locator("button.name")).to_have_text(name)


async def go_offline(pane: Pane) -> None:
    await pane.pill.click()
    await pane.offline.check()
    await expect(pane.pill).to_contain_text("Offline")
    await pane.pill.click()


async def go_online(pane: Pane) -> None:
    await pane.pill.click()
    await pane.offline.uncheck()
    await pane.wait_live()
    await pane.pill.click()


async def add_a_name_that_is_too_long(page: Page, pane: Pane) -> None:
    """As somebody would who is not stopped by the form: the server refuses it."""
    await pane.element.get_by_role("button", name="New lead").click()
    name = pane.element.locator(".create input[name=name]")
    await name.evaluate("(input) => input.removeAttribute('maxlength')")
    await name.fill(TOO_LONG)
    await page.keyboard.press("Enter")


def review_button(pane: Pane) -> Locator:
    return pane.element.locator(".to-review")


async def open_ben_and_ana(page: Page, stack: Stack) -> tuple[Pane, Pane]:
    ben, ana = await open_demo(page, stack)
    await ana.become("ana@demo.test")
    return ben, ana


async def both_rename_offline(ben: Pane, ana: Pane, id_: str) -> None:
    """Ben first, then Ana, neither of whom sees the other's: Ana's is the later one."""
    for pane in (ben, ana):
        await expect(pane.row(id_)).to_be_visible()
        await go_offline(pane)
    await rename(ben, id_, "By Ben")
    await rename(ana, id_, "By Ana")
    await go_online(ben)
    await expect(ben.row(id_).locator(".by")).to_have_text("Saved")
    await go_online(ana)


async def test_a_refused_write_waits_to_be_mended_and_blocks_nothing(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await add_a_name_that_is_too_long(page, ben)
    notice = ben.element.get_by_role("alert")
    await expect(notice).to_contain_text("was not saved.")
    await expect(review_button(ben)).to_have_text("1 needs review")
    (id_,) = add_leads(stack, 1, "The next one")
    await ben.state_of(id_).select_option("qualified")
    await expect(carla.state_of(id_)).to_have_value("qualified")  # it waits for nothing

    await page.reload()
    await ben.wait_live()
    await expect(review_button(ben)).to_have_text("1 needs review")
    await review_button(ben).click()
    name = ben.element.get_by_label("Name", exact=True).last
    await expect(name).to_have_value(TOO_LONG)
    await name.fill("As long as it may be")
    await ben.element.get_by_role("button", name="Try again").click()
    await expect(review_button(ben)).to_be_hidden()
    await expect(carla.rows.filter(has_text="As long as it may be")).to_be_visible()
    await expect(ben.rows.filter(has_text="As long as it may be")).to_be_visible()


async def test_a_critical_value_is_not_written_over_unseen(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    id_ = stack.psql(
        "INSERT INTO deals (organization_id, branch_id, name, amount) "
        f"SELECT organization_id, id, 'Watched amount', 1000 FROM branches "
        f"WHERE slug = 'north' AND organization_id = ({DEMO}) RETURNING id"
    ).splitlines()[0]
    await open_demo(page, stack)
    await page.goto(f"{stack.api_url}/?colleagues=off&left.list=deals&left.record={id_}")
    ben = Pane(page.locator(".pane").first)
    amount = ben.element.locator(".record").get_by_label("Amount", exact=True)
    await expect(amount).to_have_value("1000")
    await go_offline(ben)
    await amount.fill("1500")
    await amount.press("Enter")
    stack.psql(f"UPDATE deals SET amount = 2000 WHERE id = '{id_}'")
    await ben.pill.click()
    await ben.offline.uncheck()
    await ben.pill.click()
    notice = ben.element.get_by_role("alert")
    await expect(notice).to_contain_text(
        "“1500” was not saved. Somebody has changed this deal since you saw it"
    )
    await notice.get_by_role("button", name="Review").click()
    form = ben.element.locator(".refused")
    await expect(form.get_by_label("Amount")).to_have_value("1500")
    await expect(form).to_contain_text("Now: €2,000")
    await form.get_by_role("button", name="Try again").click()
    await expect(review_button(ben)).to_be_hidden()
    await expect(amount).to_have_value("1500")
    await expect(ben.element.locator(".overall")).to_have_text("Saved")
    assert stack.psql(f"SELECT amount FROM deals WHERE id = '{id_}'") == "1500.00"


async def test_what_was_refused_is_let_go_after_a_second_press(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    await add_a_name_that_is_too_long(page, ben)
    await ben.element.get_by_role("button", name="Review", exact=True).click()
    await ben.element.get_by_role("button", name="Discard", exact=True).click()
    await expect(review_button(ben)).to_be_visible()
    await ben.element.get_by_role("button", name="Discard for good").click()
    await expect(review_button(ben)).to_be_hidden()
    await expect(ben.element.get_by_role("tab", name="Leads")).to_be_focused()
    await page.wait_for_function(NOTHING_IS_REFUSED)  # it is shown before it is done
    await page.reload()
    await ben.wait_live()
    await expect(review_button(ben)).to_be_hidden()


async def test_two_who_edited_different_fields_offline_both_keep_their_work(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, ana = await open_ben_and_ana(page, stack)
    (id_,) = add_leads(stack, 1, "Edited by two")
    for pane in (ben, ana):
        await expect(pane.row(id_)).to_be_visible()
        await go_offline(pane)
    await rename(ben, id_, "Named by Ben")
    await ana.state_of(id_).select_option("won")
    await go_online(ana)
    await go_online(ben)
    for pane in (ben, ana):
        await expect(pane.row(id_).locator("button.name")).to_have_text("Named by Ben")
        await expect(pane.state_of(id_)).to_have_value("won")
        await expect(pane.element.locator(".losses")).to_be_hidden()
    assert lead(stack, id_, "name || ' ' || status") == "Named by Ben won"


async def test_whose_value_was_written_over_is_told_and_restores_it(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, ana = await open_ben_and_ana(page, stack)
    (id_,) = add_leads(stack, 1, "Named by two")
    await both_rename_offline(ben, ana, id_)
    losses = ben.element.locator(".losses")
    await expect(losses).to_contain_text("Mine By Ben")
    await expect(losses).to_contain_text("Theirs By Ana by Ana")
    await expect(ben.row(id_).locator("button.name")).to_have_text("By Ana")
    await expect(ana.element.locator(".losses")).to_be_hidden()
    await page.reload()  # it is told until it is answered
    for pane in (ben, ana):
        await pane.wait_live()
    await losses.get_by_role("button", name="Restore mine").click()
    await expect(losses).to_be_hidden()
    for pane in (ben, ana):
        await expect(pane.row(id_).locator("button.name")).to_have_text("By Ben")
    assert lead(stack, id_, "name") == "By Ben"


async def test_restoring_a_value_is_a_step_that_is_taken_back(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, ana = await open_ben_and_ana(page, stack)
    (id_,) = add_leads(stack, 1, "Named by two")
    await both_rename_offline(ben, ana, id_)
    await ben.element.locator(".losses").get_by_role("button", name="Restore mine").click()
    await expect(ana.row(id_).locator("button.name")).to_have_text("By Ben")
    bar = ben.element.locator(".undo")
    await expect(bar).to_contain_text("Renamed By Ana to By Ben")
    await bar.get_by_role("button", name="Undo").click()
    await expect(ana.row(id_).locator("button.name")).to_have_text("By Ana")


async def test_a_loss_on_a_deleted_record_says_which_it_was_and_what_restoring_does(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, ana = await open_ben_and_ana(page, stack)
    (id_,) = add_leads(stack, 1, "Deleted under him")
    await expect(ben.row(id_)).to_be_visible()
    await go_offline(ben)
    await ben.state_of(id_).select_option("won")
    with stack.http("ana@demo.test") as http:
        http.delete(f"/api/leads/{id_}").raise_for_status()
    await expect(ana.row(id_)).to_be_hidden()
    await go_online(ben)
    loss = ben.element.locator(".loss")
    await expect(loss.locator(".of")).to_have_text("Deleted under him · Status")
    await expect(loss.locator(".sides")).to_have_text("Mine Won Theirs deleted by Ana")
    await page.reload()  # it was never seen by this page
    await ben.wait_live()
    await expect(loss.locator(".of")).to_have_text("Deleted under him · Status")
    await loss.get_by_role("button", name="Bring it back with mine").click()
    await page.mouse.move(0, 0)  # nothing moves under the pointer
    for pane in (ben, ana):
        await expect(pane.state_of(id_)).to_have_value("won")


async def test_an_entry_of_the_inbox_says_after_a_reload_which_record_it_is_about_and_opens_it(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Zzed Created")
    await expect(ben.row(id_)).to_be_visible()
    await refuse_pushes(page, code="invalid", message="not good")
    await ben.state_of(id_).select_option("lost")
    await expect(review_button(ben)).to_have_text("1 needs review")
    await page.reload()
    await ben.wait_live()
    await review_button(ben).click()
    form = ben.element.locator(".refused")
    await expect(form.get_by_role("heading")).to_have_text("Zzed Created")
    await form.get_by_role("button", name="Open lead").click()
    await expect(form).to_be_hidden()
    title = ben.element.locator(".record").get_by_role("heading", level=2)
    await expect(title).to_have_text("Zzed Created")
    await expect(title).to_be_focused()


async def test_who_wrote_over_a_value_has_a_name_though_the_history_does_not_tell(
    open_page: OpenPage, stack: Stack
) -> None:
    """As after so many versions that hers is not among those that the page asks for."""
    page = await open_page()
    [id_] = add_leads(stack, 1, "Long ago")
    stack.psql(
        "INSERT INTO overwritten_values (organization_id, user_id, collection, record_id, field, value, overwritten_by,"
        " written_at_ms, version) SELECT l.organization_id, ben.id, 'leads', l.id, 'phone', '\"1\"', ana.id, 1, 1"
        " FROM leads l, users ben, users ana"
        f" WHERE l.id = '{id_}' AND ben.email = 'ben@demo.test' AND ana.email = 'ana@demo.test'"
    )
    ben, _ = await open_demo(page, stack)
    await expect(ben.element.locator(".loss .by")).to_have_text("Ana")


async def lose_two_values(ben: Pane, ana: Pane, stack: Stack) -> list[str]:
    """Have Ana write over the names that Ben gave two leads; the leads' ids."""
    ids = add_leads(stack, 2, "Several")
    for pane in (ben, ana):
        await expect(pane.row(ids[0])).to_be_visible()
        await go_offline(pane)
    for id_ in ids:
        await rename(ben, id_, "By Ben")
        await rename(ana, id_, "By Ana")
    await go_online(ben)
    await expect(ben.row(ids[1]).locator(".by")).to_have_text("Saved")
    await go_online(ana)
    heading = ben.element.locator(".losses").get_by_role("heading")
    await expect(heading).to_have_text("Others wrote over 2 values of yours")
    return ids


async def test_several_values_are_one_list_and_theirs_may_stay(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, ana = await open_ben_and_ana(page, stack)
    first, second = await lose_two_values(ben, ana, stack)
    losses = ben.element.locator(".losses")
    await losses.get_by_role("button", name="Keep theirs").first.click()
    await expect(losses.get_by_role("button", name="Restore mine")).to_be_focused()
    await expect(losses.get_by_role("listitem")).to_have_count(1)
    await losses.get_by_role("button", name="Keep theirs").click()
    await expect(losses).to_be_hidden()
    assert lead(stack, first, "name") == lead(stack, second, "name") == "By Ana"
    await page.reload()
    await ben.wait_live()
    await expect(losses).to_be_hidden()


async def test_a_loss_is_told_in_every_tab_and_answered_in_one(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, ana = await open_ben_and_ana(page, stack)
    other, _ = await open_demo(await page.context.new_page(), stack)
    (id_,) = add_leads(stack, 1, "In two tabs")
    await both_rename_offline(ben, ana, id_)
    for tab in (ben, other):
        await expect(tab.element.locator(".losses")).to_contain_text("Mine By Ben")
    await other.element.get_by_role("button", name="Keep theirs").click()
    for tab in (ben, other):
        await expect(tab.element.locator(".losses")).to_be_hidden()


async def test_several_values_are_one_line_in_a_narrow_pane_until_it_is_opened(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page(viewport={"width": 390, "height": 844})
    ben, ana = await open_ben_and_ana(page, stack)
    await lose_two_values(ben, ana, stack)
    losses = ben.element.locator(".losses")
    await expect(losses.get_by_role("button", name="Keep theirs").first).to_be_hidden()
    box = await losses.bounding_box()
    assert box is not None
    assert box["height"] < 48
    await losses.get_by_role("heading").click()
    await losses.get_by_role("button", name="Keep theirs").first.click()
    await expect(losses.get_by_role("listitem")).to_have_count(1)
    await expect(losses.get_by_role("button", name="Keep theirs")).to_be_visible()


@pytest.mark.parametrize("width", SIZES)
async def test_the_bar_that_takes_back_covers_nothing(open_page: OpenPage, stack: Stack, width: int) -> None:
    page = await open_page(viewport={"width": width, "height": SIZES[width]})
    ben, _ = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Below the bar")
    await ben.row(id_).locator(".open").click()
    await ben.element.locator(".record").locator("input[name=company]").fill("Changed")
    await page.keyboard.press("Enter")
    bar = await ben.element.locator(".passing").bounding_box()
    body = await ben.element.locator(".record .body").bounding_box()
    foot = await ben.element.locator(".ticker").bounding_box()
    assert bar is not None
    assert body is not None
    assert foot is not None
    assert body["y"] + body["height"] <= bar["y"]
    assert bar["y"] + bar["height"] <= foot["y"]


async def test_a_write_is_taken_back_after_it_was_synced(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Café Ñandú")
    await ben.state_of(id_).select_option("won")
    await expect(carla.state_of(id_)).to_have_value("won")
    bar = ben.element.get_by_role("status").filter(has_text="Moved Café Ñandú to won")
    await bar.get_by_role("button", name="Undo").click()
    await expect(carla.state_of(id_)).to_have_value("new")
    await expect(ben.state_of(id_)).to_have_value("new")
    await page.keyboard.press("Control+Shift+z")
    await expect(carla.state_of(id_)).to_have_value("won")
    await page.keyboard.press("Control+z")
    await expect(carla.state_of(id_)).to_have_value("new")
    assert lead(stack, id_, "status") == "new"


async def test_nothing_that_others_have_changed_since_is_taken_back(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Changed since")
    await ben.state_of(id_).select_option("won")
    await expect(carla.state_of(id_)).to_have_value("won")
    stack.psql(f"UPDATE leads SET status = 'lost' WHERE id = '{id_}'")
    await expect(ben.state_of(id_)).to_have_value("lost")
    await page.keyboard.press("Control+z")
    await expect(ben.element.locator(".undo")).to_have_text(
        "Somebody has changed status of Changed since since: it stays."
    )
    assert lead(stack, id_, "status") == "lost"


async def test_a_refused_write_offers_no_way_back_of_an_earlier_one(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    earlier, refused = add_leads(stack, 2, "Refused later")
    await ben.state_of(earlier).select_option("won")
    bar = ben.element.get_by_role("status").filter(has_text="Moved Refused later to won")
    await expect(bar.get_by_role("button", name="Undo")).to_be_visible()
    await expect(ben.row(earlier).locator(".by")).to_have_text("Saved")
    await refuse_pushes(page, code="invalid", message="not good")
    await ben.state_of(refused).select_option("lost")
    await expect(ben.element.get_by_role("alert")).to_contain_text("was not saved.")
    assert (
        await ben.element.locator(".undo button").count() == 0
    )  # now, not when it has passed away by itself


async def test_the_key_that_takes_back_leaves_inputs_alone(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Typed over")
    await ben.state_of(id_).select_option("won")
    await expect(carla.state_of(id_)).to_have_value("won")
    await ben.element.get_by_role("searchbox").fill("typed")
    await page.keyboard.press("Control+z")
    await expect(ben.element.get_by_role("searchbox")).to_have_value("")
    await expect(ben.state_of(id_)).to_have_value("won")


async def test_a_full_queue_outlives_the_page(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    ids = add_leads(stack, 8, "Queued")
    await expect(ben.row(ids[0])).to_be_visible()
    await go_offline(ben)
    for number, id_ in enumerate(ids):
        await ben.state_of(id_).select_option("won" if number % 2 else "qualified")
    await expect(ben.pill).to_have_text(f"Offline · {len(ids)} to send")
    for id_ in ids:
        await expect(ben.row(id_).locator(".by")).to_have_text("Saved on this device")
    await page.reload()
    await expect(ben.pill).to_have_text(f"Offline · {len(ids)} to send")
    await ben.pill.click()
    await ben.offline.uncheck()
    await ben.wait_live()
    for number, id_ in enumerate(ids):
        await expect(ben.state_of(id_)).to_have_value("won" if number % 2 else "qualified")
        await expect(ben.row(id_).locator(".by")).not_to_have_text("Saved on this device")
    wanted = ", ".join(f"'{id_}'" for id_ in ids)
    assert stack.psql(f"SELECT count(*) FROM leads WHERE status <> 'new' AND id IN ({wanted})") == str(
        len(ids)
    )


@pytest.mark.parametrize("keeps", [True, False])
async def test_closing_the_window_is_warned_of_only_if_something_would_be_lost(
    open_page: OpenPage, stack: Stack, keeps: bool
) -> None:
    page = await open_page()
    if not keeps:  # as in a private window that has no storage
        await page.add_init_script("Object.defineProperty(window, 'indexedDB', { value: undefined })")
    ben, _ = await open_demo(page, stack)
    (id_,) = add_leads(stack, 1, "Not sent yet")
    await expect(ben.row(id_)).to_be_visible()
    await go_offline(ben)
    await ben.state_of(id_).select_option("won")
    await expect(ben.row(id_).locator(".by")).to_have_text("Saved on this device" if keeps else "Saving")
    warnings: list[str] = []

    async def answer(dialog: Dialog) -> None:
        warnings.append(dialog.type)
        await dialog.accept()

    page.on("dialog", answer)
    await page.close(run_before_unload=True)
    await page.wait_for_event("close") if not page.is_closed() else None
    assert warnings == ([] if keeps else ["beforeunload"])


@pytest.mark.parametrize(("width", "scheme"), FORMATS)
async def test_what_needs_a_person_fits_and_can_be_used_by_everybody(
    open_page: OpenPage, stack: Stack, screenshots: Path, width: int, scheme: str
) -> None:
    page = await open_page(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    ben, ana = await open_ben_and_ana(page, stack)
    (id_,) = add_leads(stack, 1, "Café Ñandú")
    await both_rename_offline(ben, ana, id_)
    await expect(ben.element.locator(".losses")).to_contain_text("by Ana")
    await page.screenshot(path=screenshots / f"overwritten-{width}-{scheme}.png")
    await assert_accessible(page)
    await add_a_name_that_is_too_long(page, ben)
    await ben.element.get_by_role("button", name="Review", exact=True).click()
    await expect(ben.element.get_by_role("heading", name="1 needs review")).to_be_focused()
    await page.screenshot(path=screenshots / f"inbox-{width}-{scheme}.png")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await assert_accessible(page)

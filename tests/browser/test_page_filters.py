"""What a pane shows and in what order, and that its address says so."""

import re

from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.demo import Pane, add_leads, id_of, open_demo
from tests.stack import Stack


async def states(pane: Pane) -> set[str]:
    return {await row.locator("select").input_value() for row in await pane.rows.all()}


async def test_one_state_of_one_branch_is_shown_alone_and_back_takes_it_back(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await ben.element.get_by_role("button", name=re.compile("Won$")).click()
    await ben.element.get_by_label("Branch", exact=True).select_option("south")
    await expect(ben.rows.filter(has_not_text="· South")).to_have_count(0)
    assert await states(ben) == {"won"}
    assert len(await states(carla)) > 1
    assert "left.status=won" in page.url
    assert "left.branch=south" in page.url
    await page.go_back()
    await expect(ben.element.get_by_label("Branch", exact=True)).to_have_value("")
    await page.go_back()
    await expect(ben.element.get_by_role("button", name=re.compile("Won$"))).to_have_attribute(
        "aria-pressed", "false"
    )


async def test_an_address_opens_one_person_with_what_they_looked_for(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    query = "only=left&left.person=vera%40demo.test&left.status=qualified&left.sort=name&colleagues=off"
    await page.goto(f"{stack.api_url}/?{query}")
    await expect(page.locator(".pane")).to_have_count(1)
    vera = Pane(page.locator(".pane"))
    await vera.wait_live()
    await expect(vera.element.locator(".picker")).to_have_value("vera@demo.test")
    assert await states(vera) == {"qualified"}
    names = await vera.rows.locator(".name").all_inner_texts()
    with stack.http("vera@demo.test") as vera_http:
        answer = vera_http.get(
            "/api/leads", params={"status": "qualified", "sort": "name"}
        ).raise_for_status()
    first = [item["name"] for item in answer.json()["items"]]
    assert names == first[: len(names)]


async def test_a_record_that_no_longer_fits_leaves_the_list_when_nobody_points_at_it(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    await ben.element.get_by_role("button", name=re.compile("Contacted$")).click()
    id_ = await id_of(ben.rows.first)
    await page.mouse.move(0, 0)
    stack.psql(f"UPDATE leads SET status = 'lost' WHERE id = '{id_}'")
    await expect(ben.row(id_)).to_have_count(0)


async def test_a_write_without_a_network_is_kept_on_this_device_and_outlives_the_page(
    open_page: OpenPage, stack: Stack
) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    id_ = await id_of(ben.writable.first)
    wanted = "won" if await ben.state_of(id_).input_value() != "won" else "lost"
    await ben.pill.click()
    await ben.offline.check()
    await ben.state_of(id_).select_option(wanted)
    await expect(ben.row(id_).locator(".by")).to_have_text("Saved on this device")
    await expect(ben.pill).to_have_text("Offline · 1 to send")
    await expect(carla.state_of(id_)).not_to_have_value(wanted)
    await page.reload()
    await carla.wait_live()
    # Whoever went offline by the switch stays so.
    await expect(ben.pill).to_have_text("Offline · 1 to send")
    await ben.pill.click()
    await ben.offline.uncheck()
    await expect(carla.state_of(id_)).to_have_value(wanted)


async def test_back_takes_back_the_first_change_of_a_person_too(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    await ben.become("carla@demo.test")
    await page.go_back()
    await expect(ben.element.locator(".picker")).to_have_value("ben@demo.test")
    await ben.wait_live()


async def test_a_fresh_pane_opens_alone_in_a_tab_of_its_own(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, _ = await open_demo(page, stack)
    await ben.pill.click()
    link = ben.element.get_by_role("link", name="Open in a tab of its own")
    await expect(link).to_have_attribute("href", "?only=left&left.person=ben%40demo.test")


async def test_a_branch_that_nobody_knows_is_all_of_them(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    await page.goto(f"{stack.api_url}/?only=left&left.branch=nowhere&colleagues=off")
    ben = Pane(page.locator(".pane"))
    await ben.wait_live()
    await expect(ben.element.get_by_label("Branch", exact=True)).to_have_value("")


async def test_a_head_orders_the_list_and_turns_its_order_around(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page(viewport={"width": 1440, "height": 900})
    ben, _ = await open_demo(page, stack)
    head = ben.element.get_by_role("columnheader", name="Name")
    names = ben.rows.locator(".name")
    await expect(head).to_have_attribute("aria-sort", "none")
    await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "ascending")
    await expect(ben.element.get_by_label("Order")).to_have_value("name")
    first = await names.first.inner_text()
    await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "descending")
    await expect(names.first).not_to_have_text(first)
    assert "left.sort=-name" in page.url
    value = ben.element.get_by_role("columnheader", name="Estimated value")
    await value.get_by_role("button").click()
    await expect(value).to_have_attribute("aria-sort", "descending")
    await expect(head).to_have_attribute("aria-sort", "none")
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(head).to_be_hidden()
    await expect(ben.element.get_by_label("Order")).to_be_visible()


async def test_a_lead_is_found_by_its_phone_and_its_mail(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    (id_,) = add_leads(stack, 1, "Called by number")
    stack.psql(f"UPDATE leads SET phone = '+33 1 98 76 54', email = 'Rare@Mail.test' WHERE id = '{id_}'")
    ben, _ = await open_demo(page, stack)
    for words in ("+33 1 98 76", "19876", "rare@mail"):
        await ben.element.get_by_role("searchbox").fill(words)
        await expect(ben.rows).to_have_count(1)
        await expect(ben.row(id_)).to_be_visible()


async def test_what_an_address_says_wrongly_does_not_stay_in_it(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    wrong = (
        "left.branch=nowhere&left.status=zzz&left.sort=boo&left.list=foo&left.person=x%40y&left.view=board"
    )
    await page.goto(f"{stack.api_url}/?only=left&colleagues=off&{wrong}&left.find=caf")
    await Pane(page.locator(".pane")).wait_live()
    await page.wait_for_url(lambda url: "nowhere" not in url)  # the branches come after the page
    assert page.url.endswith("/?only=left&colleagues=off&left.person=ben%40demo.test&left.find=caf")


async def test_the_title_of_the_page_says_what_it_shows(open_page: OpenPage, stack: Stack) -> None:
    page = await open_page()
    ben, carla = await open_demo(page, stack)
    await expect(page).to_have_title("Leads · Branchline")
    await carla.element.get_by_role("tab", name="Deals").click()
    await expect(page).to_have_title("Leads | Deals · Branchline")
    (id_,) = add_leads(stack, 1, "Café Ñandú")
    await ben.row(id_).locator(".open").click()
    await expect(page).to_have_title("Café Ñandú | Deals · Branchline")
    await page.go_back()
    await expect(page).to_have_title("Leads | Deals · Branchline")

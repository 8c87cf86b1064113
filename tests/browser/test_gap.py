"""The page's client of the live stream, against a gateway that leaves something out."""

from playwright.async_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.scripted_gateway import CLIENT, ScriptedGateway, change, lead


async def names(page: Page) -> list[str]:
    found: list[str] = await page.evaluate("leads.records.map((record) => record.name)")
    return found


async def test_a_delta_beyond_the_position_is_not_applied_and_the_topic_is_asked_for_again(
    open_page: OpenPage,
) -> None:
    page, gateway = await open_page(), ScriptedGateway()
    await gateway.serve(page)
    await page.evaluate(CLIENT)
    asked = await gateway.welcome()
    gateway.subscribed(asked, "snapshot", 10)
    gateway.snapshot([lead("1", name="Ada")], 10)
    await page.wait_for_function("leads.state === 'live'")
    gateway.delta(12, 13, change(13, "1", 3, name="Too soon"))
    again = await gateway.next("subscribe")
    assert again["since"] == {"epoch": "e", "offset": 10, "view": "v"}
    assert await names(page) == ["Ada"]
    gateway.subscribed(again, "replay", 13)
    gateway.delta(10, 13, change(11, "1", 2, name="First"), change(13, "1", 3, name="Then"))
    await page.wait_for_function("leads.state === 'live' && leads.position.offset === 13")
    assert await names(page) == ["Then"]

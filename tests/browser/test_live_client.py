"""The page's client of the live stream, against a gateway that follows a script."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.scripted_gateway import CLIENT, ScriptedGateway, change, lead


@pytest.fixture
async def page(open_page: OpenPage) -> Page:
    return await open_page()


@pytest.fixture
async def gateway(page: Page) -> ScriptedGateway:
    """A gateway for a page whose time stands still but where a test lets it run."""
    scripted = ScriptedGateway()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    await page.clock.install(time=start)
    await scripted.serve(page)
    await page.clock.pause_at(start + timedelta(days=1))
    return scripted


@pytest.fixture
async def subscription(page: Page, gateway: ScriptedGateway) -> dict[str, Any]:
    """A page that is live with one lead at position 10; the `subscribe` it sent."""
    await page.evaluate(CLIENT)
    asked = await gateway.welcome()
    gateway.subscribed(asked, "snapshot", 10)
    gateway.snapshot([lead("1", name="Ada")], 10)
    await wait_state(page, "live")
    return asked


async def wait_state(page: Page, state: str) -> None:
    await page.wait_for_function("(state) => live.state === state", arg=state)


async def wait_offset(page: Page, offset: int) -> None:
    await page.wait_for_function("(offset) => live.position?.offset === offset", arg=offset)


async def names(page: Page) -> list[str]:
    found: list[str] = await page.evaluate("records.ordered.map((record) => record.name)")
    return found


async def test_a_first_subscription_asks_for_a_snapshot(subscription: dict[str, Any]) -> None:
    assert "since" not in subscription
    assert subscription["topic"] == "leads"


async def test_a_snapshot_counts_only_when_its_last_page_is_there(
    page: Page, gateway: ScriptedGateway
) -> None:
    await page.evaluate(CLIENT)
    asked = await gateway.welcome()
    gateway.subscribed(asked, "snapshot", 10)
    gateway.snapshot([lead("1", name="Ada")], 10, last=False)
    gateway.say(type="head", epoch="e", offset=10, at_ms=0)
    gateway.say(type="pong", sent_at_ms=0, server_time_ms=0)
    await wait_state(page, "catching-up")
    assert await names(page) == []
    gateway.snapshot([lead("2", name="Bo")], 10)
    await wait_state(page, "live")
    assert await names(page) == ["Bo", "Ada"]


async def test_a_delta_that_joins_on_is_applied(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.delta(10, 12, change(11, "1", 2, name="Ada B."), change(12, "2", 1, "insert", name="Bo"))
    await wait_offset(page, 12)
    assert await names(page) == ["Bo", "Ada B."]


async def test_changes_of_a_delta_that_overlaps_are_applied_once(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.delta(8, 12, change(9, "1", 9, name="of the past"), change(12, "1", 2, name="Ada B."))
    await wait_offset(page, 12)
    assert await names(page) == ["Ada B."]


async def test_a_delta_beyond_the_position_is_not_applied_and_the_topic_is_asked_for_again(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    """I5: what is missing between the position and `from` would be lost for ever."""
    gateway.delta(11, 12, change(12, "1", 3, name="after the gap"))
    asked = await gateway.next("subscribe")
    assert asked["since"] == {"epoch": "e", "offset": 10, "view": "v"}
    assert await names(page) == ["Ada"]
    gateway.subscribed(asked, "replay", 12)
    gateway.delta(10, 12, change(11, "1", 2, name="in the gap"), change(12, "1", 3, name="after the gap"))
    await wait_state(page, "live")
    assert await names(page) == ["after the gap"]


async def test_after_a_gap_nothing_counts_until_the_answer_comes(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.delta(11, 12, change(12, "1", 3, name="after the gap"))
    asked = await gateway.next("subscribe")
    gateway.delta(10, 13, change(13, "1", 4, name="of the old subscription"))
    gateway.subscribed(asked, "replay", 10)
    await wait_state(page, "live")
    assert await names(page) == ["Ada"]


async def test_pages_of_a_large_transaction_count_only_with_the_last(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.delta(10, 12, change(11, "1", 2, name="half"), more=True)
    gateway.say(type="head", epoch="e", offset=10, at_ms=0)
    await page.evaluate("live.position.offset")
    assert await names(page) == ["Ada"]
    gateway.delta(10, 12, change(12, "1", 3, name="whole"))
    await wait_offset(page, 12)
    assert await names(page) == ["whole"]


async def test_a_change_that_the_record_is_ahead_of_says_nothing(
    page: Page, gateway: ScriptedGateway
) -> None:
    await page.evaluate(CLIENT)
    asked = await gateway.welcome()
    gateway.subscribed(asked, "snapshot", 10)
    gateway.snapshot([lead("1", version=5, name="newer than the position")], 10)
    gateway.delta(10, 11, change(11, "1", 4, name="older"))
    await wait_offset(page, 11)
    assert await names(page) == ["newer than the position"]


async def test_records_leave_and_enter_the_view(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.delta(10, 12, change(11, "1", 2, "leave"), change(12, "2", 7, "enter", name="Bo"))
    await wait_offset(page, 12)
    assert await names(page) == ["Bo"]


async def test_a_head_moves_the_position_from_which_the_next_socket_resumes(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.say(type="head", epoch="e", offset=40, at_ms=0)
    await wait_offset(page, 40)
    await gateway.socket.close(code=4008, reason="too slow")
    await wait_state(page, "reconnecting")
    await page.clock.run_for(1_000)
    asked = await gateway.welcome()
    assert asked["since"] == {"epoch": "e", "offset": 40, "view": "v"}


async def test_another_epoch_asks_for_a_snapshot(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.say(type="head", epoch="f", offset=3, at_ms=0)
    assert "since" not in await gateway.next("subscribe")


async def test_a_socket_that_is_silent_for_12_s_is_left(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    await page.clock.run_for(11_000)
    assert await page.evaluate("live.state") == "live"
    await page.clock.run_for(2_000)
    assert await page.evaluate("live.state") == "offline"
    await page.clock.run_for(2_000)
    asked = await gateway.welcome()
    assert asked["since"]["offset"] == 10
    gateway.subscribed(asked, "replay", 10)
    gateway.delta(10, 10)
    await wait_state(page, "live")


async def test_heads_keep_a_quiet_socket(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    for offset in range(11, 16):
        await page.clock.run_for(9_000)
        gateway.say(type="head", epoch="e", offset=offset, at_ms=0)
        await wait_offset(page, offset)
    assert await page.evaluate("live.state") == "live"
    assert gateway.sockets.empty()


async def test_a_refused_token_is_renewed(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    await gateway.socket.close(code=4503, reason="expired")
    await wait_state(page, "reconnecting")
    await page.clock.run_for(1_000)
    await gateway.welcome()
    assert await page.evaluate("renewals") == [False, True]


@pytest.mark.parametrize("code", [4502, 4504])
async def test_some_closes_are_final(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any], code: int
) -> None:
    await gateway.socket.close(code=code, reason="no more")
    await wait_state(page, "stopped")
    await page.clock.run_for(60_000)
    assert gateway.sockets.empty()
    assert await page.evaluate("live.reason") == "no more"


async def test_a_gateway_that_leaves_is_left_when_it_says(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.say(type="goaway", reconnect_after_ms=3_000)
    gateway.say(type="head", epoch="e", offset=11, at_ms=0)
    await wait_offset(page, 11)
    await page.clock.run_for(2_500)
    assert gateway.sockets.empty()
    await page.clock.run_for(1_000)
    asked = await gateway.welcome()
    assert asked["since"]["offset"] == 11


async def test_lost_access_empties_the_cache_and_is_answered(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    gateway.say(type="purge", topics=["leads"], reason="revoked")
    asked = await gateway.next("subscribe")
    assert "since" not in asked
    assert (await gateway.next("purged"))["topics"] == ["leads"]
    assert await names(page) == []


async def test_attempts_that_fail_come_further_and_further_apart(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    await page.evaluate("Math.random = () => 0.999")
    socket = gateway.socket
    for expected_ms in (500, 1_000, 2_000, 4_000):
        await socket.close(code=1011, reason="failed")
        await page.wait_for_function("live.state === 'reconnecting' || live.state === 'offline'")
        await page.clock.run_for(expected_ms - 50)
        assert gateway.sockets.empty()
        await page.clock.run_for(100)
        socket = await gateway.sockets.get()


async def test_a_newer_token_is_shown_on_the_open_socket(
    page: Page, gateway: ScriptedGateway, subscription: dict[str, Any]
) -> None:
    await page.evaluate("live.renew('a newer token')")
    assert (await gateway.next("authenticate"))["token"] == "a newer token"
    assert gateway.sockets.empty()

"""The page's logins: tokens are kept as long as they are good, renewed in time, and asked for once."""

import pytest
from playwright.async_api import Page, Route

from tests.browser.conftest import OpenPage
from tests.browser.scripted_gateway import ORIGIN, ScriptedGateway

SESSION = """async () => {
  const { Session } = await import("/session.js");
  window.session = new Session("ben@demo.test", "demo");
}"""


class Logins:
    """What the API is asked, and what it answers: 401 for what is in `refuses`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses: set[str] = set()

    async def answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(f"{ORIGIN}/api/")
        self.asked.append(path)
        if path in self.refuses:
            self.refuses.discard("leads")  # once
            await route.fulfill(status=401, json={"code": "token_refused", "detail": "no"})
        else:
            number = len(self.asked)
            grant = {
                "access_token": f"access {number}",
                "refresh_token": f"refresh {number}",
                "expires_in": 900,
            }
            await route.fulfill(json=grant)


@pytest.fixture
async def page(open_page: OpenPage) -> Page:
    opened = await open_page(tolerated="Failed to load resource")
    await opened.clock.install()
    await ScriptedGateway().serve(opened)
    await opened.evaluate(SESSION)
    return opened


@pytest.fixture
async def logins(page: Page) -> Logins:
    answering = Logins()
    await page.route(f"{ORIGIN}/api/**", answering.answer)
    return answering


async def test_a_token_is_asked_for_once(page: Page, logins: Logins) -> None:
    tokens = await page.evaluate("Promise.all([session.token(), session.token(), session.token()])")
    assert tokens == ["access 1"] * 3
    assert logins.asked == ["auth/login"]


async def test_a_token_is_renewed_a_minute_before_it_runs_out(page: Page, logins: Logins) -> None:
    await page.evaluate("session.token()")
    await page.clock.fast_forward(800_000)
    assert await page.evaluate("session.token()") == "access 1"
    await page.clock.fast_forward(50_000)
    assert await page.evaluate("session.token()") == "access 2"
    assert logins.asked == ["auth/login", "auth/refresh"]


async def test_where_the_session_has_ended_the_person_signs_in_again(page: Page, logins: Logins) -> None:
    await page.evaluate("session.token()")
    logins.refuses.add("auth/refresh")
    assert await page.evaluate("session.token({ renew: true })") == "access 3"
    assert logins.asked == ["auth/login", "auth/refresh", "auth/login"]


async def test_a_request_with_a_token_that_is_refused_is_made_again_with_another(
    page: Page, logins: Logins
) -> None:
    logins.refuses.add("leads")
    await page.evaluate("session.request('GET', 'api/leads')")
    assert logins.asked == ["auth/login", "leads", "auth/refresh", "leads"]


async def test_wrong_credentials_are_final_and_a_server_out_of_reach_is_not(
    page: Page, logins: Logins
) -> None:
    logins.refuses.add("auth/login")
    assert await page.evaluate("session.token().catch((problem) => problem.permanent)") is True
    await page.unroute(f"{ORIGIN}/api/**")
    await page.route(f"{ORIGIN}/api/**", lambda route: route.abort())
    assert await page.evaluate("session.token().catch((problem) => problem.permanent)") is False

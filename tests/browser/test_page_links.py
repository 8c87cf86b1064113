"""Links from mail open a dialog on the page: an invitation is accepted, a forgotten password replaced."""

import email as email_library
import re
from email.message import Message

import httpx
from playwright.async_api import Locator, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.conftest import OpenPage
from tests.running_up import wait_until
from tests.stack import DEMO_PASSWORD, Stack
from tests.tenants import new_id

NEW_PASSWORD = "a staple of batteries"
REFUSED = "Failed to load resource"
"""What the browser's console says of an answer that refuses."""


def links_to(stack: Stack, address: str) -> list[str]:
    """What stands behind the page's address in each mail to somebody."""
    mails = [
        email_library.message_from_string(path.read_text())
        for path in sorted((stack.up.home / "mail").glob("*.eml"))
    ]
    return [link_in(mail) for mail in mails if mail["To"] == address]


def link_in(mail: Message) -> str:
    found = re.search(r"/(#\w+=[\w-]+)", str(mail.get_payload(decode=True)))
    assert found is not None, mail
    return found.group(1)


def invite(stack: Stack, address: str) -> str:
    """Have Olga invite somebody as an agent; what the link in the mail ends in."""
    with stack.http("olga@other.test") as olga:
        answer = olga.post("/api/auth/invitations", json={"email": address, "role": "agent"})
    assert answer.status_code == 201, answer.text
    [link] = links_to(stack, address)
    return link


def ask_for_reset(stack: Stack, address: str) -> str:
    with stack.http() as anybody:
        anybody.post("/api/auth/password-reset", json={"email": address})
    wait_until(lambda: links_to(stack, address), "a mail")
    return links_to(stack, address)[-1]


def sign_in(stack: Stack, address: str, password: str) -> httpx.Response:
    with stack.http() as anybody:
        return anybody.post("/api/auth/login", json={"email": address, "password": password})


async def follow(page: Page, stack: Stack, link: str) -> Locator:
    """Open the page by a link from mail; the dialog."""
    await page.goto(f"{stack.api_url}/?only=left&colleagues=off{link}")
    return page.get_by_role("dialog")


async def assert_forgotten(page: Page, link: str) -> None:
    """The token is in no address that the browser keeps of this window."""
    session = await page.context.new_cdp_session(page)
    kept = [entry["url"] for entry in (await session.send("Page.getNavigationHistory"))["entries"]]
    assert kept
    assert not [url for url in kept if link.partition("=")[2] in url]


def add_person(stack: Stack, address: str) -> None:
    """Somebody with an account and no organisation, with everybody's password."""
    stack.psql(
        "INSERT INTO users (email, name, password_hash)"
        f" SELECT '{address}', 'Carl Berg', password_hash FROM users WHERE email = 'olga@other.test'"
    )


async def test_an_invitation_is_accepted_and_the_new_person_signs_in(
    open_page: OpenPage, stack: Stack
) -> None:
    address = f"{new_id()}@new.test"
    link = invite(stack, address)
    page = await open_page(viewport={"width": 390, "height": 844}, color_scheme="dark", tolerated=REFUSED)
    dialog = await follow(page, stack, link)
    await expect(dialog.get_by_role("heading", name="Join Other Company")).to_be_visible()
    await expect(dialog).to_contain_text(f"as an agent, with the address {address}")
    await assert_forgotten(page, link)
    await assert_accessible(page)
    await dialog.get_by_label("Name").fill("Nora Lind")
    await dialog.get_by_label("New password").fill("short")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_have_text("It has 5 characters, and needs 10.")
    await expect(dialog.get_by_label("New password")).to_be_focused()
    await assert_accessible(page)
    await dialog.get_by_label("New password").fill(NEW_PASSWORD)
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("heading", name="Welcome to Other Company")).to_be_visible()
    await expect(dialog).to_contain_text("as an agent")
    assert sign_in(stack, address, NEW_PASSWORD).status_code == 200


async def test_who_has_an_account_joins_by_its_password(open_page: OpenPage, stack: Stack) -> None:
    address = f"{new_id()}@new.test"
    add_person(stack, address)
    link = invite(stack, address)
    page = await open_page(viewport={"width": 900, "height": 800}, tolerated=REFUSED)
    dialog = await follow(page, stack, link)
    await expect(dialog).to_contain_text("Your password, Carl Berg, is all it takes.")
    await expect(dialog.get_by_label("Name")).to_be_hidden()
    password = dialog.get_by_label("Password", exact=True)
    await expect(password).to_have_attribute("autocomplete", "current-password")
    await password.fill("not their password")
    await dialog.get_by_role("button", name="Join").click()
    await expect(dialog.get_by_role("alert")).to_have_text("That is not the password of your account.")
    assert sign_in(stack, address, DEMO_PASSWORD).json()["code"] == "not_a_member"
    await password.fill(DEMO_PASSWORD)
    await dialog.get_by_role("button", name="Join").click()
    await expect(dialog.get_by_role("heading", name="Welcome to Other Company")).to_be_visible()
    assert sign_in(stack, address, DEMO_PASSWORD).status_code == 200


async def test_a_forgotten_password_is_replaced_and_a_used_up_link_says_so(
    open_page: OpenPage, stack: Stack
) -> None:
    address = f"{new_id()}@new.test"
    add_person(stack, address)
    link = ask_for_reset(stack, address)
    page = await open_page(viewport={"width": 1440, "height": 900}, tolerated=REFUSED)
    dialog = await follow(page, stack, link)
    password = dialog.get_by_label("New password")
    await expect(password).to_be_focused()
    await assert_forgotten(page, link)
    await page.keyboard.type(NEW_PASSWORD)
    await expect(password).to_have_attribute("type", "password")
    await dialog.get_by_role("switch", name="Show the password").check()
    await expect(password).to_have_attribute("type", "text")
    await expect(password).to_have_value(NEW_PASSWORD)
    await assert_accessible(page)
    await dialog.get_by_role("button", name="Set password").click()
    await expect(dialog.get_by_role("heading", name="Your new password is set")).to_be_visible()
    assert sign_in(stack, address, DEMO_PASSWORD).json()["code"] == "credentials_refused"
    assert sign_in(stack, address, NEW_PASSWORD).json()["code"] == "not_a_member"
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_be_hidden()
    # Somebody follows the link again, in the same window.
    await page.evaluate("(link) => { location.hash = link; }", link)
    await password.fill(NEW_PASSWORD)
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("heading", name="This link is no longer good")).to_be_visible()
    await expect(password).to_be_hidden()
    await assert_forgotten(page, link)
    await assert_accessible(page)

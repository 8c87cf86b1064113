"""What browser tests share: people with their own windows, whose consoles must stay empty."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

OpenPage = Callable[..., Awaitable[Page]]

# Two busy cores are slower than a person's machine; what comes at all comes at once where there is time.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens a page in a profile of its own; `options` are those of Browser.new_context.

    At the end of the test nothing may have been written to any page's console as an error, and nothing thrown; but for
    what holds `tolerated`, such as the status of an answer that the test provokes.
    """
    contexts = []
    complaints: list[str] = []

    async def open_one(*, tolerated: str | None = None, **options: Any) -> Page:
        def complain(text: str) -> None:
            if tolerated is None or tolerated not in text:
                complaints.append(text)

        context = await browser.new_context(**options)
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complain(f"thrown: {error}"))
        page.on(
            "console",
            lambda message: complain(message.text) if message.type in ("error", "warning") else None,
        )
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert complaints == []

"""Fixtures for every folder of tests: real servers, once a session, and a fresh database where one is asked for."""

import asyncio
import faulthandler
import functools
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from tests.leaks import pytest_runtest_makereport as pytest_runtest_makereport  # a hook: pytest finds it here
from tests.servers import Database, Servers, run_servers
from tests.stack import RESULTS, Stack, run_stack
from tools.outside_programs import CHROMIUM_SWITCHES, working_chromium
from tools.run_tests import UNDER_WAY

TEST_SECONDS = 150.0
"""Several times what the longest test takes on a slow machine."""
LONG_SECONDS = 4 * 60 * 60
"""A full form that takes longer than this hangs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have an asynchronous test that hangs fail where it hangs, and the others go on."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _within(LONG_SECONDS if item.get_closest_marker("long") else TEST_SECONDS, item.obj)


def _within(seconds: float, test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def timed(*arguments: Any, **fixtures: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*arguments, **fixtures)

    return timed


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note which test runs, for `make test` to name if the run ends without a report, as after a hang."""
    UNDER_WAY.parent.mkdir(exist_ok=True)
    UNDER_WAY.write_text(nodeid)


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest) -> None:
    """Give the full form of a test more time than `faulthandler_timeout` in pyproject.toml gives the others."""
    if request.node.get_closest_marker("long") is not None:
        faulthandler.dump_traceback_later(LONG_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests and fixtures run on asyncio, all of a session on one event loop."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A PostgreSQL with the schema in its template database, and a Valkey."""
    with run_servers() as running:
        yield running


@pytest.fixture
def database(servers: Servers) -> Iterator[Database]:
    """A fresh database with the schema, for one test."""
    with servers.database() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_database(servers: Servers) -> Iterator[Database]:
    """A fresh database with the schema, shared by the tests of one module."""
    with servers.database() as fresh:
        yield fresh


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Everything that `branchline up` runs, with the demo data and two gateways, shared by all who only use it.

    A test that kills or reconfigures something starts its own with `run_stack`.
    """
    with run_stack() as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the system's Chromium. `make test` installs it where it can."""
    found = working_chromium()
    assert found is not None, "no Chromium: `make test` says how to get one"
    return found


@pytest.fixture(scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A headless Chromium; each test opens a context of its own in it, as another person would."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_SWITCHES)
        yield launched
        await launched.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures go that people look at after the tests."""
    folder = RESULTS / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

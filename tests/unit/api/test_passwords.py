"""Passwords are checked beside everything else, and never in its way."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from api import passwords
from api.passwords import Passwords, TooBusyError


@pytest.fixture
def checks() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_a_check_gives_way_to_whoever_else_has_work(checks: Passwords) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    assert await checks._run(niceness) == min(before + passwords.NICENESS, 19)
    # Others' priority is as before.
    assert niceness() == before


async def test_when_too_many_wait_the_next_one_is_refused_and_it_can_be_known_beforehand(
    checks: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "WAITING_LIMIT", 1)
    may_end = threading.Event()
    under_way = asyncio.create_task(checks._run(lambda: str(may_end.wait(30))))
    await asyncio.sleep(0)
    full = checks.is_full
    assert full
    with pytest.raises(TooBusyError):
        await checks.matches(None, "x")
    may_end.set()
    await under_way
    assert not await checks.matches(None, "x")

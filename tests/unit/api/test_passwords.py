"""Passwords are checked beside everything else, and never in its way."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from api import passwords
from api.password_checker import NICENESS, NICENESS_IN_A_FLOOD
from api.passwords import Passwords, TooBusyError
from cli.processes import identify


@pytest.fixture
async def checks() -> AsyncIterator[Passwords]:
    made = Passwords()
    yield made
    await made.close()


def process_of(checks: Passwords) -> int:
    assert checks._checker is not None
    return checks._checker.pid


def threads_of(process: int) -> set[tuple[int, int]]:
    found = set()
    for path in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            thread = int(path.name)
            found.add((os.getpriority(os.PRIO_PROCESS, thread), len(os.sched_getaffinity(thread))))
    return found


async def test_what_was_hashed_matches_and_nothing_else_does(checks: Passwords) -> None:
    hashed = await checks.hash("correct horse\n\N{SNOWMAN}")
    asked = [(hashed, "correct horse\n\N{SNOWMAN}"), (hashed, "correct"), (None, "correct"), ("no hash", "x")]
    answers = await asyncio.gather(*[checks.matches(*each) for each in asked])
    assert answers == [True, False, False, False]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities and processors of a thread")
async def test_a_check_gives_way_and_while_many_wait_to_all_others_and_keeps_processors_free(
    checks: Passwords,
) -> None:
    niceness, processors = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)

    async def seen(count: int) -> set[tuple[int, int]]:
        """The priorities of the process's threads, and on how many processors they may run, during so many checks."""
        found = set()
        asked = asyncio.gather(*[checks.matches(None, "x") for _ in range(count)])
        while not asked.done():
            await asyncio.sleep(0.005)
            found |= threads_of(process_of(checks))
        return found

    await checks.matches(None, "x")
    calm = (min(niceness + NICENESS, 19), len(processors))
    behind = (min(niceness + NICENESS_IN_A_FLOOD, 19), (len(processors) + 1) // 2)
    assert await seen(1) == {calm}
    assert behind in await seen(passwords.MANY + 1)
    while threads_of(process_of(checks)) != {calm}:
        await asyncio.sleep(0.005)  # the flood's last thread ends, behind all others
    assert await seen(1) == {calm}
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == (niceness, processors)


async def test_when_too_many_wait_the_next_one_is_refused_and_it_can_be_known_beforehand(
    checks: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "WAITING_LIMIT", 1)
    under_way = asyncio.create_task(checks.matches(None, "x"))
    await asyncio.sleep(0)
    assert checks.is_full
    with pytest.raises(TooBusyError):
        await checks.matches(None, "x")
    await under_way
    assert not await checks.matches(None, "x")


async def test_who_gives_up_gets_nobody_else_s_answer(checks: Passwords) -> None:
    hashed = await checks.hash("right")
    gives_up = asyncio.create_task(checks.matches(hashed, "right"))
    stays = asyncio.create_task(checks.matches(hashed, "wrong"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gives_up.cancel()
    assert await stays is False


async def test_checks_whose_process_dies_are_refused_and_the_next_one_starts_another(
    checks: Passwords,
) -> None:
    hashed = await checks.hash("right")
    waiting = asyncio.gather(*[checks.matches(hashed, "right") for _ in range(3)], return_exceptions=True)
    await asyncio.sleep(0)
    with capture_logs() as logs:
        os.kill(process_of(checks), signal.SIGKILL)
        assert [type(each) for each in await waiting] == [TooBusyError] * 3
    assert [each["event"] for each in logs] == ["passwords.checker_died"]
    assert await checks.matches(hashed, "right")


async def test_a_check_that_fails_ends_its_process_and_nobody_waits_for_it(
    checks: Passwords, capfd: pytest.CaptureFixture[str]
) -> None:
    with capture_logs(), pytest.raises(TooBusyError):
        await checks.matches(None, cast(str, 5))
    assert "AttributeError" in capfd.readouterr().err
    assert not await checks.matches(None, "x")


async def test_its_process_ends_with_whoever_started_it() -> None:
    program = (
        "import asyncio, os\n"
        "from api.passwords import Passwords\n"
        "async def main():\n"
        "    checks = Passwords()\n"
        "    await checks.matches(None, 'x')\n"
        "    print(checks._checker.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()  # the checker's own output is another pipe
    async with asyncio.timeout(30):
        while identify(int(told)) is not None:
            await asyncio.sleep(0.05)

"""A process of the load client answers, also at length, and says what is wrong with it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping

import pytest

from benchmarks.harness.child import Answer, Child, ChildError


async def program(argument: object) -> Mapping[str, Answer]:
    if argument == "broken":
        raise ValueError("it does not begin")

    async def repeat(count: int) -> bytes:
        return b"x" * count

    async def fail(_: object) -> None:
        raise ValueError("it does not work")

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    return {"repeat": repeat, "fail": fail, "never": never}


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    child = Child("test", program, None)
    yield child
    child.stop()


async def test_it_answers_at_any_length_and_goes_on_after_an_error(child: Child) -> None:
    assert await child.ask("repeat", 5_000_000) == b"x" * 5_000_000
    with pytest.raises(ChildError, match="it does not work"):
        await child.ask("fail")
    await child.ask("mark")
    assert await child.ask("repeat", 3) == b"xxx"
    effort = await child.ask("effort")
    assert effort.cpu_share >= 0


async def test_ctrl_c_does_not_end_a_child_not_even_while_it_starts() -> None:
    handler = signal.getsignal(signal.SIGINT)
    child = Child("test", program, None)
    try:
        # A terminal sends it to all of its processes.
        os.kill(child.pid, signal.SIGINT)
        assert await child.ask("repeat", 1) == b"x"
        os.kill(child.pid, signal.SIGINT)
        assert await child.ask("repeat", 2) == b"xx"
    finally:
        child.stop()
    assert signal.getsignal(signal.SIGINT) is handler, "the parent hears it as before"


async def test_one_that_does_not_begin_says_why() -> None:
    child = Child("test", program, "broken")
    try:
        with pytest.raises(ChildError, match="it does not begin"):
            await child.ask("repeat", 1)
    finally:
        child.stop()


async def test_one_that_does_not_answer_is_given_up(child: Child) -> None:
    await child.ask("repeat", 1)
    with pytest.raises(ChildError, match="did not answer"):
        await child.ask("never", seconds=0)


async def test_a_question_ends_with_the_process(child: Child) -> None:
    await child.ask("repeat", 1)
    asking = asyncio.create_task(child.ask("never"))
    await asyncio.sleep(0)
    child.stop()
    with pytest.raises(ChildError):
        await asking

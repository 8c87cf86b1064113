"""Starting and stopping: signals, the parent's death, errors that somebody outside can mend."""

import asyncio
import os
import signal

import pytest

from core.lifecycle import EXIT_OK, EXIT_USAGE, SUPERVISOR_VARIABLE, StartupError, run_until_stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_the_process_to_finish(number: signal.Signals) -> None:
    async def serve(stopping: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stopping.wait(), 5)

    assert run_until_stopped(serve) == EXIT_OK


def test_a_process_whose_supervisor_is_gone_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUPERVISOR_VARIABLE, "1" if os.getppid() != 1 else "2")

    async def serve(stopping: asyncio.Event) -> None:
        await asyncio.wait_for(stopping.wait(), 5)

    assert run_until_stopped(serve) == EXIT_OK


def test_what_has_to_be_mended_outside_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(stopping: asyncio.Event) -> None:
        raise StartupError("the port is taken:\n  choose another.")

    assert run_until_stopped(serve) == EXIT_USAGE
    assert capsys.readouterr().err == "branchline: the port is taken: choose another.\n"


def test_it_is_one_line_out_of_a_task_group_too(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        raise StartupError("no database.")

    async def serve(stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    assert run_until_stopped(serve) == EXIT_USAGE
    assert capsys.readouterr().err == "branchline: no database.\n"


def test_a_defect_is_not_hidden_behind_one() -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def serve(stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(StartupError("no database.")))
            group.create_task(fail(ZeroDivisionError()))

    with pytest.raises(ExceptionGroup) as caught:
        run_until_stopped(serve)
    assert caught.value.subgroup(ZeroDivisionError) is not None

"""Children that are kept running, and what a person sees of them."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.roles import Role, wait_ready
from cli.supervisor import ChildSpec, LogFile, Supervisor, show_postgresql_line, show_role_line
from core.status_server import Readiness, StatusServer


def spec(folder: Path, program: str, **more: object) -> ChildSpec:
    values: dict[str, object] = {
        "name": "worker",
        "arguments": [sys.executable, "-u", "-c", program],
        "environment": dict(os.environ),
        "log_file": folder / "worker.log",
        "stop_steps": [(signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)],
        "death_signal": signal.SIGKILL,
        "worth_showing": show_role_line,
    }
    return ChildSpec(**{**values, **more})  # type: ignore[arg-type]


async def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def run_with_supervisor(test: Callable[[Supervisor, list[str]], Awaitable[None]]) -> None:
    # A loop of its own: children are made from the main thread's loop, as `up` makes them.
    async def run() -> None:
        said: list[str] = []
        supervisor = Supervisor(said.append, lambda running: None)
        try:
            await test(supervisor, said)
        finally:
            await supervisor.stop(supervisor.children)
            await supervisor.wait_ended()

    asyncio.run(run())


def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async def test(supervisor: Supervisor, said: list[str]) -> None:
        child = supervisor.start(spec(tmp_path, "import time; time.sleep(60)"))
        await wait_until(lambda: child.identity is not None)
        first = child.identity
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        await wait_until(lambda: child.identity not in (None, first))
        assert said == ["worker was ended by SIGKILL; starting it again in 0.1 s."]

    run_with_supervisor(test)


def test_a_child_that_keeps_ending_is_started_ever_more_slowly(tmp_path: Path) -> None:
    async def test(supervisor: Supervisor, said: list[str]) -> None:
        child = supervisor.start(spec(tmp_path, "raise SystemExit(3)"))
        await wait_until(lambda: child.exits >= 4)
        assert [line.rpartition(" in ")[2] for line in said[:4]] == ["0.1 s.", "0.2 s.", "0.4 s.", "0.8 s."]
        assert said[0].startswith("worker ended with status 3")

    run_with_supervisor(test)


def test_a_child_that_says_it_cannot_start_is_not_started_again(tmp_path: Path) -> None:
    program = "import sys; sys.stderr.write('branchline: no such database.\\n'); sys.exit(2)"

    async def test(supervisor: Supervisor, said: list[str]) -> None:
        child = supervisor.start(spec(tmp_path, program, hopeless_status=2))
        await wait_until(lambda: child.failure is not None)
        assert str(child.failure) == "no such database."
        assert child.exits == 1
        assert said == []

    run_with_supervisor(test)


def test_a_child_that_was_ready_once_is_started_again_even_then(tmp_path: Path) -> None:
    async def test(supervisor: Supervisor, said: list[str]) -> None:
        program = "import sys; sys.stderr.write('branchline: no database.\\n'); sys.exit(2)"
        child = supervisor.start(spec(tmp_path, program, hopeless_status=2))
        child.settled = True
        await wait_until(lambda: child.exits >= 2)
        assert said[0] == "worker ended with status 2 (no database); starting it again in 0.1 s."

    run_with_supervisor(test)


def test_stopping_uses_the_next_signal_when_the_first_is_ignored(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    )

    async def test(supervisor: Supervisor, said: list[str]) -> None:
        steps = [(signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)]
        child = supervisor.start(spec(tmp_path, program, stop_steps=steps))
        await wait_until(lambda: child.last_line == "deaf")
        identity = child.identity
        assert identity is not None
        await supervisor.stop([child])
        assert not identity.alive

    run_with_supervisor(test)


def test_a_child_gets_what_it_is_to_read(tmp_path: Path) -> None:
    async def test(supervisor: Supervisor, said: list[str]) -> None:
        program = "import sys, time; print(sys.stdin.read()); time.sleep(60)"
        child = supervisor.start(spec(tmp_path, program, standard_input=b"port 1\n"))
        await wait_until(lambda: child.last_line == "port 1")

    run_with_supervisor(test)


def test_every_line_is_logged_and_warnings_are_shown(tmp_path: Path) -> None:
    lines = [
        '{"event":"started","level":"info"}',
        '{"event":"slow","level":"warning","at":"x","lag":7}',
        "Traceback",
    ]
    program = f"import time\nfor line in {lines!r}: print(line)\ntime.sleep(60)"

    async def test(supervisor: Supervisor, said: list[str]) -> None:
        child = supervisor.start(spec(tmp_path, program))
        await wait_until(lambda: child.last_line == "Traceback")
        assert said == ["worker: warning: slow lag=7", "worker: Traceback"]
        assert tmp_path.joinpath("worker.log").read_text().splitlines() == lines

    run_with_supervisor(test)


def test_a_log_file_that_grows_too_large_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.supervisor.LOG_LIMIT_BYTES", 10)
    log = LogFile(tmp_path / "api.log")
    for line in (b"the first line", b"second"):
        log.write(line)
    log.close()
    assert tmp_path.joinpath("api.log.1").read_bytes() == b"the first line\n"
    assert tmp_path.joinpath("api.log").read_bytes() == b"second\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"2026-05-04 09:30:00 UTC [7] ERROR:  duplicate key value", None),
        (b"2026-05-04 09:30:00 UTC [7] PANIC:  could not write to file", True),
        (b"2026-05-04 09:30:00 UTC [7] LOG:  could not write: No space left on device", True),
    ],
)
def test_postgresql_is_quoted_only_when_it_is_at_an_end(line: bytes, shown: bool | None) -> None:
    assert show_postgresql_line(line) == (line.decode() if shown else None)


def test_another_programs_process_at_the_port_is_not_the_child_that_is_waited_for(tmp_path: Path) -> None:
    async def test(supervisor: Supervisor, said: list[str]) -> None:
        ready = Readiness(True, details={"leader": True})
        async with StatusServer("127.0.0.1", 0, role="relay", readiness=lambda: ready) as another:
            role = Role("worker", "relay", another.port, {}, must_lead=True)
            program = (
                "import sys, time; time.sleep(0.3); print('branchline: the port is taken.'); sys.exit(2)"
            )
            child = supervisor.start(spec(tmp_path, program, hopeless_status=2))
            with pytest.raises(ExceptionGroup) as caught:
                await wait_ready("127.0.0.1", [(role, child)], said.append)
        assert [str(error) for error in caught.value.exceptions] == ["the port is taken."]

    run_with_supervisor(test)

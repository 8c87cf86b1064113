"""Processes of ours: told from strangers, tied to their parent, ended."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.processes import ProcessIdentity, command_line, end_processes, identify


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.01)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    # For a moment it is not yet what it was started as.
    wait_until(lambda: "sleep" in command_line(process.pid))
    yield process
    process.kill()
    process.wait()


def test_a_process_is_itself_and_no_other_with_its_number(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None
    assert identity.alive
    assert not ProcessIdentity(sleeper.pid, "another time").alive
    assert command_line(sleeper.pid)[-1] == "60"


def test_a_process_that_waits_for_its_parent_to_notice_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None
    sleeper.kill()
    wait_until(lambda: not identity.alive)
    assert identify(sleeper.pid) is None


def test_a_stranger_that_got_the_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    assert end_processes([ProcessIdentity(sleeper.pid, "another time")], [(signal.SIGKILL, 1.0)])
    assert sleeper.poll() is None


def test_a_process_that_ignores_a_signal_gets_the_next() -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    identity = identify(process.pid)
    assert identity is not None
    assert end_processes([identity], [(signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)])
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells children of their parent's death"
)
@pytest.mark.parametrize("as_another_user", [False, True])
def test_a_child_is_ended_with_a_parent_that_was_killed(tmp_path: Path, as_another_user: bool) -> None:
    """The change of user must come first: it clears what was asked of the kernel."""
    if as_another_user and os.geteuid() != 0:
        pytest.skip("only root can start a child as another user")
    user = "user=65534, group=65534, extra_groups=[], " if as_another_user else ""
    program = f"""
        import signal, subprocess, time
        from cli.processes import die_with_parent
        child = subprocess.Popen(["sleep", "60"], {user}preexec_fn=die_with_parent(signal.SIGKILL))
        print(child.pid, flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = identify(int(parent.stdout.readline()))
    assert child is not None
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not child.alive)

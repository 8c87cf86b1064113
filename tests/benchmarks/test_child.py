"""A process of the load client: Ctrl-C in a terminal reaches it too, and its end is its parent's affair."""

import os
import signal

from benchmarks.harness.child import Child, Effort
from benchmarks.harness.pushers import run_pushers


async def test_ctrl_c_does_not_end_a_child_even_while_it_starts() -> None:
    handler = signal.getsignal(signal.SIGINT)
    child = Child("test: pushers", run_pushers, None)
    try:
        os.kill(child.pid, signal.SIGINT)
        assert isinstance(await child.ask("effort", seconds=30), Effort)
        os.kill(child.pid, signal.SIGINT)
        assert isinstance(await child.ask("effort", seconds=30), Effort)
    finally:
        child.stop()
    assert signal.getsignal(signal.SIGINT) is handler, "the parent hears it as before"

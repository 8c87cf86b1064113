"""How a process starts, learns that it is to stop, and ends: signals, the parent's death, the exit status."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2

SUPERVISOR_VARIABLE = "BRANCHLINE_SUPERVISOR_PID"
PARENT_CHECK_SECONDS = 0.5


class StartupError(Exception):
    """Something outside the program has to be mended before it can run.

    The message is one line: what is wrong, and how to mend it. It is printed as it is, and the exit status is
    2.
    """


def run_until_stopped(serve: Callable[[asyncio.Event], Awaitable[int | None]]) -> int:
    """Run `serve(stopping)` on a uvloop event loop; return the process's exit status.

    `stopping` is set by SIGINT and SIGTERM, and when the supervisor that started the process is gone: `serve`
    then finishes what it has in hand and returns (None counts as 0). A second signal ends the process at
    once. A StartupError out of `serve`, alone or inside an exception group, is printed as one line and gives
    status 2; any other exception is not caught.
    """
    import uvloop

    raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(serve))
    except StartupError as error:
        return fail(error)
    except BaseExceptionGroup as group:
        return fail(startup_error_in(group))


def settle_garbage() -> None:
    """Take what is there to stay out of the collector's sight, and have it look rarely at what is young.

    Called once a process is ready: a full collection of what the start has left takes tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def raise_file_limit() -> None:
    """Let the process open as many files, a socket each, as the system's hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            pass  # macOS refuses what is beyond its own limit: the soft one stays.


def fail(error: StartupError) -> int:
    """Print a StartupError as one line on stderr; return the exit status for it."""
    sys.stderr.write(f"branchline: {' '.join(str(error).split())}\n")
    sys.stderr.flush()
    return EXIT_USAGE


async def _serve(serve: Callable[[asyncio.Event], Awaitable[int | None]]) -> int:
    stopping = asyncio.Event()
    install_signal_handlers(stopping)
    watch = asyncio.create_task(watch_parent(stopping), name="parent watch")
    try:
        status = await serve(stopping)
    finally:
        watch.cancel()
    return EXIT_OK if status is None else status


def install_signal_handlers(stopping: asyncio.Event) -> None:
    """Have SIGINT and SIGTERM set `stopping`; the second one ends the process without ceremony."""
    loop = asyncio.get_running_loop()

    def handle(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)


async def watch_parent(stopping: asyncio.Event) -> None:
    """Set `stopping` once the supervisor named in the environment is no longer this process's parent.

    A second line behind the kernel's parent-death signal, which Linux alone has and which a change of user
    clears. Returns at once where no supervisor is named.
    """
    try:
        supervisor = int(os.environ.get(SUPERVISOR_VARIABLE, ""))
    except ValueError:
        return
    while os.getppid() == supervisor:  # noqa: ASYNC110 - the kernel tells nobody of a change of parent
        await asyncio.sleep(PARENT_CHECK_SECONDS)
    stopping.set()


def startup_error_in(group: BaseExceptionGroup) -> StartupError:
    """The first StartupError of a group that holds nothing else; a group that does is raised again."""
    found, others = group.split(StartupError)
    if found is None or others is not None:
        raise group
    error: BaseException = found
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StartupError)
    return error

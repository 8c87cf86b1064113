"""The process in which `api.passwords` has passwords hashed and checked: `python -m api.password_checker`.

A line of JSON on its input is a question, `[number, hash or null, password, many wait]`, and one on its output the
answer, `[number, hash or whether they match]`. It ends with its input, however whoever asks has ended.

It stands behind others by its niceness; while many wait, behind all others, and it keeps half of the processors free. A
kernel lets what runs go on for milliseconds, nice or not, before something that has just woken has its turn; only where
a processor is free does nobody notice.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback

import orjson
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2
"""Checks side by side: two who sign in together come in together."""
NICENESS = 10
NICENESS_IN_A_FLOOD = 19

_hasher = PasswordHasher()


def main() -> None:
    """Answer until the input ends."""
    # A terminal's Ctrl-C is for the program that started this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _end
    half: list[int] = []
    if sys.platform == "linux":
        processors = sorted(os.sched_getaffinity(0))
        half = processors[len(processors) // 2 :]
        if os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO):
            # Niceness would not count.
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(NICENESS)
    slots = threading.Semaphore(AT_ONCE)
    for line in sys.stdin.buffer:
        slots.acquire()
        # In a thread of its own: who is not root cannot take back what a flood makes of it. Those that a check starts
        # have it from there.
        threading.Thread(target=_answer, args=(orjson.loads(line), half, slots)).start()


def _answer(question: tuple[int, str | None, str, bool], half: list[int], slots: threading.Semaphore) -> None:
    number, password_hash, password, many_wait = question
    if many_wait and sys.platform == "linux":
        os.nice(NICENESS_IN_A_FLOOD - NICENESS)
        os.sched_setaffinity(0, half)
    answer = _hasher.hash(password) if password_hash is None else _matches(password_hash, password)
    with contextlib.suppress(BrokenPipeError):  # whoever asked has ended
        # Whole, whoever writes beside it: a short line to a pipe is.
        os.write(sys.stdout.fileno(), orjson.dumps([number, answer]) + b"\n")
    slots.release()


def _end(failure: threading.ExceptHookArgs) -> None:
    """End all: an answer that does not come would be waited for without end."""
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


if __name__ == "__main__":
    main()

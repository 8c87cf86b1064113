"""The process in which `api.passwords` has passwords hashed and checked: `python -m api.password_checker`.

A line of JSON on its input is a question, `[number, hash or null, password, many wait]`, and one on its output the
answer, `[number, hash or whether they match]`. It ends with its input, however whoever asks has ended.

It stands behind all others: by its niceness, and while many wait by keeping half of the processors free. A kernel lets
what runs go on for milliseconds, nice or not, before something that has just woken has its turn; only where a
processor is free does nobody notice.
"""

import os
import signal
import sys

import orjson
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

NICENESS = 19

_hasher = PasswordHasher()


def main() -> None:
    """Answer until the input ends."""
    # A terminal's Ctrl-C is for the program that started this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    processors = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    half = processors[len(processors) // 2 :]
    for line in sys.stdin.buffer:
        number, password_hash, password, many_wait = orjson.loads(line)
        if sys.platform == "linux":
            # The threads of a check begin with it, and have it from here.
            os.sched_setaffinity(0, half if many_wait else processors)
        answer = _hasher.hash(password) if password_hash is None else _matches(password_hash, password)
        sys.stdout.buffer.write(orjson.dumps([number, answer]) + b"\n")
        sys.stdout.buffer.flush()


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


if __name__ == "__main__":
    main()

"""Passwords: argon2id, off the event loop, a few at a time.

One check costs 64 MiB and about 0.1 s of a core, on purpose. So no more than `WORKERS` run at once, behind whatever
else there is to do, and when too many wait the next one is refused: a flood of sign-ins cannot take the machine from
those who write.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

Result = TypeVar("Result")

WORKERS = 2
WAITING_LIMIT = 64
NICENESS = 19
"""By how much the threads that check passwords stand behind the others, where the system has priorities of threads.
On a machine that is at its limit they get a twentieth of it, four at a time a check, so that people still come in.
"""

# Of a password that nobody knows: somebody unknown costs as much time as somebody who mistyped.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$3T+f+oh1SV2pKiJTy/BBfw$6InZmSonT/16R+xxS7821BkS4NppHuGdd3XyGQPUc+c"


class TooBusyError(Exception):
    """Too many passwords wait to be checked already."""


class Passwords:
    """Checks passwords. `close()` ends its threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="passwords", initializer=_give_way)
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused."""
        return self._waiting >= WAITING_LIMIT

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; None, for nobody, takes as long and never matches.

        Raises TooBusyError.
        """
        matched = await self._run(self._verify, password_hash or _NOBODY, password)
        return matched and password_hash is not None

    async def hash(self, password: str) -> str:
        """Hash a new password. Raises TooBusyError."""
        return await self._run(self._hasher.hash, password)

    def close(self) -> None:
        """End the threads; checks that wait are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        if self.is_full:
            raise TooBusyError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _give_way() -> None:
    """Have this thread, and those that a check starts from it, stand behind the others."""
    if sys.platform == "linux":
        if os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO):
            # Niceness would not count.
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, min(niceness, 19))

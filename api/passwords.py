"""Passwords: argon2id, off the event loop, a few at a time.

One check costs 64 MiB and about 0.1 s of a core, on purpose. So no more than `WORKERS` run at once, and
when too many wait the next one is refused: a flood of sign-ins cannot take the machine from those who write.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

Result = TypeVar("Result")

WORKERS = 2
WAITING_LIMIT = 64

# Of a password that nobody knows: somebody unknown costs as much time as somebody who mistyped.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$3T+f+oh1SV2pKiJTy/BBfw$6InZmSonT/16R+xxS7821BkS4NppHuGdd3XyGQPUc+c"


class TooBusyError(Exception):
    """Too many passwords wait to be checked already."""


class Passwords:
    """Checks passwords. `close()` ends its threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="passwords")
        self._waiting = 0

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
        if self._waiting >= WAITING_LIMIT:
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

"""Passwords: argon2id, in a process of its own, a few at a time.

One check costs 64 MiB and about 0.2 s of a core, on purpose. So it is made behind whatever else there is to do, and
when too many wait the next one is refused: a flood of sign-ins cannot take the machine from those who write. It is
made by another process because a thread that stands behind all others may hold the interpreter's lock while it stands.
"""

import asyncio
import itertools
import sys

import orjson
import structlog

WAITING_LIMIT = 64
MANY = 4
"""So many wait only in a flood: from there on some processors are kept free of checks."""

# Of a password that nobody knows: somebody unknown costs as much time as somebody who mistyped.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$3T+f+oh1SV2pKiJTy/BBfw$6InZmSonT/16R+xxS7821BkS4NppHuGdd3XyGQPUc+c"

_log = structlog.get_logger()


class TooBusyError(Exception):
    """Too many passwords wait to be checked already, or the process that checks them has just ended."""


class Passwords:
    """Checks passwords. The process is started when it is first needed, again if it has died; `close()` ends it."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[str | bool]] = {}
        self._checker: asyncio.subprocess.Process | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused."""
        return len(self._waiting) >= WAITING_LIMIT

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; None, for nobody, takes as long and never matches.

        Raises TooBusyError.
        """
        matched = await self._ask(password_hash or _NOBODY, password)
        return matched is True and password_hash is not None

    async def hash(self, password: str) -> str:
        """Hash a new password. Raises TooBusyError."""
        return str(await self._ask(None, password))

    async def close(self) -> None:
        """End the process; checks that wait are given up."""
        checker, self._checker = self._checker, None
        if checker is None:
            return
        assert checker.stdin is not None
        checker.stdin.close()
        checker.kill()
        await checker.wait()
        if self._hearing is not None:
            await self._hearing

    async def _ask(self, password_hash: str | None, password: str) -> str | bool:
        if self.is_full:
            raise TooBusyError
        number = next(self._numbers)
        # It counts until it is answered: who asks may give up, the check goes on.
        answer: asyncio.Future[str | bool] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            checker = await self._running()
        except BaseException:
            self._waiting.pop(number, None)
            raise
        assert checker.stdin is not None
        question = [number, password_hash, password, len(self._waiting) > MANY]
        checker.stdin.write(orjson.dumps(question) + b"\n")
        return await answer

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._checker is None:
                command = (sys.executable, "-P", "-m", "api.password_checker")
                pipe = asyncio.subprocess.PIPE
                self._checker = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
                self._hearing = asyncio.create_task(self._hear(self._checker), name="passwords")
            checker: asyncio.subprocess.Process = self._checker
            return checker

    async def _hear(self, checker: asyncio.subprocess.Process) -> None:
        assert checker.stdout is not None
        async for line in checker.stdout:
            number, answer = orjson.loads(line)
            asked = self._waiting.pop(number, None)
            if asked is not None and not asked.done():
                asked.set_result(answer)
        await checker.wait()
        if self._checker is checker:
            self._checker = None
            _log.error("passwords.checker_died", status=checker.returncode, waiting=len(self._waiting))
        for asked in self._waiting.values():
            if not asked.done():
                asked.set_exception(TooBusyError())
        self._waiting.clear()

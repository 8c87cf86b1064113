"""Tokens: from a text or from the program's callback, asked for once at a time, and again when one is refused."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import orjson

from branchline_client.errors import NeedsAuthError

TokenSource: TypeAlias = str | Callable[[], Awaitable[str | None]]
"""A token, or what gives one: called when none is at hand, and again when one is refused or about to expire. It gives
None, or raises NeedsAuthError, when nobody is signed in; any other error means that it may know later.
"""


class Credentials:
    """The token of the moment. A token that was refused is not used again."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token: str | None = None
        self._refused: set[str] = set()
        self._refusals = 0
        self._asking: asyncio.Task[str] | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether there is only the one token."""
        return isinstance(self._source, str)

    @property
    def token(self) -> str | None:
        """The token in use."""
        return self._token

    def replace(self, source: TokenSource) -> None:
        """Use another source from now on."""
        self._source = source
        self._token = None
        self._refused.clear()
        self._refusals = 0
        self._asking = None

    async def get(self) -> str:
        """Give a token that was not refused. Raises NeedsAuthError, and what the callback raises."""
        if self._token is not None:
            return self._token
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="branchline token")
        asking = self._asking
        try:
            return await asyncio.shield(asking)
        finally:
            if asking.done() and self._asking is asking:
                self._asking = None

    async def renew(self) -> str | None:
        """Ask for a token that lasts longer than the one in use; None if there is none. Raises what `get` raises."""
        old = self._token
        if self.is_fixed or old is None:
            return None
        token = await self._ask()
        return None if token == old else token

    def refuse(self, token: str | None = None) -> None:
        """Note that a token, or the one in use, was refused: another one is asked for next time."""
        refused = self._token if token is None else token
        if refused is None or refused in self._refused:
            return
        self._refused.add(refused)
        if refused == self._token:
            self._token = None
            self._refusals += 1

    def accept(self) -> None:
        """Note that the server has taken the token."""
        self._refusals = 0

    async def _ask(self) -> str:
        source = self._source
        if self._refusals >= 2:
            # Asking on would only knock at the door: the program has to sign somebody in.
            raise NeedsAuthError("the server refused two tokens in a row")
        token = source if isinstance(source, str) else await source()
        if not token:
            raise NeedsAuthError("nobody is signed in")
        if token in self._refused:
            raise NeedsAuthError("the server has refused this token")
        if source is self._source:
            self._token = token
        return token


def expires_at(token: str) -> float | None:
    """When a token expires, in Unix seconds, if it says so where a client can read it. It is not verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        expiry = orjson.loads(base64.urlsafe_b64decode(padded)).get("exp")
    except (binascii.Error, ValueError, AttributeError):
        return None
    return float(expiry) if isinstance(expiry, int | float) else None

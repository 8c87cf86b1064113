"""Keeps the keys that verify tokens as an issuer publishes them, at a JWKS address."""

import asyncio
import urllib.error
import urllib.request

import structlog

from core.lifecycle import StartupError
from core.token_keys import Keys, read_jwks
from core.tokens import Tokens

REFRESH_SECONDS = 300.0
SPACING_SECONDS = 10.0
FIRST_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_MOST_BYTES = 64 * 1024

_log = structlog.get_logger()


class Jwks:
    """Fetches the keys every few minutes, and soon when a token names one that is not known."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._wanted = asyncio.Event()

    async def start(self) -> Tokens:
        """Give tokens that verify by these keys. Raises StartupError if none can be had in time: the issuer may still
        be starting.
        """
        deadline = asyncio.get_running_loop().time() + FIRST_SECONDS
        while True:
            try:
                self._tokens = Tokens(await self._fetch(), on_unknown_key=self._wanted.set)
            except (OSError, ValueError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise StartupError(
                        f"no keys at BRANCHLINE_JWKS_URL ({type(error).__name__}): check the address, and that the "
                        "API there signs with a private key."
                    ) from None
                await asyncio.sleep(0.5)
            else:
                return self._tokens

    async def run(self) -> None:
        """Keep the keys fresh until cancelled. While the issuer cannot be reached the last ones stay."""
        while True:
            await asyncio.sleep(SPACING_SECONDS)
            try:
                async with asyncio.timeout(REFRESH_SECONDS - SPACING_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                self._tokens.replace(await self._fetch())
            except (OSError, ValueError) as error:
                _log.warning("jwks.unavailable", error=type(error).__name__)

    async def _fetch(self) -> Keys:
        return read_jwks(await asyncio.to_thread(_read, self._url))


def _read(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    # The settings allow https, and http on this machine only.
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
        body: bytes = answer.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError("too large for a JWKS")
    return body

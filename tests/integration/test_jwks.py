"""Keys that are fetched from where the API publishes them, and followed when they change."""

import asyncio

import pytest

from core import jwks
from core.jwks import Jwks
from core.lifecycle import StartupError
from core.token_keys import write_jwks
from core.tokens import TokenError, Tokens
from tests.signing import private_pem
from tests.tenants import new_id


class Issuer:
    """Publishes keys on a port; None is an issuer that fails."""

    def __init__(self) -> None:
        self.published: bytes | None = None
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        status = b"503 Unavailable" if self.published is None else b"200 OK"
        body = self.published or b""
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
        writer.write(head + body)
        await writer.drain()
        writer.close()


async def test_keys_are_waited_for_followed_and_kept_while_the_issuer_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks, "SPACING_SECONDS", 0.05)
    old, new = Tokens(private_pem("EdDSA")), Tokens(private_pem("EdDSA"))
    issuer = Issuer()
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    follower = Jwks(f"http://127.0.0.1:{port}/api/auth/jwks.json")
    starting = asyncio.create_task(follower.start())
    async with asyncio.timeout(30):
        while issuer.asked == 0:
            await asyncio.sleep(0.01)
        issuer.published = write_jwks(old.keys)
        tokens = await starting
        running = asyncio.create_task(follower.run())
        person = (new_id(), new_id(), new_id())
        assert tokens.verify(old.issue(*person)).user_id == person[0]
        issuer.published = None
        fresh = new.issue(*person)
        with pytest.raises(TokenError):
            tokens.verify(fresh)
        asked = issuer.asked
        while issuer.asked == asked:
            await asyncio.sleep(0.01)
        assert tokens.verify(old.issue(*person)).user_id == person[0]
        issuer.published = write_jwks(new.keys)
        while True:
            try:
                assert tokens.verify(fresh).user_id == person[0]
                break
            except TokenError:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()


async def test_no_keys_in_time_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FIRST_SECONDS", 0.0)
    with pytest.raises(StartupError, match="no keys at BRANCHLINE_JWKS_URL"):
        await Jwks("http://127.0.0.1:1/keys").start()

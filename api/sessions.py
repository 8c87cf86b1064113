"""Sign-in, and the sessions behind it.

A session is a login of one person in one organisation. Its refresh token is `<session id><random><mac>` in
base64url; the mac tells a token that this system has made from an invented one, so that an old token that
comes back is known for what it is, however old: somebody has a copy, and the session ends for both.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from uuid_utils import uuid7

from api.passwords import Passwords
from core.database import Connection, Pool, fetch_principal, scoped
from core.principal import Principal
from core.queries import load
from core.tokens import Tokens

SESSION_SECONDS = 30 * 24 * 3600
"""A session ends when it has not been refreshed for this long."""

_NO_ORGANIZATION = str(UUID(int=0))
_RANDOM_BYTES = 24
_MAC_BYTES = 16
_TOKEN_BYTES = 16 + _RANDOM_BYTES + _MAC_BYTES
_USER_AGENT_LENGTH = 400

_queries = load("api", "queries.sql")


class CredentialsRefusedError(Exception):
    """Unknown e-mail address, wrong password, or a person who is disabled: it is not said which."""


class NotAMemberError(Exception):
    """The person belongs to no organisation, or not to the one that was asked for."""


class RefreshRefusedError(Exception):
    """The refresh token is not one of this system's, or its session has ended."""


class RefreshReusedError(Exception):
    """The refresh token was used before; its session is ended now."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a sign-in gives: both tokens, and the access token's lifetime."""

    access_token: str
    refresh_token: str
    expires_in: int


class Sessions:
    """Begins, renews and ends logins."""

    def __init__(self, pool: Pool, tokens: Tokens, passwords: Passwords) -> None:
        self._pool = pool
        self._tokens = tokens
        self._passwords = passwords
        self._key = tokens.derive("refresh tokens")

    async def login(
        self, email: str, password: str, organization: str | None, user_agent: str | None
    ) -> Granted:
        """Sign a person in to an organisation (its slug or id; None: the one they used last).

        Raises CredentialsRefusedError, NotAMemberError, api.passwords.TooBusyError.
        """
        user = await self._pool.fetchrow(_queries.fetch_user, email.strip().lower())
        # One check whoever it is, so that the time it takes says nothing.
        matched = await self._passwords.matches(user["password_hash"] if user else None, password)
        if user is None or not matched or user["disabled"]:
            raise CredentialsRefusedError
        user_id, session_id = str(user["id"]), str(uuid7())
        refresh_token = self._make_refresh_token(session_id)
        async with scoped(self._pool, _NO_ORGANIZATION, user_id=user_id) as connection:
            organization_id = await _choose(connection, user, organization)
            await connection.execute(
                _queries.start_session,
                session_id,
                user_id,
                organization_id,
                _hash(refresh_token),
                (user_agent or "")[:_USER_AGENT_LENGTH] or None,
                SESSION_SECONDS,
            )
        return self._grant(user_id, organization_id, session_id, refresh_token)

    async def refresh(self, refresh_token: str) -> Granted:
        """Take a refresh token for a new pair. Raises RefreshRefusedError, RefreshReusedError."""
        session_id = self._read_refresh_token(refresh_token)
        following = self._make_refresh_token(session_id)
        async with scoped(self._pool, _NO_ORGANIZATION) as connection:
            row = await connection.fetchrow(
                _queries.rotate_session, session_id, _hash(refresh_token), _hash(following), SESSION_SECONDS
            )
            if row is not None:
                user_id, organization_id = str(row["user_id"]), str(row["organization_id"])
                await connection.execute(_queries.enter_organization, organization_id)
                if await fetch_principal(connection, organization_id, user_id, session_id) is None:
                    raise RefreshRefusedError
                return self._grant(user_id, organization_id, session_id, following)
            # A genuine token that is not the session's current one was used before.
            ended = await connection.fetchrow(_queries.revoke_session, session_id)
        raise RefreshReusedError if ended is not None else RefreshRefusedError

    async def logout(self, principal: Principal, *, everywhere: bool) -> None:
        """End the principal's session, or all of the person's."""
        if everywhere:
            await self._pool.execute(_queries.revoke_sessions, principal.user_id)
        else:
            await self._pool.execute(_queries.revoke_session, principal.session_id)

    def _grant(self, user_id: str, organization_id: str, session_id: str, refresh_token: str) -> Granted:
        return Granted(
            self._tokens.issue(user_id, organization_id, session_id),
            refresh_token,
            self._tokens.lifetime_seconds,
        )

    def _make_refresh_token(self, session_id: str) -> str:
        body = UUID(session_id).bytes + secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def _read_refresh_token(self, token: str) -> str:
        """The session of a token that was made here; raises RefreshRefusedError."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise RefreshRefusedError from None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(raw) != _TOKEN_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            raise RefreshRefusedError
        return str(UUID(bytes=body[:16]))

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_BYTES]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def _choose(connection: Connection, user: asyncpg.Record, asked: str | None) -> str:
    """The organisation to sign in to; raises NotAMemberError."""
    memberships = await connection.fetch(_queries.fetch_memberships, user["id"])
    if asked is not None:
        wanted = asked.strip().lower()
        memberships = [row for row in memberships if wanted in (row["slug"], str(row["id"]))]
    if not memberships:
        raise NotAMemberError
    last = user["last_organization_id"]
    return str(next((row["id"] for row in memberships if row["id"] == last), memberships[0]["id"]))

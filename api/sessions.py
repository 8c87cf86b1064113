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
import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from uuid_utils import uuid7

from api import audit
from api.passwords import Passwords
from core.database import Connection, Pool, fetch_principal, scoped
from core.principal import Principal
from core.queries import load
from core.tokens import Tokens

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


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When sessions end by themselves, and how many a person has in an organisation at most. 0 is no limit.

    `idle_seconds` after the last refresh, `seconds` after the login whatever happens.
    """

    idle_seconds: int = 30 * 24 * 3600
    seconds: int = 90 * 24 * 3600
    per_user: int = 100


def normal_email(text: str) -> str:
    """An e-mail address as it is stored, and counted: one person's however they type it."""
    return text.strip().lower()


class Sessions:
    """Begins, renews and ends logins. What is told of here is in the organisation's audit log."""

    def __init__(self, pool: Pool, tokens: Tokens, passwords: Passwords, lifetime: Lifetime) -> None:
        self._pool = pool
        self._tokens = tokens
        self._passwords = passwords
        self._lifetime = lifetime
        self._key = tokens.derive("refresh tokens")

    async def login(
        self, email: str, password: str, organization: str | None, user_agent: str | None, address: str
    ) -> Granted:
        """Sign a person in to an organisation (its slug or id; None: the one they used last); `email` is normal.

        Raises CredentialsRefusedError, NotAMemberError, api.passwords.TooBusyError.
        """
        user = await self._pool.fetchrow(_queries.fetch_user, email)
        # One check whoever it is, so that the time it takes says nothing.
        matched = await self._passwords.matches(user["password_hash"] if user else None, password)
        if user is None or not matched or user["disabled"]:
            await self._note_refusal(user, address, "disabled" if matched else "password")
            raise CredentialsRefusedError
        user_id, session_id = str(user["id"]), str(uuid7())
        refresh_token = self._make_refresh_token(session_id)
        try:
            organization_id, expires_at = await self._start(
                user, session_id, refresh_token, organization, user_agent, address
            )
        except NotAMemberError:
            await audit.note_where_disabled(
                self._pool, user_id, organization, "sign_in_refused", address=address
            )
            raise
        return self._grant(user_id, organization_id, session_id, refresh_token, expires_at)

    async def _start(
        self,
        user: asyncpg.Record,
        session_id: str,
        refresh_token: str,
        organization: str | None,
        user_agent: str | None,
        address: str,
    ) -> tuple[str, datetime]:
        """Begin a session; gives its organisation and its end. Raises NotAMemberError."""
        user_id = str(user["id"])
        async with scoped(self._pool, audit.NO_ORGANIZATION, user_id=user_id) as connection:
            organization_id = await _choose(connection, user, organization)
            expires_at = await connection.fetchval(
                _queries.start_session,
                session_id,
                user_id,
                organization_id,
                _hash(refresh_token),
                (user_agent or "")[:_USER_AGENT_LENGTH] or None,
                address or None,
                self._lifetime.idle_seconds,
                self._lifetime.seconds,
            )
            await connection.execute(_queries.enter_organization, organization_id)
            await audit.note_in(
                connection,
                organization_id,
                "signed_in",
                actor_id=user_id,
                address=address,
                session_id=session_id,
            )
            if self._lifetime.per_user:
                await connection.execute(
                    _queries.end_oldest_sessions, user_id, organization_id, self._lifetime.per_user
                )
        return organization_id, expires_at

    async def refresh(self, refresh_token: str, address: str) -> Granted:
        """Take a refresh token for a new pair. Raises RefreshRefusedError, RefreshReusedError."""
        session_id = self._read_refresh_token(refresh_token)
        following = self._make_refresh_token(session_id)
        async with scoped(self._pool, audit.NO_ORGANIZATION) as connection:
            row = await connection.fetchrow(
                _queries.rotate_session,
                session_id,
                _hash(refresh_token),
                _hash(following),
                self._lifetime.idle_seconds,
                self._lifetime.seconds,
                address or None,
            )
            if row is not None:
                user_id, organization_id = str(row["user_id"]), str(row["organization_id"])
                await connection.execute(_queries.enter_organization, organization_id)
                if await fetch_principal(connection, organization_id, user_id, session_id) is None:
                    raise RefreshRefusedError
                return self._grant(user_id, organization_id, session_id, following, row["expires_at"])
            # A genuine token that is not the session's current one was used before.
            if not await self._end(connection, session_id, "refresh_reused", address):
                raise RefreshRefusedError
        raise RefreshReusedError

    async def logout(self, principal: Principal, *, everywhere: bool, address: str) -> None:
        """End the principal's session, or all of the person's."""
        async with scoped(self._pool, principal.organization_id) as connection:
            if not everywhere:
                await self._end(connection, principal.session_id, "signed_out", address)
                return
            await connection.execute(_queries.revoke_sessions, principal.user_id, None)
            await audit.note_in(
                connection,
                principal.organization_id,
                "signed_out_everywhere",
                actor_id=principal.user_id,
                address=address,
            )

    @property
    def is_too_busy(self) -> bool:
        """Whether a sign-in would be refused because too many passwords wait."""
        return self._passwords.is_full

    async def fetch(self, principal: Principal) -> list[asyncpg.Record]:
        """The person's sessions that are in force, in all their organisations, the one used last first."""
        return await self._pool.fetch(_queries.fetch_sessions, principal.user_id)

    async def end(self, principal: Principal, session_id: str, address: str) -> bool:
        """End one of the person's own sessions, and say whether there was one."""
        async with scoped(self._pool, principal.organization_id) as connection:
            return await self._end(connection, session_id, "session_ended", address, owner=principal.user_id)

    async def _end(
        self,
        connection: Connection,
        session_id: str,
        kind: audit.Kind,
        address: str,
        *,
        owner: str | None = None,
    ) -> bool:
        """End a session (only if it is `owner`'s, where one is named) and note it where it belongs."""
        if owner is None:
            row = await connection.fetchrow(_queries.revoke_session, session_id)
        else:
            row = await connection.fetchrow(_queries.revoke_own_session, session_id, owner)
        if row is None:
            return False
        organization_id = str(row["organization_id"])
        await connection.execute(_queries.enter_organization, organization_id)
        await audit.note_in(
            connection,
            organization_id,
            kind,
            actor_id=str(row["user_id"]),
            address=address,
            session_id=session_id,
        )
        return True

    async def _note_refusal(self, user: asyncpg.Record | None, address: str, reason: str) -> None:
        """Note that somebody was not let in. Nobody's is noted nowhere, and takes as long: time says nothing."""
        user_id = None if user is None else str(user["id"])
        await audit.note_at_home(
            self._pool, user_id, "sign_in_refused", actor_id=None, address=address, reason=reason
        )

    def _grant(
        self, user_id: str, organization_id: str, session_id: str, refresh_token: str, expires_at: datetime
    ) -> Granted:
        # A socket lives as long as its token: one that outlived the session would keep it open.
        left = int(expires_at.timestamp() - time.time())
        lifetime_seconds = max(0, min(self._tokens.lifetime_seconds, left))
        token = self._tokens.issue(user_id, organization_id, session_id, lifetime_seconds=lifetime_seconds)
        return Granted(token, refresh_token, lifetime_seconds)

    def _make_refresh_token(self, session_id: str) -> str:
        body = UUID(session_id).bytes + secrets.token_bytes(_RANDOM_BYTES)
        return _encode(body + self._mac(body))

    def _read_refresh_token(self, token: str) -> str:
        """The session of a token that was made here; raises RefreshRefusedError."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise RefreshRefusedError from None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        # One text for one token: with other spare bits in its last letter it would pass for one that was used before.
        if len(raw) != _TOKEN_BYTES or _encode(raw) != token or not hmac.compare_digest(mac, self._mac(body)):
            raise RefreshRefusedError
        return str(UUID(bytes=body[:16]))

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_BYTES]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


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

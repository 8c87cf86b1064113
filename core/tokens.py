"""Access tokens and one-time tickets: what proves to API and gateway who somebody is.

An access token is a JWT (RFC 7519) signed with HMAC-SHA-256. It names a person, an organisation and a
session, and nothing else: role and branches are read from the database at each use, so they are never out
of date. One algorithm and one static key are accepted; a header that brings or points to a key of its own
is refused.

A ticket stands for a verified token for 30 seconds and one use, where a token would end up in a URL.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import jwt
import orjson

ISSUER = "branchline"
AUDIENCE = "branchline"
ACCESS = "access"
ALGORITHM = "HS256"
ACCESS_TOKEN_SECONDS = 900
TICKET_SECONDS = 30
MINIMUM_SECRET_BYTES = 32

TokenErrorCode = Literal["token_malformed", "token_refused", "token_expired"]

_HEADERS = frozenset({"alg", "typ", "kid"})
_MAX_TOKEN_LENGTH = 4_096
_REMEMBERED_TOKENS = 4_096


class TokenError(Exception):
    """A token proves nothing; `code` says why to programs, the message to people, without the token."""

    def __init__(self, code: TokenErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says: a person in an organisation, by a session, until `expires_at` (Unix
    seconds).
    """

    user_id: str
    organization_id: str
    session_id: str
    expires_at: int


class Tokens:
    """Issues and verifies access tokens with one key of at least 32 bytes."""

    def __init__(self, secret: str, *, lifetime_seconds: int = ACCESS_TOKEN_SECONDS) -> None:
        if len(secret.encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"a key of at least {MINIMUM_SECRET_BYTES} bytes is needed")
        self._key = secret.encode()
        self.lifetime_seconds = lifetime_seconds
        self._key_id = hashlib.sha256(b"branchline key id\0" + self._key).hexdigest()[:16]
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, user_id: str, organization_id: str, session_id: str) -> str:
        """Give a token that is good for `lifetime_seconds` from now."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "typ": ACCESS,
            "sub": user_id,
            "org": organization_id,
            "sid": session_id,
            "iat": now,
            "exp": now + self.lifetime_seconds,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id})

    def verify(self, token: str) -> Claims:
        """Give the claims of a token that this key has signed and that has not expired; raise TokenError."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._decode(token)
            self._verified[token] = claims
            if len(self._verified) > _REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        # A remembered token is as good as on its first day, but for its end.
        if time.time() >= claims.expires_at:
            raise TokenError("token_expired", "the token has expired; a fresh one was expected")
        return claims

    def derive(self, purpose: str) -> bytes:
        """Give a key of 32 bytes for another purpose, such as signing cursors; two purposes never share a
        key.
        """
        return hmac.digest(self._key, b"branchline " + purpose.encode(), "sha256")

    def _decode(self, token: str) -> Claims:
        if len(token) > _MAX_TOKEN_LENGTH:
            raise TokenError("token_malformed", f"a token has at most {_MAX_TOKEN_LENGTH} characters")
        try:
            decoded = jwt.decode_complete(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    "strict_aud": True,
                    # Clocks of two servers differ; what counts is the end, which is checked at each use.
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.DecodeError as error:
            code: TokenErrorCode = (
                "token_refused" if isinstance(error, jwt.InvalidSignatureError) else "token_malformed"
            )
            raise TokenError(code, "the token is not one of this server's") from None
        except jwt.InvalidTokenError:
            raise TokenError("token_refused", "the token is not one of this server's") from None
        return _claims(decoded["header"], decoded["payload"], self._key_id)


def ticket_key(ticket: str) -> str:
    """The Redis key of a ticket. It holds the ticket's hash, so that whoever reads Redis has no ticket."""
    return "branchline:ticket:" + hashlib.sha256(ticket.encode()).hexdigest()


def make_ticket() -> str:
    """Give a new ticket: 256 random bits as URL-safe text."""
    return secrets.token_urlsafe(32)


def claims_to_json(claims: Claims) -> bytes:
    """Encode claims as the JSON object that a ticket's key holds: `{"sub", "org", "sid", "exp"}`."""
    return orjson.dumps(
        {
            "sub": claims.user_id,
            "org": claims.organization_id,
            "sid": claims.session_id,
            "exp": claims.expires_at,
        }
    )


def claims_from_json(data: bytes | str) -> Claims:
    """Decode what `claims_to_json` gave. Raises TokenError if it is not that, or the token's time has
    passed since.
    """
    try:
        payload = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise TokenError("token_malformed", "the ticket does not stand for a token") from None
    claims = _read_claims(payload)
    if time.time() >= claims.expires_at:
        raise TokenError("token_expired", "the token behind the ticket has expired")
    return claims


def _claims(header: dict[str, Any], payload: dict[str, Any], key_id: str) -> Claims:
    if not header.keys() <= _HEADERS or header.get("kid", key_id) != key_id:
        raise TokenError("token_refused", "the token names another key than this server's")
    if payload.get("typ") != ACCESS:
        raise TokenError("token_refused", "an access token was expected")
    if type(payload.get("iat")) is not int:
        raise TokenError("token_malformed", "the token's times are not whole numbers")
    return _read_claims(payload)


def _read_claims(payload: Any) -> Claims:
    try:
        names = [payload["sub"], payload["org"], payload["sid"]]
        expires_at = payload["exp"]
        if type(expires_at) is not int or not all(isinstance(name, str) for name in names):
            raise ValueError
        user_id, organization_id, session_id = (str(UUID(name)) for name in names)
    except (KeyError, TypeError, ValueError):
        raise TokenError(
            "token_malformed", "the token does not name person, organisation and session"
        ) from None
    return Claims(user_id, organization_id, session_id, expires_at)

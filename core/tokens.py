"""Access tokens and one-time tickets: what proves to API and gateway who somebody is.

An access token is a JWT (RFC 7519), signed by HMAC, RSA or Ed25519 (`core/token_keys.py`). It names a person, an
organisation and a session, and nothing else: role and branches are read from the database at each use, so they are
never out of date. One algorithm is accepted, and the keys of one set by their ids; a header that brings or points to a
key of its own is refused.

A ticket stands for a verified token for 30 seconds and one use, where a token would end up in a URL.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import jwt
import orjson

from core.token_keys import Keys, read_keys

ISSUER = "branchline"
AUDIENCE = "branchline"
ACCESS = "access"
ACCESS_TOKEN_SECONDS = 900
TICKET_SECONDS = 30

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
    """Issues and verifies access tokens. `key` is what `read_keys` reads, or keys; with public ones it only verifies.

    `on_unknown_key` hears of a token that names a key which is not known: it may be a new one. Raises ValueError for
    a key that is none.
    """

    def __init__(
        self,
        key: str | Keys,
        *,
        lifetime_seconds: int = ACCESS_TOKEN_SECONDS,
        on_unknown_key: Callable[[], None] | None = None,
    ) -> None:
        self.keys = read_keys(key) if isinstance(key, str) else key
        self.lifetime_seconds = lifetime_seconds
        self._on_unknown_key = on_unknown_key
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def replace(self, keys: Keys) -> None:
        """Verify by these keys from now on."""
        # By the keys, not by their names alone: an issuer may put another key under the name of one that has leaked.
        if keys.verifying != self.keys.verifying:
            self._verified.clear()
        self.keys = keys

    def issue(
        self, user_id: str, organization_id: str, session_id: str, *, lifetime_seconds: int | None = None
    ) -> str:
        """Give a token that is good for `lifetime_seconds` from now, by default for this object's."""
        now = int(time.time())
        lifetime = self.lifetime_seconds if lifetime_seconds is None else lifetime_seconds
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "typ": ACCESS,
            "sub": user_id,
            "org": organization_id,
            "sid": session_id,
            "iat": now,
            "exp": now + lifetime,
        }
        keys = self.keys
        assert keys.signing is not None, "public keys sign nothing"
        return jwt.encode(claims, keys.signing, algorithm=keys.algorithm, headers={"kid": keys.signing_id})

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
        assert self.keys.material, "public keys derive nothing"
        return hmac.digest(self.keys.material, b"branchline " + purpose.encode(), "sha256")

    def _decode(self, token: str) -> Claims:
        if len(token) > _MAX_TOKEN_LENGTH:
            raise TokenError("token_malformed", f"a token has at most {_MAX_TOKEN_LENGTH} characters")
        try:
            key = self._key_of(jwt.get_unverified_header(token))
            decoded = jwt.decode_complete(
                token,
                key,
                algorithms=[self.keys.algorithm],
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
        return _claims(decoded["payload"])

    def _key_of(self, header: dict[str, Any]) -> Any:
        """The key that a token's header names; raises TokenError. Of one secret there is no name to be wrong."""
        keys = self.keys
        if not header.keys() <= _HEADERS or header.get("alg") != keys.algorithm:
            raise TokenError("token_refused", "the token names another key than this server's")
        key_id = header.get("kid", keys.signing_id if keys.algorithm == "HS256" else None)
        key = keys.verifying.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            if self._on_unknown_key is not None:
                self._on_unknown_key()
            raise TokenError("token_refused", "the token names another key than this server's")
        return key


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


def _claims(payload: dict[str, Any]) -> Claims:
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

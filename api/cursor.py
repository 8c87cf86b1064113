"""PURE. Cursors: where a page of a list ended, as text that only this system can have made.

A cursor is bound to an organisation and to one query (collection, sort and filters, as a digest), and
signed with HMAC-SHA-256, so that it cannot be made up, bent, or carried over to another list.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from hashlib import sha256

import orjson

_SIGNATURE_BYTES = 16
_DIGEST_LENGTH = 16
_MAX_LENGTH = 4_096


class CursorMalformedError(Exception):
    """The text is no cursor of this system, or one of another query."""


class CursorForeignError(Exception):
    """The cursor is good, but another organisation's."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last record of a page: the value it was sorted by, as text (None for null), and its id."""

    value: str | None
    id: str


def digest_of(*parts: str) -> str:
    """Give a short name for a query, made of its parts."""
    return sha256(b"\0".join(part.encode() for part in parts)).hexdigest()[:_DIGEST_LENGTH]


def write_cursor(cursor: Cursor, *, key: bytes, organization_id: str, query: str) -> str:
    """Give the cursor as text for an address. `query` is a digest_of what the list shows."""
    payload = orjson.dumps([organization_id, query, cursor.value, cursor.id])
    return _encode(payload + _sign(payload, key))


def read_cursor(text: str, *, key: bytes, organization_id: str, query: str) -> Cursor:
    """Read a cursor that was written for this organisation and query.

    Raises CursorMalformedError or CursorForeignError.
    """
    raw = _decode(text)
    payload, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(payload, key)):
        raise CursorMalformedError
    organization, its_query, value, record_id = orjson.loads(payload)
    if organization != organization_id:
        raise CursorForeignError
    if its_query != query:
        raise CursorMalformedError
    return Cursor(value, record_id)


def _sign(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:_SIGNATURE_BYTES]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    if len(text) > _MAX_LENGTH:
        raise CursorMalformedError
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise CursorMalformedError from None
    # One text for one cursor: the spare bits of the last letter are not another spelling.
    if len(raw) <= _SIGNATURE_BYTES or _encode(raw) != text:
        raise CursorMalformedError
    return raw

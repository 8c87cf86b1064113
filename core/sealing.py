"""PURE but for the nonce. Values that are sealed at rest: AES-256-GCM by field, with keys that can be changed.

A sealed value is nonce, ciphertext and tag; whose it is (organisation, record, field) is authenticated with it, so that
one that is copied to another place does not open there. The key's id is kept beside it. The first key seals, all open.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class SealError(Exception):
    """A value cannot be opened: its key is not among those that are set, or it is not what was sealed there."""


class Seals:
    """Seals and opens by keys of 32 bytes, the newest first. Raises ValueError for a key of another length."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"keys of {KEY_BYTES} bytes were expected")
        self._keys = {_id_of(key): AESGCM(key) for key in keys}
        self.key_id = _id_of(keys[0])
        """Of the key that seals."""

    def seal(self, value: str, place: str) -> bytes:
        """Seal a text for a place."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._keys[self.key_id].encrypt(nonce, value.encode(), place.encode())

    def open(self, sealed: bytes, key_id: str, place: str) -> str:
        """Give the text that was sealed for a place. Raises SealError."""
        key = self._keys.get(key_id)
        if key is None:
            raise SealError(f"the key {key_id} is not among those of BRANCHLINE_FIELD_KEYS")
        try:
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode()).decode()
        except InvalidTag:
            raise SealError("the value is not what was sealed there") from None


def place_of(organization_id: str, client_id: str | None, name: str) -> str:
    """Name the place of a value: a client's field, or an outside system's token of the organisation."""
    return f"{organization_id}/{client_id or '-'}/{name}"


def parse_keys(text: str) -> list[bytes]:
    """Read keys from a setting: base64 of 32 bytes each, with commas between. Raises ValueError, which quotes none."""
    keys = []
    for part in text.split(","):
        try:
            keys.append(
                base64.b64decode(part.strip(), altchars=b"-_" if "-" in part or "_" in part else None)
            )
        except binascii.Error:
            raise ValueError("keys in base64, with commas between, were expected") from None
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"keys of {KEY_BYTES} bytes in base64 were expected (`openssl rand -base64 32`)")
    return keys


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"branchline field key\0" + key).hexdigest()[:16]

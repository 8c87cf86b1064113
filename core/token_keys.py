"""The keys of access tokens: one algorithm, one that signs, and those that verify, by their id.

Development signs with HMAC and a secret. Production signs with a private key, Ed25519 or RSA: a gateway then needs
the public half only, from the API's JWKS (RFC 7517), and cannot make a token. All keys of a set are of one family, and
an id names one of them: a token that brings a key of its own, or names another algorithm, is refused unread.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

Algorithm = Literal["HS256", "RS256", "EdDSA"]
PrivateKey = Ed25519PrivateKey | RSAPrivateKey
PublicKey = Ed25519PublicKey | RSAPublicKey

MINIMUM_SECRET_BYTES = 32
MINIMUM_RSA_BITS = 2048
MAXIMUM_JWKS_KEYS = 20

_END = "-----END PRIVATE KEY-----"


class BadKeyError(ValueError):
    """Something was read that is no key to use; the words are ours and quote nothing of it."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs and verifies. `signing` is None where there is only the public half; `material` is secret as it is."""

    algorithm: Algorithm
    verifying: Mapping[str, Any] = field(repr=False)
    signing_id: str = ""
    signing: Any = field(default=None, repr=False)
    material: bytes = field(default=b"", repr=False)


def is_private_key(text: str) -> bool:
    """Whether a setting holds a private key, and not a secret for HMAC."""
    try:
        return bool(_private_keys(text))
    except ValueError:
        return False


def read_keys(text: str) -> Keys:
    """Read a setting: a private key or several (PKCS #8, as PEM or as base64 of DER), or else a secret of 32 bytes.

    Of several PEM blocks the first one signs; the others still verify, for the time that their tokens last. Raises
    ValueError for what is none of these.
    """
    private = _private_keys(text)
    if not private:
        if len(text.encode()) < MINIMUM_SECRET_BYTES:
            raise BadKeyError(f"a key of at least {MINIMUM_SECRET_BYTES} bytes is needed")
        secret = text.encode()
        key_id = hashlib.sha256(b"branchline key id\0" + secret).hexdigest()[:16]
        return Keys("HS256", {key_id: secret}, key_id, secret, secret)
    public = [key.public_key() for key in private]
    material = private[0].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    verifying = {key_id_of(key): key for key in public}
    return Keys(_one_algorithm(public), verifying, key_id_of(public[0]), private[0], material)


def read_jwks(data: bytes) -> Keys:
    """Read published keys. Raises ValueError where there is none, or they are not all of one family that is allowed."""
    try:
        listed = orjson.loads(data)["keys"]
        keys = {str(each["kid"]): jwt.PyJWK(each).key for each in listed[:MAXIMUM_JWKS_KEYS]}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ValueError(f"a JWKS with named keys was expected ({type(error).__name__})") from None
    if not keys or not all(isinstance(key, Ed25519PublicKey | RSAPublicKey) for key in keys.values()):
        raise ValueError("public keys were expected, Ed25519 or RSA")
    return Keys(_one_algorithm(list(keys.values())), keys)


def write_jwks(keys: Keys) -> bytes:
    """Publish the public halves; none of a secret."""
    listed = []
    for key_id, key in keys.verifying.items():
        if isinstance(key, Ed25519PublicKey):
            raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            shape = {"kty": "OKP", "crv": "Ed25519", "x": _base64(raw)}
        elif isinstance(key, RSAPublicKey):
            numbers = key.public_numbers()
            shape = {"kty": "RSA", "n": _base64_of(numbers.n), "e": _base64_of(numbers.e)}
        else:
            continue
        listed.append({**shape, "kid": key_id, "use": "sig", "alg": keys.algorithm})
    return orjson.dumps({"keys": listed})


def key_id_of(key: PublicKey) -> str:
    """Give a public key's id: the beginning of its hash."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]


def _private_keys(text: str) -> list[PrivateKey]:
    """The private keys in a text, none if it does not look like one. Raises ValueError for one that is not allowed."""
    text = text.strip().replace("\\n", "\n")
    if text.startswith("-----BEGIN"):
        blocks = [block.strip() + "\n" + _END + "\n" for block in text.split(_END) if block.strip()]
        loaded = [load_pem_private_key(block.encode(), None) for block in blocks]
    else:
        try:
            loaded = [load_der_private_key(base64.b64decode(text, validate=True), None)]
        except (ValueError, binascii.Error):
            return []
    keys = [key for key in loaded if isinstance(key, Ed25519PrivateKey | RSAPrivateKey)]
    if len(keys) != len(loaded):
        raise BadKeyError("an Ed25519 or an RSA key was expected")
    return keys


def _one_algorithm(keys: list[Any]) -> Algorithm:
    if all(isinstance(key, Ed25519PublicKey) for key in keys):
        return "EdDSA"
    if not all(isinstance(key, RSAPublicKey) for key in keys):
        raise BadKeyError("keys of one family were expected, all Ed25519 or all RSA")
    if any(key.key_size < MINIMUM_RSA_BITS for key in keys):
        raise BadKeyError(f"RSA keys of at least {MINIMUM_RSA_BITS} bits were expected")
    return "RS256"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _base64_of(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8, "big"))

"""Private keys of tests, and tokens that prove nothing."""

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from core.token_keys import Keys

AnyPrivateKey = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def pem_of(key: AnyPrivateKey) -> str:
    """A private key as PEM of PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def private_pem(algorithm: str) -> str:
    """A new private key for RS256 or EdDSA."""
    if algorithm == "EdDSA":
        return pem_of(Ed25519PrivateKey.generate())
    return pem_of(rsa.generate_private_key(65537, 2048))


def bad_tokens(keys: Keys, *, user: str, organization: str, session: str) -> dict[str, str]:
    """Tokens that prove nothing to who verifies by `keys`, by what is wrong with them."""
    now = int(time.time())
    good: dict[str, Any] = {
        "iss": "branchline",
        "aud": "branchline",
        "typ": "access",
        "sub": user,
        "org": organization,
        "sid": session,
        "iat": now,
        "exp": now + 900,
    }

    def sign(claims: dict[str, Any], key: Any = None, **headers: Any) -> str:
        named = {"kid": keys.signing_id} | headers
        return jwt.encode(claims, key or keys.signing, algorithm=keys.algorithm, headers=named)

    another: dict[str, Any] = {
        "HS256": "another key that is long enough too",
        "EdDSA": Ed25519PrivateKey.generate(),
        "RS256": rsa.generate_private_key(65537, 2048),
    }
    wrong = {f"without {name}": sign({k: v for k, v in good.items() if k != name}) for name in good}
    wrong |= {f"{name} as a number": sign(good | {name: 7}) for name in ("sub", "org", "sid", "typ")}
    wrong |= {
        "no algorithm": f"{_part({'alg': 'none', 'typ': 'JWT', 'kid': keys.signing_id})}.{_part(good)}.",
        "another key": sign(good, another[keys.algorithm]),
        "another kid": sign(good, kid="other"),
        "a kid that is a path": sign(good, kid="../../dev/null"),
        "a key of its own": sign(good, jwk={"kty": "oct", "k": "x"}),
        "a key's address": sign(good, jku="http://evil.test/keys"),
        "a certificate's address": sign(good, x5u="http://evil.test/cert"),
        "a certificate": sign(good, x5c=["MII"]),
        "a critical extension": sign(good, crit=["exp"]),
        "expired": sign(good | {"exp": now - 1}),
        "expired long ago": sign(good | {"exp": 1}),
        "an end as text": sign(good | {"exp": str(now + 900)}),
        "an end as a fraction": sign(good | {"exp": now + 900.5}),
        "an end that is true": sign(good | {"exp": True}),
        "not yet": sign(good | {"nbf": now + 900}),
        "a beginning as text": sign(good | {"iat": str(now)}),
        "another issuer": sign(good | {"iss": "evil"}),
        "another audience": sign(good | {"aud": "evil"}),
        "a list of audiences": sign(good | {"aud": ["branchline", "evil"]}),
        "a refresh token": sign(good | {"typ": "refresh"}),
        "a person that is no id": sign(good | {"sub": "ana"}),
        "an organisation that is no id": sign(good | {"org": "' OR true --"}),
        "cut": sign(good)[:-4],
        "without a signature": sign(good).rpartition(".")[0] + ".",
        "with another's payload": _swap(sign(good), sign(good | {"sub": session})),
        "no token": "x",
        "too long": "a" * 5_000,
    }
    for algorithm, key in another.items():
        if algorithm != keys.algorithm:
            headers = {"kid": keys.signing_id}
            wrong[f"signed with {algorithm}"] = jwt.encode(good, key, algorithm=algorithm, headers=headers)
    if keys.algorithm != "HS256":
        wrong["without kid"] = jwt.encode(good, keys.signing, algorithm=keys.algorithm)
        public = keys.verifying[keys.signing_id]
        for name, encoding in (("PEM", Encoding.PEM), ("DER", Encoding.DER)):
            secret = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
            wrong[f"HMAC with the public key as {name}"] = _hmac(good, secret, keys.signing_id)
    return wrong


def _part(value: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def _swap(token: str, other: str) -> str:
    head, _, signature = token.split(".")
    return ".".join((head, other.split(".")[1], signature))


def _hmac(claims: dict[str, Any], secret: bytes, key_id: str) -> str:
    """A token as an attacker makes it, whose library does not mind what a secret looks like."""
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': key_id})}.{_part(claims)}"
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"

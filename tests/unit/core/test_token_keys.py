"""Keys of access tokens: private ones that sign, published ones that verify, and none that are of two families."""

import base64
from dataclasses import replace

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from core.token_keys import Keys, is_private_key, read_jwks, read_keys, write_jwks
from core.tokens import TokenError, Tokens
from tests.signing import pem_of, private_pem

USER, ORGANIZATION, SESSION = (f"01a1fd3a-ed3a-70af-9ef2-53721180000{n}" for n in range(3))


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_who_has_the_published_keys_verifies_and_cannot_sign(algorithm: str) -> None:
    issuer = Tokens(private_pem(algorithm))
    published = write_jwks(issuer.keys)
    assert b'"d"' not in published
    verifier = Tokens(read_jwks(published))
    assert verifier.verify(issuer.issue(USER, ORGANIZATION, SESSION)).user_id == USER
    with pytest.raises(AssertionError, match="sign nothing"):
        verifier.issue(USER, ORGANIZATION, SESSION)
    with pytest.raises(AssertionError, match="derive nothing"):
        verifier.derive("cursors")


def test_a_secret_is_not_published() -> None:
    assert orjson.loads(write_jwks(Tokens("a key for tests that is long enough").keys)) == {"keys": []}


def test_the_first_of_several_keys_signs_and_the_others_verify_while_their_tokens_last() -> None:
    old, new = private_pem("EdDSA"), private_pem("EdDSA")
    token = Tokens(old).issue(USER, ORGANIZATION, SESSION)
    both = Tokens(new + old)
    assert both.verify(token).session_id == SESSION
    assert Tokens(new).verify(both.issue(USER, ORGANIZATION, SESSION)).session_id == SESSION
    with pytest.raises(TokenError):
        Tokens(new).verify(token)


def test_a_key_may_be_written_in_one_line() -> None:
    pem = private_pem("EdDSA")
    der = load_pem_private_key(pem.encode(), None).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    token = Tokens(pem).issue(USER, ORGANIZATION, SESSION)
    for text in (pem.replace("\n", "\\n"), base64.b64encode(der).decode()):
        assert Tokens(text).verify(token).user_id == USER


@pytest.mark.parametrize(
    "text",
    [
        private_pem("EdDSA") + private_pem("RS256"),
        pem_of(rsa.generate_private_key(65537, 1024)),
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n",
    ],
)
def test_keys_of_two_families_weak_ones_and_others_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|deserialize|load|parse"):
        read_keys(text)


def test_a_secret_is_no_private_key() -> None:
    assert not is_private_key("a key for tests that is long enough")
    assert is_private_key(private_pem("EdDSA"))


@pytest.mark.parametrize(
    "published",
    [
        b"",
        b"[]",
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "a"}]}',
        b'{"keys": [{"kid": "a"}]}',
    ],
)
def test_what_is_no_set_of_public_keys_is_refused(published: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_jwks(published)


def test_a_token_of_a_key_that_is_not_known_says_so_once_the_keys_are_replaced_it_is_good() -> None:
    old, new = Tokens(private_pem("EdDSA")), Tokens(private_pem("EdDSA"))
    unknown: list[None] = []
    verifier = Tokens(read_jwks(write_jwks(old.keys)), on_unknown_key=lambda: unknown.append(None))
    token = new.issue(USER, ORGANIZATION, SESSION)
    with pytest.raises(TokenError):
        verifier.verify(token)
    assert len(unknown) == 1
    remembered = old.issue(USER, ORGANIZATION, SESSION)
    verifier.verify(remembered)
    verifier.replace(read_jwks(write_jwks(new.keys)))
    assert verifier.verify(token).user_id == USER
    # What was verified by a key that is withdrawn is not good any longer.
    with pytest.raises(TokenError):
        verifier.verify(remembered)


def test_a_key_that_another_one_replaces_under_its_name_is_withdrawn() -> None:
    old, new = Tokens(private_pem("EdDSA")), Tokens(private_pem("EdDSA"))

    def published(issuer: Tokens) -> Keys:
        return read_jwks(write_jwks(issuer.keys).replace(issuer.keys.signing_id.encode(), b"the-key"))

    verifier = Tokens(published(old))
    token = Tokens(replace(old.keys, signing_id="the-key")).issue(USER, ORGANIZATION, SESSION)
    verifier.verify(token)
    verifier.replace(published(old))
    verifier.verify(token)
    verifier.replace(published(new))
    with pytest.raises(TokenError):
        verifier.verify(token)

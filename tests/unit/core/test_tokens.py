"""Access tokens and tickets. What bad tokens are answered over HTTP is tested with the API."""

import time

import pytest

from core.tokens import (
    Claims,
    TokenError,
    Tokens,
    claims_from_json,
    claims_to_json,
    make_ticket,
    ticket_key,
)

SECRET = "a key for tests that is long enough"
USER, ORGANIZATION, SESSION = (f"01a1fd3a-ed3a-70af-9ef2-53721180000{n}" for n in range(3))


def test_a_token_says_who_and_until_when() -> None:
    tokens = Tokens(SECRET, lifetime_seconds=60)
    claims = tokens.verify(tokens.issue(USER, ORGANIZATION, SESSION))
    assert (claims.user_id, claims.organization_id, claims.session_id) == (USER, ORGANIZATION, SESSION)
    assert 58 <= claims.expires_at - time.time() <= 60


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(TokenError) as raised:
        Tokens(SECRET).verify(Tokens(SECRET + "!").issue(USER, ORGANIZATION, SESSION))
    assert raised.value.code == "token_refused"


def test_a_token_ends_also_when_it_was_good_before(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(SECRET, lifetime_seconds=60)
    token = tokens.issue(USER, ORGANIZATION, SESSION)
    assert tokens.verify(token) is tokens.verify(token)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(TokenError) as raised:
        tokens.verify(token)
    assert raised.value.code == "token_expired"


def test_an_expired_token_is_told_from_a_bad_one() -> None:
    tokens = Tokens(SECRET, lifetime_seconds=-1)
    with pytest.raises(TokenError) as raised:
        tokens.verify(tokens.issue(USER, ORGANIZATION, SESSION))
    assert raised.value.code == "token_expired"


def test_verified_tokens_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.tokens._REMEMBERED_TOKENS", 3)
    tokens = Tokens(SECRET)
    for number in range(10):
        tokens.verify(Tokens(SECRET, lifetime_seconds=60 + number).issue(USER, ORGANIZATION, SESSION))
    assert len(tokens._verified) == 3


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Tokens("short")


def test_keys_of_two_purposes_differ() -> None:
    tokens = Tokens(SECRET)
    assert tokens.derive("cursors") != tokens.derive("refresh tokens")
    assert SECRET.encode() not in tokens.derive("cursors")


def test_a_ticket_is_kept_as_its_hash() -> None:
    ticket = make_ticket()
    assert len(ticket) >= 43
    assert ticket not in ticket_key(ticket)
    assert ticket_key(ticket) == ticket_key(ticket) != ticket_key(make_ticket())


def test_a_tickets_claims_are_read_as_they_were_written() -> None:
    claims = Claims(USER, ORGANIZATION, SESSION, int(time.time()) + 60)
    assert claims_from_json(claims_to_json(claims)) == claims


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b'{"sub":"x","org":"y","sid":"z","exp":9999999999}', b'{"sub":1}'],
)
def test_what_is_no_claims_is_refused(data: bytes) -> None:
    with pytest.raises(TokenError):
        claims_from_json(data)


def test_a_ticket_does_not_outlive_its_token() -> None:
    with pytest.raises(TokenError):
        claims_from_json(claims_to_json(Claims(USER, ORGANIZATION, SESSION, int(time.time()) - 1)))

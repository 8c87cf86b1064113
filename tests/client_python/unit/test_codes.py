"""The client's copies of the server's tables are equal to them, and its contract is equal to both."""

from branchline_client.codes import (
    CLOSES,
    REJECTIONS,
    reaction_to_close,
    reaction_to_handshake,
    reaction_to_rejection,
)
from core.protocol import codes as server


def test_close_codes_ask_for_what_the_server_says() -> None:
    assert {int(code): meaning.reaction for code, meaning in server.CLOSES.items()} == CLOSES


def test_rejections_ask_for_what_the_server_says() -> None:
    assert {code: meaning.reaction for code, meaning in server.REJECTIONS.items()} == REJECTIONS


def test_codes_that_are_not_known_go_by_their_range() -> None:
    assert reaction_to_close(None) == reaction_to_close(1006) == reaction_to_close(4123) == "reconnect"
    assert reaction_to_close(4777) == "stop"


def test_a_handshake_that_is_refused_says_what_helps() -> None:
    assert reaction_to_handshake(401) == "reauthenticate"
    assert reaction_to_handshake(403) == "stop"
    assert reaction_to_handshake(429) == "reconnect_later"
    assert reaction_to_handshake(502) == "reconnect"


def test_the_servers_word_on_a_rejection_goes_before_the_table() -> None:
    assert reaction_to_rejection("unavailable", "give_up") == "give_up"
    assert reaction_to_rejection("unavailable", None) == "retry"
    assert reaction_to_rejection("of_tomorrow", "of_tomorrow") == "give_up"

"""PURE. Close codes and rejections, and what the client does about each; a copy of the server's table, tested equal."""

from typing import Literal

CloseReaction = Literal["reconnect", "reconnect_later", "reauthenticate", "stop"]
Reaction = Literal["retry", "reauthenticate", "resnapshot", "give_up"]

CLOSES: dict[int, CloseReaction] = {
    1000: "stop",
    1002: "stop",
    1003: "stop",
    1007: "stop",
    1009: "stop",
    1011: "reconnect",
    1012: "reconnect_later",
    1013: "reconnect",
    4008: "reconnect",
    4009: "reconnect",
    4501: "reauthenticate",
    4502: "stop",
    4503: "reauthenticate",
    4504: "stop",
    4508: "reconnect_later",
    4509: "reconnect_later",
}

REJECTIONS: dict[str, Reaction] = {
    "invalid_topic": "give_up",
    "unknown_collection": "give_up",
    "unknown_field": "give_up",
    "not_filterable": "give_up",
    "invalid_value": "give_up",
    "forbidden": "give_up",
    "not_found": "give_up",
    "too_large": "give_up",
    "too_many_subscriptions": "give_up",
    "too_many_announcements": "give_up",
    "unavailable": "retry",
}

HANDSHAKES: dict[int, CloseReaction] = {
    401: "reauthenticate",
    403: "stop",
    404: "reconnect",
    426: "reconnect",
    429: "reconnect_later",
    503: "reconnect_later",
}
"""Answers to the handshake in place of 101; any other is `reconnect`."""


def reaction_to_close(code: int | None) -> CloseReaction:
    """Say what a close asks for. No close frame (None, 1005, 1006) is a lost line; of codes that are not known,
    4000 to 4499 ask to reconnect and 4500 to 4999 to stop, as the protocol has it.
    """
    if code is None:
        return "reconnect"
    if code in CLOSES:
        return CLOSES[code]
    return "stop" if 4500 <= code <= 4999 else "reconnect"


def reaction_to_handshake(status: int) -> CloseReaction:
    """Say what an HTTP answer to the handshake asks for."""
    return HANDSHAKES.get(status, "reconnect")


def reaction_to_rejection(code: str, reaction: str | None) -> Reaction:
    """Say what a `rejected` asks for: what the server says, or the table where it says nothing known."""
    match reaction:
        case "retry" | "reauthenticate" | "resnapshot" | "give_up":
            return reaction
        case _:
            return REJECTIONS.get(code, "give_up")

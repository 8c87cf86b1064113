"""PURE. Every code that a socket may show its client, and what the client does about it.

The one table: the gateway takes codes from here, `docs/protocol.md` is checked against it, and clients keep
a copy that their tests compare with it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

CloseReaction = Literal["reconnect", "reconnect_later", "reauthenticate", "stop"]
"""What a client does after a close.

`reconnect`: connect again with backoff and full jitter, and subscribe with the positions it holds.
`reconnect_later`: the same, but not before the delay that `goaway` named, or 30 s where it named none.
`reauthenticate`: ask for a new token first. `stop`: do not connect again until a person or a new version of
the program has changed something.
"""

Reaction = Literal["retry", "reauthenticate", "resnapshot", "give_up"]
"""What a client does after `rejected`.

`retry`: ask the same again later, with backoff. `reauthenticate`: send `authenticate` with a new token,
then ask again. `resnapshot`: ask again without a position. `give_up`: do not ask the same again.
"""

RejectionCode = Literal[
    "invalid_topic",
    "unknown_collection",
    "unknown_field",
    "not_filterable",
    "invalid_value",
    "forbidden",
    "not_found",
    "too_large",
    "too_many_subscriptions",
    "too_many_announcements",
    "unavailable",
]


class CloseCode(IntEnum):
    """Why a socket is closed."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    TOO_SLOW = 4008
    GAP = 4009
    NOT_AUTHENTICATED = 4501
    MALFORMED_MESSAGE = 4502
    TOKEN_REFUSED = 4503
    ACCESS_REVOKED = 4504
    RATE_EXCEEDED = 4508
    TOO_MANY_CONNECTIONS = 4509


@dataclass(frozen=True, slots=True)
class CloseMeaning:
    """A row of the table of close codes."""

    meaning: str
    reaction: CloseReaction


@dataclass(frozen=True, slots=True)
class RejectionMeaning:
    """A row of the table of rejection codes."""

    meaning: str
    reaction: Reaction


CLOSES: dict[CloseCode, CloseMeaning] = {
    CloseCode.NORMAL: CloseMeaning("The client closed the socket.", "stop"),
    CloseCode.PROTOCOL_ERROR: CloseMeaning("A frame breaks RFC 6455.", "stop"),
    CloseCode.UNSUPPORTED_DATA: CloseMeaning("A binary message; messages are JSON in text frames.", "stop"),
    CloseCode.INVALID_DATA: CloseMeaning("A text message is not UTF-8.", "stop"),
    CloseCode.MESSAGE_TOO_BIG: CloseMeaning("A message is larger than `limits.message_bytes`.", "stop"),
    CloseCode.INTERNAL_ERROR: CloseMeaning("The gateway failed; its log says how.", "reconnect"),
    CloseCode.SERVICE_RESTART: CloseMeaning(
        "This gateway is leaving; `goaway` came before.", "reconnect_later"
    ),
    CloseCode.TRY_AGAIN_LATER: CloseMeaning(
        "The gateway is too busy, or cannot reach what it needs to sign anybody in.", "reconnect"
    ),
    CloseCode.TOO_SLOW: CloseMeaning("The client did not read what was sent to it in time.", "reconnect"),
    CloseCode.GAP: CloseMeaning("Changes are missing that cannot be filled in on this socket.", "reconnect"),
    CloseCode.NOT_AUTHENTICATED: CloseMeaning(
        "The first message was not `authenticate`, or did not come within 5 s.", "reauthenticate"
    ),
    CloseCode.MALFORMED_MESSAGE: CloseMeaning(
        "A message is not JSON, has an unknown `type`, or a field that is missing or of a wrong type.", "stop"
    ),
    CloseCode.TOKEN_REFUSED: CloseMeaning(
        "The token is invalid, expired, or of another principal than the socket's.", "reauthenticate"
    ),
    CloseCode.ACCESS_REVOKED: CloseMeaning(
        "The person, their membership or their session is no longer allowed in.", "stop"
    ),
    CloseCode.RATE_EXCEEDED: CloseMeaning(
        "More messages than `limits.messages_per_second`, or a flood of other frames.", "reconnect_later"
    ),
    CloseCode.TOO_MANY_CONNECTIONS: CloseMeaning(
        "The person or the organisation has as many sockets as are allowed.", "reconnect_later"
    ),
}

REJECTIONS: dict[RejectionCode, RejectionMeaning] = {
    "invalid_topic": RejectionMeaning("The topic does not follow the grammar.", "give_up"),
    "unknown_collection": RejectionMeaning("There is no such collection.", "give_up"),
    "unknown_field": RejectionMeaning(
        "A filter or a lease names a field that the collection does not have.", "give_up"
    ),
    "not_filterable": RejectionMeaning("A filter names a field that is not one to filter by.", "give_up"),
    "invalid_value": RejectionMeaning(
        "A value of a filter, or an id, is not of the field's type, or a state makes no sense.", "give_up"
    ),
    "forbidden": RejectionMeaning(
        "The collection, a field or all branches that are named are not yours to read.", "give_up"
    ),
    "too_many_subscriptions": RejectionMeaning(
        "The socket has `limits.subscriptions` already, or the person's sockets follow as many topics between them as "
        "they may.",
        "give_up",
    ),
    "not_found": RejectionMeaning(
        "There is no such record, or it is not yours to read: what is announced or signalled is about it.",
        "give_up",
    ),
    "too_large": RejectionMeaning(
        "A state is larger than 1 KiB of JSON, or a signal's payload than 4 KiB.", "give_up"
    ),
    "too_many_announcements": RejectionMeaning(
        "The socket announces on `limits.announcements` topics already, or its organisation as much as it may.",
        "give_up",
    ),
    "unavailable": RejectionMeaning("The database cannot be read at the moment.", "retry"),
}

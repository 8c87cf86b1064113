"""PURE. What is said on one socket, and what follows: messages in, effects out.

    unauthenticated ─▶ signing in ─▶ ready ─▶ leaving        any ─▶ closing

Nothing is done here: the shell performs the effects, in their order, and reports what came of those that take time.
"""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from core.protocol import downstream
from core.protocol.codes import CloseCode
from core.protocol.upstream import (
    Announce,
    Authenticate,
    MalformedMessageError,
    Ping,
    Purged,
    Receipt,
    Signal,
    Subscribe,
    Unsubscribe,
    Upstream,
    decode_upstream,
)

MAX_WAITING = 64
"""Messages that may come while a sign-in is under way."""


class Phase(Enum):
    """How far a conversation is."""

    UNAUTHENTICATED = "unauthenticated"
    SIGNING_IN = "signing_in"
    READY = "ready"
    LEAVING = "leaving"
    """Access has ended: the client has a moment to say that it has purged what it kept; nothing else is heard."""
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class SignIn:
    """Find out who holds `token`, or whom the handshake named where it is None; then `ready`, or a close."""

    token: str | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Take a fresh token of the same principal."""

    token: str | None


@dataclass(frozen=True, slots=True)
class Follow:
    """Subscribe the socket to a topic."""

    request: Subscribe


@dataclass(frozen=True, slots=True)
class Unfollow:
    """End a subscription."""

    request: Unsubscribe


@dataclass(frozen=True, slots=True)
class Show:
    """Show the others on a topic what the client announces."""

    request: Announce


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass a signal on to the others on a topic."""

    request: Signal


@dataclass(frozen=True, slots=True)
class Reply:
    """Send a message."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """Count the time from commit to screen of a change that the client has shown."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Note:
    """Note that the client has purged topics."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket."""

    code: CloseCode
    reason: str


Effect = SignIn | Renew | Follow | Unfollow | Show | Pass | Reply | Report | Note | Close


class Conversation:
    """The state of one socket's talk."""

    __slots__ = ("client_id", "phase", "receipts", "waiting")

    def __init__(self) -> None:
        self.phase = Phase.UNAUTHENTICATED
        self.client_id = ""
        self.receipts = False
        self.waiting: list[Upstream] | None = None

    def hear(self, text: str, now_ms: int) -> list[Effect]:
        """Take a message as it came."""
        if self.phase is Phase.CLOSING:
            return []
        try:
            message = decode_upstream(text)
        except MalformedMessageError as error:
            return self._close(CloseCode.MALFORMED_MESSAGE, str(error))
        return self._take(message, now_ms)

    def signed_in(self, now_ms: int) -> list[Effect]:
        """Go on after a sign-in, with the messages that came meanwhile."""
        if self.phase is not Phase.SIGNING_IN:
            return []
        self.phase = Phase.READY
        waiting, self.waiting = self.waiting or [], None
        return [effect for message in waiting for effect in self._take(message, now_ms)]

    def dismissed(self) -> None:
        """Hear of nothing but a purge from now on."""
        self.phase = Phase.LEAVING

    def ended(self) -> None:
        """Nothing more can be said."""
        self.phase = Phase.CLOSING
        self.waiting = None

    def _take(self, message: Upstream, now_ms: int) -> list[Effect]:
        match self.phase:
            case Phase.UNAUTHENTICATED:
                return self._first(message)
            case Phase.SIGNING_IN:
                return self._wait(message)
            case Phase.READY:
                return self._ready(message, now_ms)
            case Phase.LEAVING:
                return [Note(tuple(message.topics))] if isinstance(message, Purged) else []
            case Phase.CLOSING:
                return []
            case _:
                assert_never(self.phase)

    def _first(self, message: Upstream) -> list[Effect]:
        if not isinstance(message, Authenticate):
            return self._close(CloseCode.NOT_AUTHENTICATED, "the first message is authenticate")
        self.phase = Phase.SIGNING_IN
        self.client_id = message.client_id
        self.receipts = message.receipts
        return [SignIn(message.token)]

    def _wait(self, message: Upstream) -> list[Effect]:
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(message)
        if len(self.waiting) > MAX_WAITING:
            return self._close(CloseCode.RATE_EXCEEDED, "too many messages before ready")
        return []

    def _ready(self, message: Upstream, now_ms: int) -> list[Effect]:
        match message:
            case Authenticate():
                return [Renew(message.token)]
            case Subscribe():
                return [Follow(message)]
            case Unsubscribe():
                return [Unfollow(message)]
            case Ping():
                return [Reply(downstream.pong(sent_at_ms=message.sent_at_ms, server_time_ms=now_ms))]
            case Receipt():
                return [Report(message)] if self.receipts else []
            case Purged():
                return [Note(tuple(message.topics))]
            case Announce():
                return [Show(message)]
            case Signal():
                return [Pass(message)]
            case _:
                assert_never(message)

    def _close(self, code: CloseCode, reason: str) -> list[Effect]:
        self.ended()
        return [Close(code, reason)]

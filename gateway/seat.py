"""An open connection's seat: who sits there, in which organisation, and what they follow."""

import asyncio
from typing import TYPE_CHECKING

from core.principal import Principal
from core.tokens import Claims
from gateway.connection import Connection
from gateway.conversation import Conversation, Phase
from gateway.frame import text_frame
from gateway.hub import Lane
from gateway.subscription import Stage, Subscription

if TYPE_CHECKING:
    from gateway.organization import Organization


class Seat:
    """One open connection, from its handshake to its close.

    `claims` are what the handshake or the last token proved; `principal` and `organization` are set when the sign-in
    is done. `is_seated`: the handshake was accepted. `is_suspended`: the person's rights have changed and are being
    read again; nothing is sent until then.
    """

    __slots__ = (
        "address",
        "claims",
        "connection",
        "conversation",
        "has_purged",
        "is_seated",
        "is_suspended",
        "lane",
        "organization",
        "principal",
        "purging",
        "shown_offset",
        "subscriptions",
    )

    def __init__(self, connection: Connection, claims: Claims | None) -> None:
        self.connection = connection
        self.conversation = Conversation()
        self.claims = claims
        self.address = ""
        self.organization: Organization | None = None
        self.principal: Principal | None = None
        self.subscriptions: list[Subscription] = []
        self.lane: Lane[Seat] | None = None
        self.shown_offset = 0
        """The highest offset that a receipt counted for."""
        self.purging: set[str] = set()
        """Topics that the client was told to purge, and has not yet said that it has."""
        self.has_purged: asyncio.Event | None = None
        """Set when none of these is left; there is one while that is waited for."""
        self.is_seated = False
        self.is_suspended = False

    def send(self, message: bytes) -> None:
        """Send a message behind everything that is pending for this seat."""
        self.send_frames(text_frame(message))

    def send_frames(self, frames: bytes) -> None:
        """Send serialised frames behind everything that is pending for this seat."""
        lane = self.lane
        if lane is not None and lane.pending:
            assert self.organization is not None
            self.organization.fan_out.flush_lane(lane)
        self.connection.write(frames)

    @property
    def is_ready(self) -> bool:
        """Whether the sign-in is done and the socket is open."""
        return self.conversation.phase is Phase.READY

    @property
    def is_held(self) -> bool:
        """Whether nothing may be sent of the log: its reader is slow, or their rights are in question."""
        return self.connection.is_slow or self.is_suspended

    @property
    def is_up_to_date(self) -> bool:
        """Whether everything up to the feed's position that concerns this seat was sent, or is pending."""
        return not self.is_held and all(each.stage is Stage.LIVE for each in self.subscriptions)

    def subscription(self, topic: str) -> Subscription | None:
        """Find the subscription of a topic, in its canonical form."""
        for each in self.subscriptions:
            if each.view.topic.canonical == topic:
                return each
        return None

"""One socket: the sans-I/O core of `websockets` under an `asyncio.Protocol`, without a task or a timer of
its own.

A connection knows bytes, frames and messages, and nothing of topics or people: those it leaves to its
`Application`. Every byte to the socket goes through the transport's one buffer, and none follows a close
frame. Deadlines are kept by a `Sweep` that all connections share.
"""

import asyncio
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as FrameProtocol
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from core.protocol.codes import CloseCode

MAX_HEAD_BYTES = 32 * 1024
"""Largest request."""

FRAMES_BURST_SECONDS = 5
"""Frames that a connection has not sent may come later, those of this time at once."""
SLICE_BYTES = 4096
"""Bytes that are parsed at a time: they may hold hundreds of frames, and what was read in one go tens of thousands."""

_END_OF_HEAD = b"\r\n\r\n"


class Stage(IntEnum):
    """How far a connection has come; it never goes back."""

    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class Application(Protocol):
    """What becomes of a connection's requests and messages. All calls return at once."""

    def requested(self, connection: "Connection", request: Request) -> None:
        """A request has arrived; `connection.respond` or `connection.accept` answers it, now or later."""

    def received(self, connection: "Connection", text: str) -> None:
        """A whole text message has arrived."""

    def slowed(self, connection: "Connection") -> None:
        """More bytes wait for the client than it may leave unread."""

    def drained(self, connection: "Connection") -> None:
        """The client has read what waited for it, but for a rest."""

    def left(self, connection: "Connection") -> None:
        """Nothing more can be sent: a close frame was, or the socket is gone. Called once for each open
        connection.
        """

    def lost(self, connection: "Connection") -> None:
        """The socket is gone. Called once for each connection, after `left`."""


class Deadlines(Protocol):
    """What a connection tells the timers that it shares with all others."""

    def began(self, connection: "Connection") -> None:
        """A socket was accepted: its handshake has a deadline."""

    def closing(self, connection: "Connection") -> None:
        """A close was begun: the peer has a moment to answer it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a handshake and messages must keep to, the same for all connections of a gateway.

    `origins` are the library's: texts, patterns, and None for those who send no origin. No extensions are offered,
    so nothing is compressed. `frames_per_second` is for frames that are no message of their own: pings, pongs, and
    parts of messages; 0 is no limit.
    """

    origins: list[Any] | None
    subprotocol: str | None
    max_message_bytes: int
    frames_per_second: int
    logger: Any


class Connection(asyncio.Protocol):
    """One socket from its first byte to its last."""

    __slots__ = (
        "_application",
        "_deadlines",
        "_early",
        "_frames_at",
        "_frames_left",
        "_parts",
        "_protocol",
        "_rules",
        "_transport",
        "close_code",
        "heard",
        "is_slow",
        "stage",
        "state",
    )

    def __init__(
        self, application: Application, deadlines: Deadlines, rules: Rules, state: Any = None
    ) -> None:
        self._application = application
        self._deadlines = deadlines
        self._rules = rules
        # The library's protocol for the handshake, and another for frames: the first keeps the request for ever.
        self._protocol: FrameProtocol | None = None
        self._early = b""
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parts: list[bytes] | None = None
        self._frames_left = float(rules.frames_per_second * FRAMES_BURST_SECONDS)
        self._frames_at = 0.0
        self.stage = Stage.HANDSHAKE
        self.is_slow = False
        self.heard = True
        """Whether anything came since the last ping; the sweep clears it."""
        self.close_code: int = CloseCode.NORMAL
        self.state: Any = state
        """The application's."""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a socket."""
        self._transport = cast(asyncio.Transport, transport)
        self._deadlines.began(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, whatever frames they hold."""
        self.heard = True
        protocol = self._protocol
        if self.stage is Stage.HANDSHAKE:
            self._early += data
            if protocol is None:
                self._take_head()
            return
        if protocol is None:
            return
        if len(data) <= SLICE_BYTES:
            self._take_frames(protocol, data)
            return
        for start in range(0, len(data), SLICE_BYTES):
            self._take_frames(protocol, data[start : start + SLICE_BYTES])

    def eof_received(self) -> None:
        """Take the end of what the peer sends; the transport then closes itself."""
        if self._protocol is not None and self.stage in (Stage.OPEN, Stage.CLOSING):
            self._protocol.receive_eof()
            self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; the socket is gone."""
        if self.stage is Stage.OPEN:
            self.close_code = 1006
            self._leave()
        self.stage = Stage.CLOSED
        self._parts = None
        self._application.lost(self)

    def pause_writing(self) -> None:
        """Too much waits for the peer; until that is read nothing is read from it either."""
        self.is_slow = True
        if self.stage is Stage.OPEN:
            self._transport.pause_reading()
            self._application.slowed(self)

    def resume_writing(self) -> None:
        """The peer reads again."""
        self.is_slow = False
        self.heard = True
        if self.stage is Stage.OPEN:
            self._transport.resume_reading()
            self._application.drained(self)

    # What the application calls.

    @property
    def id(self) -> str:
        """A unique name of this connection, once it is open."""
        return "" if self._protocol is None else str(self._protocol.id)

    @property
    def writer(self) -> asyncio.WriteTransport:
        """What serialised frames are written to by whoever stops when the connection has `left`: the fan-out, for which
        `write` would be one call more for each delivery.
        """
        return self._transport

    @property
    def address(self) -> str:
        """The peer's IP address, or an empty text where there is none."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    @property
    def is_gone(self) -> bool:
        """Whether the socket is closed."""
        return self.stage is Stage.CLOSED

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the peer to read."""
        return self._transport.get_write_buffer_size()

    def set_unsent_limit(self, limit_bytes: int) -> None:
        """Set from how many unsent bytes the connection counts as slow; it recovers at a quarter of them."""
        self._transport.set_write_buffer_limits(high=limit_bytes, low=limit_bytes // 4)

    def judge(self, request: Request) -> Response:
        """Give the answer to a WebSocket handshake as RFC 6455, origin and subprotocol have it; sends nothing."""
        return cast(ServerProtocol, self._protocol).accept(request)

    def respond(self, response: Response) -> None:
        """Answer the request: status 101 opens the connection, any other ends it."""
        if self.stage is not Stage.HANDSHAKE:
            return
        cast(ServerProtocol, self._protocol).send_response(response)
        self._write()
        if response.status_code == 101:
            self.stage = Stage.OPEN
            rules = self._rules
            self._protocol = FrameProtocol(SERVER, max_size=rules.max_message_bytes, logger=rules.logger)
            early, self._early = self._early, b""
            if early:
                self.data_received(early)

    def write(self, frames: bytes) -> None:
        """Send serialised frames. A connection that is not open drops them: no data follows a close frame."""
        if self.stage is Stage.OPEN:
            self._transport.write(frames)

    def ping(self) -> None:
        """Send a ping; `heard` says later whether anything came back."""
        if self.stage is Stage.OPEN:
            self.heard = False
            self._open_protocol.send_ping(b"")
            self._write()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, give the peer a moment to answer it, then end."""
        if self.stage is Stage.OPEN:
            protocol = self._open_protocol
            if protocol.state is OPEN:
                self.close_code = code
                self._leave()
                protocol.send_close(code, _clip(reason))
            # Else the peer's own close is being answered.
            self._write()
        elif self.stage is Stage.HANDSHAKE:
            self.abort()

    def abort(self) -> None:
        """End at once, whatever is unsent."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """Leave what the peer sends in its socket for a while."""
        if self.stage in (Stage.HANDSHAKE, Stage.OPEN):
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, unless the peer is slow itself."""
        if self.stage in (Stage.HANDSHAKE, Stage.OPEN) and not self.is_slow:
            self._transport.resume_reading()

    # The request.

    def _take_head(self) -> None:
        """Give the application the request, once it is whole. What follows it waits until the connection is open."""
        end = self._early.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        if end < len(_END_OF_HEAD):
            if len(self._early) > MAX_HEAD_BYTES:
                self.abort()
            return
        head, self._early = self._early[:end], self._early[end:]
        rules = self._rules
        self._protocol = protocol = ServerProtocol(
            origins=cast("list[Origin | None] | None", rules.origins),
            subprotocols=None if rules.subprotocol is None else [Subprotocol(rules.subprotocol)],
            max_size=rules.max_message_bytes,
            logger=rules.logger,
        )
        protocol.receive_data(head)
        for event in protocol.events_received():
            self._application.requested(self, cast(Request, event))
        self._write()

    # Frames.

    @property
    def _open_protocol(self) -> FrameProtocol:
        assert self._protocol is not None
        return self._protocol

    def _take_frames(self, protocol: FrameProtocol, data: bytes) -> None:
        if self.stage is Stage.CLOSED:
            return
        protocol.receive_data(data)
        frames = cast("list[Frame]", protocol.events_received())
        extra = sum(frame.opcode is not Opcode.TEXT or not frame.fin for frame in frames)
        if extra and not self._admit(extra):
            if self.stage is Stage.OPEN:
                self._fail(CloseCode.RATE_EXCEEDED, "too many frames")
            else:
                self.abort()
            return
        if protocol.state is OPEN and self.stage is Stage.OPEN:
            # Pongs go before answers to messages that a ping came amid.
            self._write()
        for frame in frames:
            if self.stage is Stage.OPEN:
                self._take(frame)
        self._write()

    def _admit(self, frames: int) -> bool:
        """Whether so many frames that are no message may come now: a token bucket."""
        rate = self._rules.frames_per_second
        if not rate:
            return True
        now = time.monotonic()
        left = min(rate * FRAMES_BURST_SECONDS, self._frames_left + (now - self._frames_at) * rate) - frames
        self._frames_left, self._frames_at = max(left, 0.0), now
        return left >= 0

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT:
                self._part(frame)
            case Opcode.CONT:
                self._part(frame)
            case Opcode.BINARY:
                self._fail(CloseCode.UNSUPPORTED_DATA, "messages are JSON in text frames")
            case _:
                return

    def _part(self, frame: Frame) -> None:
        if frame.fin and self._parts is None:
            self._message(bytes(frame.data))
            return
        if self._parts is None:
            self._parts = []
        if frame.data:
            # Empty parts would be without number: no limit of bytes ends them.
            self._parts.append(bytes(frame.data))
        if frame.fin:
            message, self._parts = b"".join(self._parts), None
            self._message(message)

    def _message(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self._fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            return
        self._application.received(self, text)

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Fail the connection (RFC 6455, 7.1.7): close it and hear nothing more."""
        self.close_code = code
        self._leave()
        self._open_protocol.fail(code, _clip(reason))
        self._write()

    def _leave(self) -> None:
        """Tell the application that nothing more can be sent; it may still write what it has pending."""
        self._application.left(self)
        self.stage = Stage.CLOSING
        self._parts = None
        self._deadlines.closing(self)

    def _write(self) -> None:
        """Send what the protocol has to say: responses, pongs, close frames, the end."""
        protocol = self._open_protocol
        if self.stage is Stage.OPEN and protocol.state is not OPEN:
            # The protocol has a close frame to send, in answer to the peer's or because of it. What the
            # application has pending goes before it.
            sent = protocol.close_sent
            self.close_code = sent.code if sent is not None else 1006
            self._leave()
        for data in protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._end()

    def _end(self) -> None:
        """Say that nothing more comes, and let the peer close: a close of ours could reset what it has yet
        to read.
        """
        if self._transport.is_closing():
            return
        if self.stage is Stage.HANDSHAKE:
            self.stage = Stage.CLOSING
            self._deadlines.closing(self)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()


def _clip(reason: str) -> str:
    """Cut a reason to the 123 bytes that a close frame has room for."""
    return reason.encode()[:123].decode(errors="ignore")

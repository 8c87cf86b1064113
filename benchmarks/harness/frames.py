"""PURE. The client's side of RFC 6455, cut down to what a load client needs: no extensions, no fragments."""

import base64
import hashlib
from dataclasses import dataclass

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_FINAL = 0x80
_MASKED = 0x80
# A mask protects intermediaries from what a page makes a browser send. Nothing stands between here, and with a mask
# of zeros a payload is its own masked form.
_NO_MASK = b"\0\0\0\0"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = base64.b64encode(b"branchline bench")


class FrameError(Exception):
    """The server sent what this client was not offered or does not understand; the message says what."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a frame: its opcode, where its payload begins and where it ends, in the bytes given."""

    opcode: int
    start: int
    end: int


def upgrade_request(host: str, path: str, subprotocol: str | None) -> bytes:
    """The HTTP request that opens a socket with this subprotocol."""
    asks = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY.decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"{asks}\r\n"
    ).encode()


def check_upgrade(answer: bytes) -> None:
    """Raise FrameError unless the head of an HTTP answer accepts `upgrade_request`."""
    lines = answer.split(b"\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
    }
    if lines[0].split(b" ")[1:2] != [b"101"]:
        raise FrameError(f"the server answered the handshake with {lines[0].decode(errors='replace')!r}")
    expected = base64.b64encode(hashlib.sha1(_KEY + _GUID, usedforsecurity=False).digest())
    if headers.get(b"sec-websocket-accept") != expected:
        raise FrameError("the server's Sec-WebSocket-Accept is not that of the key")
    if b"sec-websocket-extensions" in headers:
        raise FrameError("the server chose an extension that was not offered")


def client_frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame from a client."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 65536:
        head = bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2)
    else:
        head = bytes((_FINAL | opcode, _MASKED | 127)) + size.to_bytes(8)
    return head + _NO_MASK + payload


def read_head(data: bytes, at: int) -> Head | None:
    """The head of the server's frame that begins at `at`, or None if the frame is not all there yet.

    Raises FrameError for a fragment, a mask or reserved bits.
    """
    available = len(data) - at
    if available < 2:
        return None
    first, second = data[at], data[at + 1]
    if not _FINAL <= first < 0x90 or second >= _MASKED:
        raise FrameError(
            f"a frame begins with {first:#04x} {second:#04x}: a fragment, reserved bits or a mask"
        )
    start = at + 2
    size = second
    if size == 126:
        start += 2
        size = int.from_bytes(data[at + 2 : start])
    elif size == 127:
        start += 8
        size = int.from_bytes(data[at + 2 : start])
    if start + size > len(data):
        # Also where the length itself is cut off: what is read of it is then too short, and start is beyond the data.
        return None
    return Head(first & 0x0F, start, start + size)

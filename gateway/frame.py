"""PURE but for the library that it borrows the format from. A text frame, serialised once for all who get
it.
"""

from websockets.frames import Frame, Opcode


def text_frame(message: bytes) -> bytes:
    """Give the bytes on the wire of one unfragmented, unmasked text frame (RFC 6455, 5.2)."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)

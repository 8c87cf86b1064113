"""What somebody may send to a gateway: frames of any bytes, JSON of any shape, and messages that are almost right."""

import json
import struct
from typing import Any

from hypothesis import strategies as st

FrameOrText = bytes | str
"""Bytes go to the socket as they are, as a frame or what pretends to be one; text goes as a text message."""

ID = "0198c0de-0000-7000-8000-00000000000a"

_numbers = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400]),
    st.floats(),
)
_texts = st.one_of(st.text(max_size=20), st.sampled_from(["", "leads", "*", ID, "now", "\x00", "ä" * 5_000]))
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_texts, inner, max_size=4)),
    max_leaves=12,
)
_topics = st.one_of(
    _texts,
    st.sampled_from(
        [
            "leads",
            f"leads/{ID}",
            "leads/" + "0" * 36,
            "leads/../clients",
            "leads?status=new,won&branch_id=~",
            "leads?status=" + ",".join(["new"] * 300),
            "leads?status=%zz",
            "leads?status=%ff",
            "leads?status=%00",
            "leads?phone=1",
            "leads?&&==,,",
            "organization_members",
            "tombstones",
            "users",
            "*?status=new",
            "leads?" + "&".join(f"f{n}=1" for n in range(50)),
        ]
    ),
)
_since = st.one_of(
    st.just("now"),
    st.fixed_dictionaries({"epoch": _texts, "offset": _numbers, "view": _texts}),
    _values,
)
_fields: dict[str, st.SearchStrategy[Any]] = {
    "id": _numbers,
    "topic": _topics,
    "since": _since,
    "presence": st.booleans(),
    "token": _texts,
    "client_id": st.sampled_from([ID, ID.upper(), ""]),
    "receipts": st.booleans(),
    "state": st.one_of(st.none(), st.dictionaries(_texts, _values, max_size=3)),
    "event": _texts,
    "payload": _values,
    "topics": st.lists(_topics, max_size=3),
    "offset": _numbers,
    "shown_at_ms": _numbers,
    "sent_at_ms": _numbers,
}
_RIGHT: dict[str, tuple[str, ...]] = {
    "authenticate": ("token", "client_id", "receipts"),
    "subscribe": ("id", "topic", "since", "presence"),
    "unsubscribe": ("id", "topic"),
    "announce": ("topic", "state"),
    "signal": ("topic", "event", "payload"),
    "purged": ("topics",),
    "receipt": ("offset", "shown_at_ms"),
    "ping": ("sent_at_ms",),
}


@st.composite
def almost_messages(draw: st.DrawFn) -> str:
    """A message of a known type: some fields missing, of other types, or of other messages."""
    kind = draw(st.sampled_from(list(_RIGHT)))
    message: dict[str, Any] = {"type": kind}
    for name in _RIGHT[kind]:
        match draw(st.integers(0, 9)):
            case 0:
                pass
            case 1:
                message[name] = draw(_values)
            case _:
                message[name] = draw(_fields[name])
    if draw(st.integers(0, 4)) == 0:
        message |= draw(st.dictionaries(st.sampled_from([*_fields, "type", "unknown"]), _values, max_size=2))
    return json.dumps(message)


json_texts = _values.map(json.dumps)
odd_texts = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        [
            "",
            "[" * 5_000,
            '{"type":' * 300,
            '{"type":"ping","sent_at_ms":1}' * 2,
            '{"type":"ping","type":"ping","sent_at_ms":1,"sent_at_ms":"x"}',
            '{"type":"ping","sent_at_ms":' + "9" * 4_000 + "}",
            '{"type":"subscribe","id":1,"topic":"\\ud800"}',
            '{"type":"signal","topic":"leads","event":"\\u0000","payload":"\\udfff"}',
            "\ufeff{}",
            "x" * 65_536,
            "x" * 65_537,
            '{"type":"ping","sent_at_ms":1,"x":"' + "y" * 66_000 + '"}',
        ]
    ),
)


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A frame of RFC 6455 as a client sends it, or a wrong one. The mask is zero, so the payload is readable."""
    first = (0x80 if fin else 0) | (reserved << 4) | opcode
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, mask | len(payload))
    elif len(payload) < 2**16:
        head = struct.pack("!BBH", first, mask | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask | 127, len(payload))
    return head + (b"\0\0\0\0" if masked else b"") + payload


odd_frames = st.one_of(
    st.binary(max_size=300),
    st.builds(
        frame,
        st.integers(0, 15),
        st.one_of(st.binary(max_size=200), st.sampled_from([b"x" * 126, b"y" * 70_000])),
        fin=st.booleans(),
        reserved=st.integers(0, 7),
        masked=st.booleans(),
    ),
    st.sampled_from(
        [
            b"\x81\xff" + b"\xff" * 8,  # a message of 2^64 bytes is announced
            b"\x81\xfe\x00\x01\0\0\0\0x",  # a length written longer than it need be
            b"\x88\x81\0\0\0\0x",  # a close frame with half a code
            frame(8, b"\x03\xed"),  # a close code that nobody may send
            frame(8, b"\x0f\xff"),
            frame(1, b"\xff\xfe"),
            frame(1, b"\xed\xa0\x80"),
            frame(1, b"{", fin=False) + frame(9, b"now") + frame(0, b"}"),
            frame(0, b"continued, but what?"),
            b"GET / HTTP/1.1\r\n\r\n",
        ]
    ),
)

everything = st.lists(
    st.one_of(almost_messages(), almost_messages(), json_texts, odd_texts, odd_frames), min_size=1, max_size=4
)

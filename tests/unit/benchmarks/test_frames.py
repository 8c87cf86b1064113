"""The load client's frames are those of the `websockets` library."""

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from benchmarks.harness.frames import (
    PONG,
    TEXT,
    FrameError,
    check_upgrade,
    client_frame,
    read_head,
    upgrade_request,
)

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]


def accepted() -> tuple[ServerProtocol, bytes]:
    """A server that was asked for an upgrade, and the head of its answer."""
    server = ServerProtocol(subprotocols=[Subprotocol("branchline.v1")], max_size=None)
    server.receive_data(upgrade_request("localhost:1", "/ws", "branchline.v1"))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return server, b"".join(server.data_to_send())


def test_the_library_accepts_the_handshake_and_its_answer_is_accepted() -> None:
    server, answer = accepted()
    check_upgrade(answer.removesuffix(b"\r\n\r\n"))
    assert server.subprotocol == "branchline.v1"


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (b"101 Switching Protocols", b"403 Forbidden", "403"),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x", "Accept"),
        (b"Upgrade: ", b"Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: ", "extension"),
    ],
)
def test_another_answer_is_refused(before: bytes, after: bytes, complaint: str) -> None:
    _, answer = accepted()
    assert before in answer
    with pytest.raises(FrameError, match=complaint):
        check_upgrade(answer.replace(before, after))


@pytest.mark.parametrize("size", SIZES)
def test_the_library_reads_a_frame_of_the_client(size: int) -> None:
    server, _ = accepted()
    server.receive_data(client_frame(TEXT, b"x" * size))
    server.receive_data(client_frame(PONG, b"pong"))
    first, second = server.events_received()
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert (first.opcode, len(first.data)) == (Opcode.TEXT, size)
    assert (second.opcode, second.data) == (Opcode.PONG, b"pong")


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_the_library_is_read_and_a_cut_one_waits(size: int) -> None:
    before = Frame(Opcode.PING, b"before").serialize(mask=False)
    payload = bytes(range(256)) * (size // 256) + b"y" * (size % 256)
    data = before + Frame(Opcode.TEXT, payload).serialize(mask=False)
    head = read_head(data, len(before))
    assert head is not None
    assert (head.opcode, data[head.start : head.end], head.end) == (TEXT, payload, len(data))
    for cut in {0, 1, 2, 3, 4, 9, 10, size // 2, size - 1} & set(range(len(data) - len(before))):
        assert read_head(data[: len(before) + cut], len(before)) is None


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.TEXT, b"part", fin=False).serialize(mask=False),
        b"\xc1\x06zipped",
        Frame(Opcode.TEXT, b"masked").serialize(mask=True),
    ],
)
def test_a_frame_that_was_not_offered_is_refused(frame: bytes) -> None:
    with pytest.raises(FrameError):
        read_head(frame, 0)

"""The golden frames, from the server's side: it builds those that go down, and reads those that come up."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from core.protocol import downstream
from core.protocol.upstream import SincePosition, decode_upstream
from tests.protocol.frames import Frame, frame, frames


def _delta(message: dict[str, Any]) -> bytes:
    return downstream.delta(
        topic=message["topic"],
        epoch=message["epoch"],
        from_offset=message["from"],
        to_offset=message["to"],
        changes=[orjson.dumps(change) for change in message["changes"]],
        more=message.get("more", False),
        conflated=message.get("conflated", False),
    )


def _snapshot(message: dict[str, Any]) -> bytes:
    return downstream.snapshot(
        topic=message["topic"],
        collection=message["collection"],
        records=[orjson.dumps(record) for record in message["records"]],
        last=message["last"],
        epoch=message["epoch"],
        offset=message["offset"],
    )


def _rejected(message: dict[str, Any]) -> bytes:
    return downstream.rejected(id=message["id"], code=message["code"], message=message["message"])


def _signal(message: dict[str, Any]) -> bytes:
    return downstream.signal(
        topic=message["topic"], event=message["event"], payload=message["payload"], sender=message["from"]
    )


def _plain(build: Callable[..., bytes]) -> Callable[[dict[str, Any]], bytes]:
    return lambda message: build(**{name: value for name, value in message.items() if name != "type"})


BUILDERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "ready": _plain(downstream.ready),
    "subscribed": _plain(downstream.subscribed),
    "snapshot": _snapshot,
    "delta": _delta,
    "head": _plain(downstream.head),
    "presence": _plain(downstream.presence),
    "signal": _signal,
    "unsubscribed": _plain(downstream.unsubscribed),
    "purge": _plain(downstream.purge),
    "goaway": _plain(downstream.goaway),
    "rejected": _rejected,
    "pong": _plain(downstream.pong),
}


@pytest.mark.parametrize("each", [f for f in frames("down") if f.message["type"] in BUILDERS], ids=str)
def test_what_the_server_builds_is_the_golden_frame(each: Frame) -> None:
    assert orjson.loads(BUILDERS[each.message["type"]](each.message)) == each.message


@pytest.mark.parametrize("each", frames("up"), ids=str)
def test_the_server_reads_every_frame_that_a_client_sends(each: Frame) -> None:
    read = decode_upstream(each.text).model_dump(exclude_unset=True)
    assert read == each.message


def test_a_position_arrives_as_it_was_sent() -> None:
    message = frame("up", "subscribe-since").message
    since = SincePosition(**message["since"]).position()
    assert (since.epoch, since.offset, since.view) == tuple(message["since"].values())

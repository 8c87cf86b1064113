"""The golden frames: those that come down are read, those that go up are written."""

from typing import Any

import orjson
import pytest

from branchline_client import message as messages
from branchline_client.errors import MalformedMessageError
from branchline_client.message import (
    Delta,
    GoAway,
    Head,
    Pong,
    PresenceNews,
    Purge,
    Ready,
    Rejected,
    Signal,
    SnapshotPage,
    Subscribed,
    Unknown,
    Unsubscribed,
)
from branchline_client.position import Position
from tests.protocol.frames import Frame, frame, frames

KINDS = {
    "ready": Ready,
    "subscribed": Subscribed,
    "snapshot": SnapshotPage,
    "delta": Delta,
    "head": Head,
    "presence": PresenceNews,
    "signal": Signal,
    "unsubscribed": Unsubscribed,
    "purge": Purge,
    "goaway": GoAway,
    "rejected": Rejected,
    "pong": Pong,
}


def decode(name: str) -> Any:
    return messages.decode(frame("down", name).text)


@pytest.mark.parametrize("each", frames("down"), ids=str)
def test_every_frame_from_the_server_is_read(each: Frame) -> None:
    assert isinstance(messages.decode(each.text), KINDS[each.message["type"]])


def test_there_is_a_frame_for_every_kind() -> None:
    assert {each.message["type"] for each in frames("down")} == KINDS.keys()


def test_ready_says_who_one_is() -> None:
    ready = decode("ready-agent")
    assert ready.principal.branch_ids == ("018f6f3f-c000-7e1e-bc4d-ef71f41fcb28",)
    assert ready.principal.reads == "own"
    assert ready.limits["messages_per_second"] == 20
    assert decode("ready").principal.branch_ids is None


def test_a_delta_is_read_with_all_of_its_changes() -> None:
    delta = decode("delta-update")
    [change] = delta.changes
    assert (delta.from_offset, delta.to_offset, delta.more, delta.conflated) == (10009, 10010, False, False)
    assert change.fields["company"] is None
    assert change.overwrote[0]["value"] == 12
    assert change.mutation_ids == (change.mutation_id,)
    assert decode("delta-page").more
    assert decode("delta-leave").changes[1].mutation_ids == ()


def test_a_conflated_change_names_all_of_its_mutations() -> None:
    delta = decode("delta-conflated")
    assert delta.conflated
    assert len(delta.changes[0].mutation_ids) == 2


def test_a_roster_says_how_many_there_are() -> None:
    assert decode("presence-roster").count == 1
    assert decode("presence").count is None


def test_who_signals_is_named() -> None:
    assert decode("signal").sender["name"] == "Ben Okafor"


POSITION = Position(**frame("up", "subscribe-since").message["since"])
TOPIC = "leads?status=new,won"
RECORD = "019b2053-93f6-7b25-9044-e6a9e18654c5"
CLIENT_ID = "5b0f3c9e-7d7a-4d4e-8a39-2f6f0f6f7a10"
STATE = {"record": RECORD, "field": "phone", "version": 3}

WRITTEN = {
    "authenticate": messages.authenticate("eyJhbGciOiJIUzI1NiJ9.e30.c2ln", CLIENT_ID),
    "authenticate-receipts": messages.authenticate(None, CLIENT_ID, receipts=True),
    "subscribe": messages.subscribe(1, TOPIC, None),
    "subscribe-since": messages.subscribe(2, TOPIC, POSITION),
    "subscribe-now": messages.subscribe(3, "*", "now", presence=True),
    "unsubscribe": messages.unsubscribe(4, TOPIC),
    "announce": messages.announce(f"leads/{RECORD}", STATE),
    "announce-leave": messages.announce(f"leads/{RECORD}", None),
    "signal": messages.signal(TOPIC, "nudge", {"record": RECORD}),
    "purged": messages.purged([TOPIC, "deals"]),
    "receipt": messages.receipt(10009, 1795251918560),
    "ping": messages.ping(1795251918100),
}


@pytest.mark.parametrize("each", frames("up"), ids=str)
def test_every_frame_to_the_server_is_written(each: Frame) -> None:
    assert orjson.loads(WRITTEN[each.name]) == each.message


def test_what_is_new_in_a_message_is_ignored() -> None:
    assert messages.decode('{"type":"weather","sky":"blue"}') == Unknown("weather")
    assert messages.decode('{"type":"goaway","reconnect_after_ms":1,"why":"deploy"}') == GoAway(1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type":1}',
        '{"type":"head"}',
        '{"type":"delta","topic":"a","epoch":"e","from":1,"to":2}',
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessageError, match="expected"):
        messages.decode(text)

"""docs/protocol.md says what the code does."""

import re
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from core.protocol import downstream
from core.protocol.codes import CLOSES, REJECTIONS, CloseReaction, Reaction
from core.protocol.upstream import Upstream

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")

# One of each message, with everything that it may hold.
SENT: dict[str, bytes] = {
    "ready": downstream.ready(
        connection_id="", epoch="", offset=0, principal={}, server_time_ms=0, heartbeat_ms=0, limits={}
    ),
    "subscribed": downstream.subscribed(id=1, topic="", view="", mode="live", epoch="", offset=0),
    "snapshot": downstream.snapshot(topic="", collection="c", records=[], last=True, epoch="", offset=0),
    "delta": downstream.delta(
        topic="", epoch="", from_offset=0, to_offset=0, changes=[], more=True, conflated=True
    ),
    "head": downstream.head(epoch="", offset=0, at_ms=0),
    "presence": downstream.presence(topic="", joined=[], left=[], changed=[], count=0),
    "signal": downstream.signal(topic="", event="", payload=None, sender={}),
    "unsubscribed": downstream.unsubscribed(id=1, topic="", reason="asked"),
    "purge": downstream.purge(topics=[], reason=""),
    "goaway": downstream.goaway(reconnect_after_ms=0),
    "rejected": downstream.rejected(id=1, code="forbidden", message=""),
    "pong": downstream.pong(sent_at_ms=0, server_time_ms=0),
}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def fields(title: str) -> dict[str, set[str]]:
    """The second column of a table of messages: names, with "?" where they may be left out."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section(title), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+\??)`", column)) for name, column in rows}


def test_the_messages_of_clients_are_those_that_are_read() -> None:
    models: tuple[Any, ...] = get_args(Upstream)
    expected = {
        get_args(model.model_fields["type"].annotation)[0]: {
            name if field.is_required() else f"{name}?"
            for name, field in model.model_fields.items()
            if name != "type"
        }
        for model in models
    }
    assert fields("From the client") == expected


@pytest.mark.parametrize("name", SENT)
def test_the_messages_of_the_server_are_those_that_are_sent(name: str) -> None:
    documented = {each.removesuffix("?") for each in fields("From the server")[name]}
    assert orjson.loads(SENT[name]).keys() - {"type"} == documented


def test_no_other_message_of_the_server_is_documented() -> None:
    assert fields("From the server").keys() == SENT.keys()


def test_the_table_of_close_codes_is_the_codes() -> None:
    rows = [f"| {code.value} | {row.meaning} | {row.reaction} |" for code, row in CLOSES.items()]
    assert re.findall(r"^\| \d+ \|.*\|$", section("Close codes"), re.MULTILINE) == rows
    for reaction in get_args(CloseReaction):
        assert f"\n- {reaction}: " in section("Close codes")


def test_the_table_of_rejections_is_the_codes() -> None:
    rows = [f"| `{code}` | {row.meaning} | {row.reaction} |" for code, row in REJECTIONS.items()]
    assert re.findall(r"^\| `\w+` \|.*\|$", section("Rejection codes"), re.MULTILINE) == rows
    for reaction in get_args(Reaction):
        assert f"\n- {reaction}: " in section("Rejection codes")

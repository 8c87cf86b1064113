"""Messages up and down, and the table of codes."""

from typing import Any, get_args

import orjson
import pytest

from core.protocol import downstream
from core.protocol.codes import CLOSES, REJECTIONS, CloseCode, RejectionCode
from core.protocol.position import Position, Since, why_no_replay
from core.protocol.upstream import (
    Authenticate,
    MalformedMessageError,
    SincePosition,
    Subscribe,
    decode_upstream,
)

CLIENT = "0191e0f2-0000-7000-8000-000000000000"


def test_a_message_is_read() -> None:
    message = decode_upstream(
        orjson.dumps({"type": "authenticate", "client_id": CLIENT, "token": "t", "new": 1})
    )
    assert message == Authenticate(type="authenticate", client_id=CLIENT, token="t")


def test_since_is_a_position_or_now_or_nothing() -> None:
    def since(value: Any) -> Any:
        message = decode_upstream(orjson.dumps({"type": "subscribe", "id": 1, "topic": "leads", **value}))
        assert isinstance(message, Subscribe)
        return message.since

    assert since({}) is None
    assert since({"since": None}) is None
    assert since({"since": "now"}) == "now"
    position = since({"since": {"epoch": "e", "offset": 5, "view": "v"}})
    assert isinstance(position, SincePosition)
    assert position.position() == Since("e", 5, "v")


def test_an_error_says_what_was_expected_and_quotes_nothing() -> None:
    with pytest.raises(MalformedMessageError) as refused:
        decode_upstream(orjson.dumps({"type": "authenticate", "client_id": CLIENT, "token": ["eyJsecret"]}))
    assert "token" in str(refused.value)
    assert "eyJsecret" not in str(refused.value)


def test_every_code_has_a_meaning_and_a_reaction() -> None:
    assert set(CLOSES) == set(CloseCode)
    assert set(REJECTIONS) == set(get_args(RejectionCode))
    for code, row in CLOSES.items():
        # The contract's ranges: 4000 to 4499 reconnect, from 4500 on something has to be done first.
        if 4000 <= code < 4500:
            assert row.reaction == "reconnect"
        if code >= 4500:
            assert row.reaction != "reconnect"


def test_lists_are_joined_from_parts_that_are_json_already() -> None:
    message = downstream.delta(
        topic='leads?name="',
        epoch="e",
        from_offset=1,
        to_offset=3,
        changes=[b'{"offset":2}', b'{"offset":3}'],
    )
    assert orjson.loads(message) == {
        "type": "delta",
        "topic": 'leads?name="',
        "epoch": "e",
        "from": 1,
        "to": 3,
        "changes": [{"offset": 2}, {"offset": 3}],
    }
    page = downstream.snapshot(
        topic="*", collection="leads", records=['{"id":"é"}'], last=True, epoch="e", offset=3
    )
    assert orjson.loads(page)["records"] == [{"id": "é"}]


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        (Since("e", 5, "v"), None),
        (Since("e", 10, "v"), None),
        (Since("other", 5, "v"), "other_epoch"),
        (Since("e", 5, "other"), "other_view"),
        (Since("e", 11, "v"), "beyond_head"),
        (Since("e", 2, "v"), "too_old"),
    ],
)
def test_a_position_goes_on_or_says_why_not(since: Since, reason: str | None) -> None:
    assert why_no_replay(since, head=Position("e", 10), view="v", oldest=3) == reason

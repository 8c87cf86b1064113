"""A conversation: what each message leads to in each phase."""

from typing import Any

import orjson
import pytest

from core.protocol.codes import CloseCode
from gateway.conversation import (
    MAX_WAITING,
    Close,
    Conversation,
    Effect,
    Follow,
    Note,
    Pass,
    Phase,
    Renew,
    Reply,
    Report,
    Show,
    SignIn,
    Unfollow,
)

CLIENT = "0191e0f2-0000-7000-8000-000000000000"
AUTHENTICATE = {"type": "authenticate", "client_id": CLIENT, "token": "t"}
PING = {"type": "ping", "sent_at_ms": 4}


def hear(conversation: Conversation, **message: Any) -> list[Effect]:
    return conversation.hear(orjson.dumps(message).decode(), 7)


def ready(**more: Any) -> Conversation:
    conversation = Conversation()
    hear(conversation, **AUTHENTICATE, **more)
    conversation.signed_in(7)
    return conversation


def test_the_first_message_signs_in() -> None:
    conversation = Conversation()
    assert hear(conversation, **AUTHENTICATE, receipts=True) == [SignIn("t")]
    assert (conversation.phase, conversation.client_id, conversation.receipts) == (
        Phase.SIGNING_IN,
        CLIENT,
        True,
    )


def test_any_other_first_message_ends_it() -> None:
    conversation = Conversation()
    [effect] = hear(conversation, **PING)
    assert isinstance(effect, Close)
    assert effect.code is CloseCode.NOT_AUTHENTICATED
    assert hear(conversation, **AUTHENTICATE) == []


def test_messages_wait_for_the_sign_in() -> None:
    conversation = Conversation()
    hear(conversation, **AUTHENTICATE)
    assert hear(conversation, **PING) == []
    assert hear(conversation, type="unsubscribe", id=1, topic="leads") == []
    effects = conversation.signed_in(7)
    assert [type(each) for each in effects] == [Reply, Unfollow]


def test_a_crowd_of_messages_does_not_wait() -> None:
    conversation = Conversation()
    hear(conversation, **AUTHENTICATE)
    for _ in range(MAX_WAITING):
        assert hear(conversation, **PING) == []
    [effect] = hear(conversation, **PING)
    assert isinstance(effect, Close)
    assert conversation.signed_in(7) == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (AUTHENTICATE, Renew),
        ({"type": "subscribe", "id": 1, "topic": "leads"}, Follow),
        ({"type": "unsubscribe", "id": 1, "topic": "leads"}, Unfollow),
        (PING, Reply),
        ({"type": "receipt", "offset": 1, "shown_at_ms": 2}, Report),
        ({"type": "purged", "topics": ["leads"]}, Note),
        ({"type": "announce", "topic": "leads", "state": {}}, Show),
        ({"type": "signal", "topic": "leads", "event": "e"}, Pass),
    ],
)
def test_each_message_has_its_effect(message: dict[str, Any], kind: type[Effect]) -> None:
    [effect] = hear(ready(receipts=True), **message)
    assert isinstance(effect, kind)


def test_receipts_count_only_from_those_who_said_that_they_send_them() -> None:
    assert hear(ready(), type="receipt", offset=1, shown_at_ms=2) == []


def test_what_is_malformed_ends_it_and_nothing_is_heard_after() -> None:
    conversation = ready()
    [effect] = conversation.hear("{", 7)
    assert isinstance(effect, Close)
    assert effect.code is CloseCode.MALFORMED_MESSAGE
    assert hear(conversation, **PING) == []

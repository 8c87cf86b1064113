"""PURE. What gateways tell each other about presence, and the signals that they pass on.

A **bulletin** is one JSON object on an organisation's presence channel. It is of the moment: nobody stores it, and
one that is lost is made good by the next refresh. Records are named, never told: each gateway asks PostgreSQL itself
what is in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.protocol.publication import channel_of_organization
from gateway.roster import About, Entry, Person

VERSION = 1
ENTRIES_AT_ONCE = 50
"""Entries in one bulletin; a state is at most 1 KiB, so this is far below what delays others."""
_SUFFIX = ":presence"


class BulletinError(ValueError):
    """What came is not a bulletin of this version; says what was expected."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A gateway that has just begun to listen asks for the others' entries."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Entries that are new or fresh, and (connection, topic) of those that are gone.

    `answer` is the gateway that has asked, if this is the last part of the answer to it.
    """

    put: Sequence[Entry] = ()
    drop: Sequence[tuple[str, str]] = ()
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class PassOn:
    """A signal."""

    person: Person
    topic: str
    event: str
    payload: Any
    about: About | None = None
    only_if_found: bool = True
    """Whether a record that cannot be found means that nobody may hear of it."""


Bulletin = Ask | Tell | PassOn


def channel_of_presence(organization_id: str) -> str:
    """Name the Redis channel on which gateways tell each other who is here."""
    return channel_of_organization(organization_id) + _SUFFIX


def organization_of_channel(channel: str) -> str | None:
    """Give the organisation whose presence channel this is; None if it is another channel."""
    if not channel.endswith(f"}}{_SUFFIX}"):
        return None
    return channel[channel.index("{") + 1 : -len(_SUFFIX) - 1]


def encode_bulletin(gateway_id: str, organization_id: str, bulletin: Bulletin) -> bytes:
    """Give the JSON of a bulletin."""
    head = {"v": VERSION, "gateway": gateway_id, "organization_id": organization_id}
    match bulletin:
        case Ask():
            return orjson.dumps({**head, "kind": "ask"})
        case Tell(put, drop, answer):
            puts = [_entry_to_json(each) for each in put]
            return orjson.dumps({**head, "kind": "tell", "put": puts, "drop": drop, "answer": answer})
        case PassOn():
            body = {
                "kind": "signal",
                "person": _person_to_json(bulletin.person),
                "topic": bulletin.topic,
                "event": bulletin.event,
                "payload": bulletin.payload,
                "about": _about_to_json(bulletin.about),
                "only_if_found": bulletin.only_if_found,
            }
            return orjson.dumps({**head, **body})


def decode_bulletin(data: bytes, organization_id: str) -> tuple[str, Bulletin]:
    """Read a bulletin of an organisation; give who sent it, too. Raises BulletinError."""
    try:
        message = orjson.loads(data)
        if message["v"] != VERSION:
            raise BulletinError(f"expected version {VERSION} of a bulletin, got {message['v']!r}")
        # The channel is the organisation's to whom it goes; a bulletin of another never gets there (I8).
        if message["organization_id"] != organization_id:
            raise BulletinError("expected a bulletin of the channel's organisation, got another's")
        return str(message["gateway"]), _bulletin_from_json(message)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BulletinError(f"expected a bulletin: {type(error).__name__}: {error}") from error


def _bulletin_from_json(message: Mapping[str, Any]) -> Bulletin:
    match message["kind"]:
        case "ask":
            return Ask()
        case "tell":
            gateway = message["gateway"]
            return Tell(
                put=[_entry_from_json(gateway, each) for each in message["put"]],
                drop=[(connection_id, topic) for connection_id, topic in message["drop"]],
                answer=message["answer"],
            )
        case "signal":
            return PassOn(
                person=Person(*message["person"]),
                topic=message["topic"],
                event=message["event"],
                payload=message["payload"],
                about=_about_from_json(message["about"]),
                only_if_found=message["only_if_found"],
            )
        case kind:
            raise BulletinError(f"expected a kind of bulletin that is known, got {kind!r}")


def _entry_to_json(entry: Entry) -> list[Any]:
    return [_person_to_json(entry.person), entry.topic, entry.state, _about_to_json(entry.about)]


def _entry_from_json(gateway_id: str, data: list[Any]) -> Entry:
    person, topic, state, about = data
    return Entry(gateway_id, Person(*person), topic, state, _about_from_json(about))


def _person_to_json(person: Person) -> list[Any]:
    return [person.connection_id, person.user_id, person.name, person.branch_id]


def _about_to_json(about: About | None) -> list[Any] | None:
    return None if about is None else [about.collection, about.record_id, about.field, about.is_lease]


def _about_from_json(data: list[Any] | None) -> About | None:
    return None if data is None else About(*data)

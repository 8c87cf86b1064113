"""PURE. What the relay publishes for the gateways: publications of changes, and its heartbeat.

A **publication** is one JSON object on the Redis channel of its organisation. It holds whole database
transactions: `from_offset` (exclusive) and `to_offset` are positions between transactions. A transaction
whose JSON is larger than `MAX_PUBLICATION_BYTES` comes as pages with the same range, counted by `page` from
0, `more` true in all but the last. Every publication and heartbeat carries the shard of the relay that sent
it and the term of its lease: a reader ignores what comes from a term below the highest that it has seen
(`TermGuard`).

The relay has the JSON of a change from the database and passes it on unread (`encode_publication_of_texts`).
Where it cannot (a change that no JSON reader takes, changes pruned before they were published), the
publication is `unreadable`: it completes the range and holds no changes, and whoever subscribes to something
in it takes a snapshot.

A heartbeat says every second that the way through Redis is open, and the head of each organisation that was
active in the last minute, so that a gateway which missed the last publication notices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.protocol.change import LoggedChange, change_from_json, change_to_json

VERSION = 1
"""Version of this format; a reader refuses another."""

MAX_PUBLICATION_BYTES = 256 * 1024
"""Bytes of JSON of changes after which a transaction is split into pages."""

HEARTBEAT_SECONDS = 1.0
"""Time between two heartbeats of a shard."""


class PublicationError(ValueError):
    """What came from Redis is not a publication or heartbeat of this version; says what was expected."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Changes of one organisation after `from_offset` up to and including `to_offset`.

    `unreadable`: the changes cannot be had in this way; there are none, and pages of the same range that came
    before do not count.
    """

    shard: int
    term: int
    organization_id: str
    epoch: str
    from_offset: int
    to_offset: int
    page: int
    more: bool
    published_at_ms: int
    changes: tuple[LoggedChange, ...]
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A relay lives and its way to Redis is open. `heads`: organisation → head, of those active in the last
    minute.
    """

    shard: int
    term: int
    epoch: str
    at_ms: int
    heads: dict[str, int]


@dataclass(slots=True)
class TermGuard:
    """Tells publications of the relay that holds a shard from those of one that was deposed."""

    highest: dict[int, int] = field(default_factory=dict)

    def admits(self, shard: int, term: int) -> bool:
        """Whether `term` is not below the highest seen of `shard`; remembers it if so."""
        if term < self.highest.get(shard, 0):
            return False
        self.highest[shard] = term
        return True


def channel_of_organization(organization_id: str) -> str:
    """Name the Redis channel of an organisation; the braces keep its keys on one node of a cluster."""
    return f"branchline:{{{organization_id}}}"


def channel_of_heartbeat(shard: int) -> str:
    """Name the Redis channel on which a shard's relay says every second that it lives."""
    return f"branchline:heartbeat:{shard}"


def encode_publication(publication: Publication) -> bytes:
    """Give the JSON of a publication."""
    return encode_publication_of_texts(
        publication, [orjson.dumps(change_to_json(change)) for change in publication.changes]
    )


def encode_publication_of_texts(publication: Publication, texts: Sequence[bytes]) -> bytes:
    """Give the JSON of a publication whose changes are JSON already, each in the form of `change_to_json`.

    `publication.changes` is not looked at.
    """
    head = {
        "v": VERSION,
        "shard": publication.shard,
        "term": publication.term,
        "organization_id": publication.organization_id,
        "epoch": publication.epoch,
        "from": publication.from_offset,
        "to": publication.to_offset,
        "page": publication.page,
        "more": publication.more,
        "published_at_ms": publication.published_at_ms,
    }
    if publication.unreadable:
        head["unreadable"] = True
    return b'%b,"changes":[%b]}' % (orjson.dumps(head)[:-1], b",".join(texts))


def decode_publication(data: bytes | str) -> Publication:
    """Read a publication. Raises PublicationError."""
    message = _decode(data, "publication")
    try:
        return Publication(
            shard=message["shard"],
            term=message["term"],
            organization_id=message["organization_id"],
            epoch=message["epoch"],
            from_offset=message["from"],
            to_offset=message["to"],
            page=message["page"],
            more=message["more"],
            published_at_ms=message["published_at_ms"],
            changes=tuple(change_from_json(change) for change in message["changes"]),
            unreadable=message.get("unreadable", False),
        )
    except (KeyError, TypeError) as error:
        raise PublicationError(f"expected a publication, got one without {error}") from error


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Give the JSON of a heartbeat."""
    return orjson.dumps(
        {
            "v": VERSION,
            "shard": heartbeat.shard,
            "term": heartbeat.term,
            "epoch": heartbeat.epoch,
            "at_ms": heartbeat.at_ms,
            "heads": heartbeat.heads,
        }
    )


def decode_heartbeat(data: bytes | str) -> Heartbeat:
    """Read a heartbeat. Raises PublicationError."""
    message = _decode(data, "heartbeat")
    try:
        return Heartbeat(
            shard=message["shard"],
            term=message["term"],
            epoch=message["epoch"],
            at_ms=message["at_ms"],
            heads=message["heads"],
        )
    except (KeyError, TypeError) as error:
        raise PublicationError(f"expected a heartbeat, got one without {error}") from error


def split_commit(
    changes: Sequence[LoggedChange], limit_bytes: int = MAX_PUBLICATION_BYTES
) -> list[list[LoggedChange]]:
    """Cut the changes of one transaction into pages whose JSON is at most `limit_bytes` each.

    A change that alone is larger has a page of its own. Order is kept; at least one page is given.
    """
    pages: list[list[LoggedChange]] = [[]]
    used = 0
    for change in changes:
        size = len(orjson.dumps(change_to_json(change))) + 1
        if pages[-1] and used + size > limit_bytes:
            pages.append([])
            used = 0
        pages[-1].append(change)
        used += size
    return pages


def _decode(data: bytes | str, kind: str) -> dict[str, Any]:
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise PublicationError(f"expected the JSON of a {kind}: {error}") from error
    if not isinstance(message, dict):
        raise PublicationError(f"expected a JSON object as {kind}, got {type(message).__name__}")
    if message.get("v") != VERSION:
        raise PublicationError(f"expected version {VERSION} of a {kind}, got {message.get('v')!r}")
    return message

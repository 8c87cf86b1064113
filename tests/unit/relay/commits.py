"""Commits and changes for the relay's unit tests."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

import orjson

from core.protocol.publication import Publication, decode_publication
from gateway.relay.backlog import Backlog, Commit, Part
from gateway.relay.bundle import Outgoing

DAY = date(2026, 5, 4)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def organization(number: int) -> UUID:
    """The id of the organisation of this number."""
    return uuid5(UUID(int=0), str(number))


def commits(organization_number: int, *sizes: int, first: int = 1) -> list[Commit]:
    """Commits of these sizes, one after the other, from offset `first`."""
    made = []
    for size in sizes:
        made.append(Commit(organization(organization_number), 1000 + first, first, size, DAY, NOON))
        first += size
    return made


def change_text(part: Part, ordinal: int, size_bytes: int = 0) -> str:
    """The JSON of a change as the database gives it, with a record of about `size_bytes`."""
    change = {
        "offset": part.commit.first + ordinal - 1,
        "collection": "leads",
        "id": "01990000-0000-7000-8000-000000000001",
        "operation": "insert",
        "version": 1,
        "record": {"notes": "x" * size_bytes},
        "changed": [],
        "previous": {},
        "clock": "c",
        "actor": None,
        "mutation_id": None,
        "transaction": "t",
        "committed_at_ms": 1,
        "overwrote": None,
        "last_of_commit": part.commit.last,
    }
    return orjson.dumps(change).decode()


def read(parts: Iterable[Part], size_bytes: int = 0) -> list[tuple[int, int, str]]:
    """What the database gives for these parts."""
    return [
        (number, ordinal, change_text(part, ordinal, size_bytes))
        for number, part in enumerate(parts, 1)
        for ordinal in range(part.after + 1, part.upto + 1)
    ]


def publications(outgoing: Iterable[Outgoing]) -> list[Publication]:
    """What a gateway reads."""
    return [decode_publication(each.body) for each in outgoing]


def publish(backlog: Backlog, now: float = 0.0) -> list[tuple[UUID, int, int]]:
    """Publish one round whole; the organisation and the offsets (exclusive, inclusive) of each part, in order."""
    out = []
    moved: dict[UUID, tuple[int, int]] = {}
    for part in backlog.choose(now):
        out.append(
            (
                part.commit.organization_id,
                part.commit.first + part.after - 1,
                part.commit.first + part.upto - 1,
            )
        )
        ends = part.upto == part.commit.size
        moved[part.commit.organization_id] = (
            (part.commit.last, 0) if ends else (part.commit.first - 1, part.upto)
        )
    for organization_id, (published, taken) in moved.items():
        backlog.advance(organization_id, published, taken)
    return out

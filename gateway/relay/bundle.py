"""PURE. Makes publications of the changes that were read.

A publication holds whole database transactions: small ones together up to `BUNDLE_BYTES`, a larger one alone, and one
above `MAX_PUBLICATION_BYTES` in pages. A transaction that takes several rounds to read is paged as it comes, so the
relay never holds more of it than a page.

The JSON of a change comes from the database and is not parsed on its way; that every publication can be read is
still proven, by reading it once, before it goes out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from core.protocol.publication import MAX_PUBLICATION_BYTES, Publication, encode_publication_of_texts
from gateway.relay.backlog import Part, Progress

BUNDLE_BYTES = 64 * 1024
"""Bytes of JSON up to which transactions go together into one publication."""


class UnreadableChangeError(ValueError):
    """What was read of an organisation's log makes no publication; says why."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who publishes: what every publication says of its relay."""

    shard: int
    term: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A publication, encoded. `committed` has the times of the commits that it completes."""

    organization_id: UUID
    body: bytes
    changes: int
    committed: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class Bundled:
    """What an organisation publishes in a round, and how far that brings it: see Backlog.advance."""

    outgoing: list[Outgoing]
    published: int
    read: int


@dataclass(slots=True)
class _Open:
    """Texts that are not in a publication yet: of whole transactions, or of one that is being paged."""

    texts: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    page: int = 0

    def add(self, text: bytes) -> None:
        self.texts.append(text)
        self.size_bytes += len(text) + 1


class Bundler:
    """Makes publications for one leadership. Remembers, for each organisation, the page that is not full yet."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._unfinished: dict[UUID, _Open] = {}

    def bundle(self, progress: Progress, read: Sequence[tuple[Part, list[str]]], now_ms: int) -> Bundled:
        """Make publications of parts of one organisation's commits, in order, each with the JSON of its changes.

        A part may have fewer changes than it should, if it is the last: the rest is read in the next round. Raises
        UnreadableChangeError, and forgets what it remembered of the organisation, if a change cannot be read.
        """
        unfinished = self._unfinished.pop(progress.organization_id, None)
        making = _Making(self._sender, progress, now_ms, unfinished)
        for part, texts in read:
            making.take(part, [text.encode() for text in texts])
        bundled = making.finish()
        for outgoing in bundled.outgoing:
            try:
                orjson.loads(outgoing.body)
            except orjson.JSONDecodeError as error:
                raise UnreadableChangeError(
                    f"organisation {progress.name}, after offset {progress.published}: {error}"
                ) from None
        if making.unfinished is not None:
            self._unfinished[progress.organization_id] = making.unfinished
        return bundled

    def forget(self, organization_id: UUID) -> None:
        """Drop what was read of a transaction that is not finished: it will be read again from its first change."""
        self._unfinished.pop(organization_id, None)

    def marker(self, progress: Progress, after: int, to: int, now_ms: int) -> Outgoing:
        """Make the publication that stands for changes after `after` up to `to` which cannot be had."""
        self.forget(progress.organization_id)
        publication = _publication(self._sender, progress.name, after, to, now_ms, unreadable=True)
        return Outgoing(progress.organization_id, encode_publication_of_texts(publication, []), 0, ())


class _Making:
    """One organisation's publications of one round, while they are made."""

    def __init__(self, sender: Sender, progress: Progress, now_ms: int, unfinished: _Open | None) -> None:
        self.unfinished = unfinished
        self._sender = sender
        self._name = progress.name
        self._organization_id = progress.organization_id
        self._now_ms = now_ms
        self._outgoing: list[Outgoing] = []
        self._start = self._published = progress.published
        self._read = progress.read
        self._bundle = _Open()
        self._committed: list[datetime] = []

    def take(self, part: Part, texts: list[bytes]) -> None:
        if part.after != self._read:
            raise UnreadableChangeError(
                f"organisation {self._name}: expected change {self._read + 1} of its transaction, got {part.after + 1}"
            )
        commit = part.commit
        self._read = part.after + len(texts)
        ends = self._read == commit.size
        size_bytes = sum(map(len, texts)) + len(texts)
        if self.unfinished is None and ends and size_bytes <= MAX_PUBLICATION_BYTES:
            if self._bundle.texts and self._bundle.size_bytes + size_bytes > BUNDLE_BYTES:
                self._send_bundle()
            self._bundle.texts += texts
            self._bundle.size_bytes += size_bytes
            self._complete(commit.last, commit.numbered_at)
            return
        self._send_bundle()
        self.unfinished = page = self.unfinished or _Open()
        for text in texts:
            if page.texts and page.size_bytes + len(text) >= MAX_PUBLICATION_BYTES:
                self._send_page(page, commit.last, more=True)
            page.add(text)
        if ends:
            self._complete(commit.last, commit.numbered_at)
            self._send_page(page, commit.last, more=False)
            self._start = commit.last
            self.unfinished = None

    def finish(self) -> Bundled:
        self._send_bundle()
        return Bundled(self._outgoing, self._published, self._read)

    def _complete(self, last: int, numbered_at: datetime) -> None:
        self._committed.append(numbered_at)
        self._published = last
        self._read = 0

    def _send_bundle(self) -> None:
        if self._bundle.texts:
            publication = _publication(self._sender, self._name, self._start, self._published, self._now_ms)
            self._send(publication, self._bundle.texts)
            self._start = self._published
            self._bundle = _Open()

    def _send_page(self, page: _Open, last: int, *, more: bool) -> None:
        publication = _publication(
            self._sender, self._name, self._start, last, self._now_ms, page=page.page, more=more
        )
        self._send(publication, page.texts)
        page.texts, page.size_bytes, page.page = [], 0, page.page + 1

    def _send(self, publication: Publication, texts: list[bytes]) -> None:
        body = encode_publication_of_texts(publication, texts)
        self._outgoing.append(Outgoing(self._organization_id, body, len(texts), tuple(self._committed)))
        self._committed = []


def _publication(
    sender: Sender,
    organization_id: str,
    after: int,
    to: int,
    now_ms: int,
    *,
    page: int = 0,
    more: bool = False,
    unreadable: bool = False,
) -> Publication:
    return Publication(
        shard=sender.shard,
        term=sender.term,
        organization_id=organization_id,
        epoch=sender.epoch,
        from_offset=after,
        to_offset=to,
        page=page,
        more=more,
        published_at_ms=now_ms,
        changes=(),
        unreadable=unreadable,
    )


def group(
    parts: Sequence[Part], rows: Iterable[tuple[int, int, str]]
) -> Iterator[list[tuple[Part, list[str]]]]:
    """Put what was read (number of the part from 1, ordinal, JSON of the change; in order) to its parts.

    Gives, for each organisation in turn, its parts with their changes. What was asked for and did not come is left
    out at the end, where reading stopped at its limit of bytes. Raises UnreadableChangeError for a change that is
    missing before that.
    """
    texts: list[list[str]] = [[] for _ in parts]
    came = 0
    for number, ordinal, text in rows:
        if number != came:
            for earlier in range(max(0, came - 1), number - 1):
                _expect(parts[earlier], texts[earlier], parts[earlier].upto + 1)
            came = number
        _expect(parts[number - 1], texts[number - 1], ordinal)
        texts[number - 1].append(text)
    if not came:
        _expect(parts[0], [], parts[0].upto + 1)
    found: list[tuple[Part, list[str]]] = []
    for part, part_texts in zip(parts[:came], texts[:came], strict=True):
        if found and found[-1][0].commit.organization_id != part.commit.organization_id:
            yield found
            found = []
        found.append((part, part_texts))
    yield found


def _expect(part: Part, texts: list[str], ordinal: int) -> None:
    if ordinal != part.after + len(texts) + 1:
        raise UnreadableChangeError(
            f"organisation {part.commit.organization_id}: change {part.after + len(texts) + 1} of transaction "
            f"{part.commit.transaction_id} is not in the log"
        )

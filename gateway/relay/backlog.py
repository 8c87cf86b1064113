"""PURE. What is committed and not yet published, organisation by organisation, and what to publish next.

The log of an organisation is a row of commits without a gap (I1), so its backlog is a queue that begins right after
its published offset. Whatever does not fit that (a commit that was missed, a queue that would grow too long) is not
guessed at: the organisation is *adrift*, and its commits are read again from its published offset.

Organisations take turns, and one that fails waits alone: it is tried again later, one commit at a time, so that the
commit that cannot be published is found; after `TRIES` of them that commit is given up and a marker takes its place.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

ROUND_CHANGES = 2000
"""Changes that are read and published in one round, over all organisations."""

PART_CHANGES = 500
"""Changes of one commit that are read at once; a larger commit takes several rounds, and others have theirs between."""

QUEUE_COMMITS = 5000
"""Commits that are remembered for an organisation; what comes after them is read again when they are published."""

BURST_BYTES = 1024 * 1024
BYTES_A_SECOND = 16 * 1024 * 1024
"""What an organisation may publish at once, and how fast beyond that. The relay could send ten times as much; a reader
that cannot take it would fill its buffer in Redis, be cut off there, and read the log in place of it."""

TRIES = 5
RETRY_SECONDS = 0.05

ACTIVE_SECONDS = 60.0
"""How long an organisation's head goes with the heartbeats after it moved."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The changes that one transaction made in one organisation: offsets from `first` to `last`.

    `texts` are their JSON, where the reading that found the commit brought it.
    """

    organization_id: UUID
    transaction_id: int
    first: int
    size: int
    logged_on: date
    numbered_at: datetime
    texts: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def last(self) -> int:
        """The offset of its last change."""
        return self.first + self.size - 1


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a commit's changes: ordinals above `after` up to and including `upto`."""

    commit: Commit
    after: int
    upto: int

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The JSON of these changes, if it has been read with the commit."""
        texts = self.commit.texts
        return texts[self.after : self.upto] if texts is not None else None


@dataclass(slots=True)
class Progress:
    """One organisation: everything up to `published` is out, `commits` follow it, `head` is the newest offset known.

    `read` counts the changes of the first commit that have been read already, for one that takes several rounds.
    It has its next turn not before `next_at`; at `taken_at` readers may have taken everything that is out.
    """

    organization_id: UUID
    published: int = 0
    head: int = 0
    commits: deque[Commit] = field(default_factory=deque)
    adrift: bool = False
    read: int = 0
    tries: int = 0
    next_at: float = 0.0
    taken_at: float = 0.0
    moved_at: float = -ACTIVE_SECONDS
    name: str = ""

    def __post_init__(self) -> None:
        self.name = str(self.organization_id)

    @property
    def expected(self) -> int:
        """The offset with which the next commit must begin."""
        return (self.commits[-1].last if self.commits else self.published) + 1


class Backlog:
    """The backlog of one shard. Every method is told the time in seconds, on any one clock."""

    def __init__(self) -> None:
        self._progress: dict[UUID, Progress] = {}
        self._waiting: dict[UUID, None] = {}

    def of(self, organization_id: UUID) -> Progress:
        """Where an organisation stands. One that is new has published nothing and has no changes."""
        progress = self._progress.get(organization_id)
        if progress is None:
            progress = self._progress[organization_id] = Progress(organization_id)
        return progress

    def stand(
        self,
        organization_id: UUID,
        *,
        published: int,
        head: int,
        now: float,
        moved_at: float = -ACTIVE_SECONDS,
    ) -> None:
        """Begin with an organisation that has published up to `published` of `head`, which moved at `moved_at`."""
        self._waiting.pop(organization_id, None)
        progress = self._progress[organization_id] = Progress(
            organization_id, published=published, head=head, moved_at=moved_at
        )
        if head > published:
            self._drift(progress, now)

    def note(self, commits: Iterable[Commit], now: float) -> int:
        """Take in commits that have become visible, in any order. Gives how many organisations had a gap before."""
        gaps = 0
        for commit in sorted(commits, key=lambda commit: commit.first):
            progress = self.of(commit.organization_id)
            progress.head = max(progress.head, commit.last)
            progress.moved_at = now
            if progress.adrift or commit.last < progress.expected:
                continue
            if commit.first != progress.expected:
                gaps += 1
                self._drift(progress, now)
            elif len(progress.commits) >= QUEUE_COMMITS:
                self._drift(progress, now)
            else:
                progress.commits.append(commit)
                self._waiting[commit.organization_id] = None
        return gaps

    def behind(self, organization_id: UUID, head: int, now: float) -> None:
        """A comparison found `head` beyond what is known: read the organisation's commits again."""
        progress = self.of(organization_id)
        progress.head = max(progress.head, head)
        if not progress.adrift and progress.expected <= head:
            self._drift(progress, now)

    def adrift(self) -> list[Progress]:
        """Organisations whose queue is used up and whose next commits must be read from the log."""
        return [
            progress
            for organization_id in self._waiting
            if (progress := self._progress[organization_id]).adrift and not progress.commits
        ]

    def refill(
        self, progress: Progress, commits: Sequence[Commit], *, complete: bool
    ) -> tuple[int, int] | None:
        """Take in the commits that follow an adrift organisation's published offset, in order.

        `complete` says that there were no more of them. Gives the range (exclusive, inclusive) of offsets that the
        log no longer holds, if the first commit does not follow the published offset: they are taken as published.
        """
        lost = None
        if commits and commits[0].first != progress.published + 1:
            lost = (progress.published, commits[0].first - 1)
            progress.published = commits[0].first - 1
        progress.commits = deque(commits)
        progress.adrift = not complete
        if progress.commits:
            progress.head = max(progress.head, progress.commits[-1].last)
        elif complete:
            self._waiting.pop(progress.organization_id, None)
        return lost

    def choose(self, now: float) -> list[Part]:
        """The parts to read next, an organisation after the other, each in the order of its log.

        Whoever was served goes to the end of the row. An organisation that failed gets one part.
        """
        parts: list[Part] = []
        room = ROUND_CHANGES
        for organization_id in list(self._waiting):
            progress = self._progress[organization_id]
            if not progress.commits or progress.next_at > now:
                continue
            room -= self._take(progress, parts, room)
            self._waiting[organization_id] = self._waiting.pop(organization_id)
            if room <= 0:
                break
        return parts

    def _take(self, progress: Progress, parts: list[Part], room: int) -> int:
        taken = 0
        after = progress.read
        for commit in progress.commits:
            upto = min(commit.size, after + PART_CHANGES)
            if taken and taken + upto - after > room:
                break
            parts.append(Part(commit, after, upto))
            taken += upto - after
            if upto < commit.size or progress.tries:
                break
            after = 0
        return taken

    def advance(self, organization_id: UUID, published: int, read: int) -> None:
        """Everything up to `published` is out, and `read` changes of the commit after it have been taken."""
        progress = self._progress[organization_id]
        while progress.commits and progress.commits[0].last <= published:
            progress.commits.popleft()
        if published > progress.published:
            progress.published = published
            progress.tries = 0
        progress.head = max(progress.head, published)
        progress.read = read
        if not progress.commits and not progress.adrift:
            self._waiting.pop(organization_id, None)

    def fail(self, organization_id: UUID, now: float) -> Commit | None:
        """What was chosen of an organisation cannot be published. Gives the commit to give up, after enough tries."""
        progress = self._progress[organization_id]
        progress.read = 0
        progress.tries += 1
        progress.next_at = now + RETRY_SECONDS * 2 ** (progress.tries - 1)
        return progress.commits[0] if progress.tries >= TRIES else None

    def pace(self, organization_id: UUID, sent_bytes: int, now: float) -> None:
        """So many bytes were published: what comes next waits until readers may have taken all but a burst of them."""
        progress = self._progress[organization_id]
        progress.taken_at = max(progress.taken_at, now) + sent_bytes / BYTES_A_SECOND
        progress.next_at = max(progress.next_at, progress.taken_at - BURST_BYTES / BYTES_A_SECOND)

    def due_at(self) -> float:
        """When there is something to read or to publish; infinity if nothing waits."""
        return min((self._progress[key].next_at for key in self._waiting), default=math.inf)

    def known(self) -> list[Progress]:
        """All organisations that have a log."""
        return list(self._progress.values())

    def active_heads(self, now: float) -> dict[str, int]:
        """Organisation → published offset, of those whose head moved in the last `ACTIVE_SECONDS`."""
        return {
            progress.name: progress.published
            for progress in self._progress.values()
            if progress.moved_at > now - ACTIVE_SECONDS
        }

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def lag(self) -> int:
        """Changes that are known to be committed and are not published."""
        return sum(self._progress[key].head - self._progress[key].published for key in self._waiting)

    def head(self) -> int:
        """The sum of all heads: how many changes there have been."""
        return sum(progress.head for progress in self._progress.values())

    def oldest(self) -> datetime | None:
        """When the oldest commit that waits was committed, as far as it is known."""
        waiting = (self._progress[key].commits for key in self._waiting)
        return min((commits[0].numbered_at for commits in waiting if commits), default=None)

    def _drift(self, progress: Progress, now: float) -> None:
        progress.adrift = True
        progress.moved_at = now
        self._waiting[progress.organization_id] = None

"""Makes the next round of publications: whose turn it is, what they have, and what cannot be had.

What cannot be read or encoded holds up its own organisation for a moment and nobody else; after some tries a marker
takes its place, and its subscribers take a snapshot.
"""

import time
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import structlog

from gateway.relay import metrics
from gateway.relay.backlog import Backlog, Part
from gateway.relay.bundle import Bundler, Outgoing, UnreadableChangeError, group
from gateway.relay.outbox import COMMITS_AT_ONCE, Outbox, speaks_of_data

ORGANIZATIONS_AT_ONCE = 100
"""Organisations whose commits are read again at once when they are behind."""

log = structlog.get_logger()

Read = list[tuple[Part, list[str]]]
"""What was read of one organisation: parts of its commits, each with the JSON of its changes."""


@dataclass(slots=True)
class Round:
    """Publications that were made together, and how far each organisation is once they are out: see Backlog.advance.

    `sent` counts those that are out already.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    moved: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    sent: int = 0

    def __bool__(self) -> bool:
        return bool(self.outgoing or self.moved)


class Rounds:
    """Makes rounds of what `backlog` has, one after the other; a round must be out before the next is made."""

    def __init__(self, outbox: Outbox, backlog: Backlog, bundler: Bundler) -> None:
        self._outbox = outbox
        self._backlog = backlog
        self._bundler = bundler

    async def make(self, now: float) -> Round:
        """The next round; an empty one if there is nothing. Raises OSError, TimeoutError or an asyncpg error."""
        made = Round()
        await self._refill(made)
        parts = self._backlog.choose(now)
        if not parts:
            return made
        try:
            groups = list(group(parts, await self._read(parts)))
        except UnreadableChangeError:
            groups = await self._read_apart(made, parts, now)
        except asyncpg.PostgresError as error:
            if not speaks_of_data(error):
                raise
            groups = await self._read_apart(made, parts, now)
        for read in groups:
            progress = self._backlog.of(read[0][0].commit.organization_id)
            try:
                bundled = self._bundler.bundle(progress, read, now_ms())
            except UnreadableChangeError as error:
                self._fail(made, progress.organization_id, error, now)
                continue
            made.outgoing += bundled.outgoing
            made.moved[progress.organization_id] = (bundled.published, bundled.read)
        return made

    async def _read(self, parts: list[Part]) -> list[tuple[int, int, str]]:
        """Number of the part, ordinal and JSON of each change: from the database, unless all came with the news."""
        known = [
            (number, ordinal, text)
            for number, part in enumerate(parts, 1)
            for ordinal, text in enumerate(part.texts or (), part.after + 1)
        ]
        complete = len(known) == sum(part.upto - part.after for part in parts)
        return known if complete else await self._outbox.fetch_parts(parts)

    async def _refill(self, made: Round) -> None:
        """Read the commits of organisations that are behind further than they remember."""
        adrift = self._backlog.adrift()[:ORGANIZATIONS_AT_ONCE]
        if not adrift:
            return
        found = await self._outbox.fetch_commits([(each.organization_id, each.published) for each in adrift])
        for progress in adrift:
            commits = found[progress.organization_id]
            lost = self._backlog.refill(progress, commits, complete=len(commits) < COMMITS_AT_ONCE)
            if lost is not None:
                log.error("changes_pruned", organization=progress.name, after=lost[0], to=lost[1])
                made.outgoing.append(self._bundler.marker(progress, *lost, now_ms()))
                metrics.unreadable.inc()

    async def _read_apart(self, made: Round, parts: list[Part], now: float) -> list[Read]:
        """Read each organisation by itself, so that the one that cannot be read fails alone."""
        apart: dict[UUID, list[Part]] = {}
        for part in parts:
            apart.setdefault(part.commit.organization_id, []).append(part)
        groups: list[Read] = []
        for organization_id, own in apart.items():
            try:
                groups += group(own, await self._outbox.fetch_parts(own))
            except UnreadableChangeError as error:
                self._fail(made, organization_id, error, now)
            except asyncpg.PostgresError as error:
                if not speaks_of_data(error):
                    raise
                self._fail(made, organization_id, error, now)
        return groups

    def _fail(self, made: Round, organization_id: UUID, error: Exception, now: float) -> None:
        """Put an organisation aside for a moment; after enough tries give up the commit that it stands at."""
        self._bundler.forget(organization_id)
        given_up = self._backlog.fail(organization_id, now)
        # What the database says of a row may quote it: the class of the error must do.
        what = str(error) if isinstance(error, UnreadableChangeError) else type(error).__name__
        log.error(
            "changes_unreadable", organization=str(organization_id), error=what, given_up=given_up is not None
        )
        if given_up is not None:
            progress = self._backlog.of(organization_id)
            made.outgoing.append(self._bundler.marker(progress, progress.published, given_up.last, now_ms()))
            made.moved[organization_id] = (given_up.last, 0)
            metrics.unreadable.inc()


def now_ms() -> int:
    """The time, in Unix milliseconds."""
    return time.time_ns() // 1_000_000

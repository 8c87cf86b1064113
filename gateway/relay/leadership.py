"""Which of the relays works: a lease in the database, with a term.

One relay leads a shard. It holds the lease for `LEASE_SECONDS` and renews it every `RENEW_SECONDS`; others look
every `STANDBY_SECONDS` and take it once it has expired, under a greater term. A lease, because a process that is
stopped (SIGSTOP, a frozen machine) would hold an advisory lock for ever.

Whether the lease has expired is decided by the database's clock alone. The leader trusts a lease only until its own
deadline, counted on a clock that never jumps from the moment *before* the statement was sent: it stops before anybody
else can begin. What a stopped leader still sends when it wakes carries its old term, and readers ignore that.

A new term is the greater of the last one plus one and the time in seconds: it goes up even over a restore of an older
copy of the database, which knows nothing of the terms that came after it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from core.cancellation import raise_if_cancelled
from gateway.relay.held import DATABASE_ERRORS

LEASE_SECONDS = 3.0
RENEW_SECONDS = 1.0
RETRY_SECONDS = 0.2
STANDBY_SECONDS = 0.5
MARGIN_SECONDS = 0.2
"""A leader stops this long before its lease ends, so that clocks of slightly different speed do not matter."""
STATEMENT_SECONDS = 1.0
"""How long one statement about the lease may take."""

log = structlog.get_logger()


def boot_time() -> float:
    """Seconds on a clock that never jumps and that goes on while the machine sleeps, where there is such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class LeadershipLostError(Exception):
    """This relay no longer leads its shard: its lease ran out, or another one has taken it."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The lease as the database has it. `seconds_left` by the database's clock; not above 0 if it has expired."""

    holder: UUID
    term: int
    seconds_left: float


class LeaseStore(Protocol):
    """Where the lease is kept. Either method may raise OSError, TimeoutError or an asyncpg error."""

    async def take(self, shard: int, holder: UUID, seconds: float) -> LeaseRow:
        """Take or renew the lease if `holder` has it or it has expired; give it as it is now."""

    async def release(self, shard: int, holder: UUID) -> None:
        """Let the lease expire now if `holder` has it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to publish under `term` until `deadline`, on the clock of this process."""

    term: int
    deadline: float


class Leadership:
    """One relay's part in the election of its shard's leader. `run` must be running for the rest to mean anything."""

    def __init__(
        self, store: LeaseStore, *, shard: int, holder: UUID, clock: Callable[[], float] = boot_time
    ) -> None:
        self.shard = shard
        self.holder = holder
        self.seen: LeaseRow | None = None
        self.last_error: str | None = None
        self.elections = 0
        self._store = store
        self._clock = clock
        self._lease: Lease | None = None
        self._changed = asyncio.Event()
        self._doubted = asyncio.Event()

    @property
    def term(self) -> int | None:
        """The term under which this relay leads now, or None: asked again before every publication."""
        lease = self._lease
        return lease.term if lease is not None and self._clock() < lease.deadline else None

    def check(self, term: int) -> None:
        """Raise LeadershipLostError unless this relay leads under `term` at this moment."""
        if self.term != term:
            raise LeadershipLostError(f"shard {self.shard}: term {term} has ended, now {self.term}")

    async def wait_elected(self) -> int:
        """Wait until this relay leads, and give the term."""
        while (term := self.term) is None:
            await self._changed.wait()
        return term

    async def wait_lost(self, term: int) -> None:
        """Wait until this relay no longer leads under `term`; returns no later than the lease's own deadline."""
        while self.term == term and self._lease is not None:
            try:
                async with asyncio.timeout(max(0.001, self._lease.deadline - self._clock())):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def doubt(self, term: int) -> None:
        """Stop leading under `term` and ask the database at once: somebody has seen that it is another relay's."""
        if self._lease is not None and self._lease.term == term:
            self._lose("doubted")
            self._announce()
            self._doubted.set()

    async def run(self) -> None:
        """Stand for election and, when elected, renew, until cancelled. Errors of the database are waited out."""
        while True:
            await self._take()
            if self.term is None:
                pause = STANDBY_SECONDS
            else:
                pause = RENEW_SECONDS if self.last_error is None else RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._doubted.wait()
            except TimeoutError:
                continue
            self._doubted.clear()

    async def release(self) -> None:
        """Stop leading and let another relay begin at once; a lease that cannot be released runs out by itself."""
        leading, self._lease = self._lease, None
        self._announce()
        if leading is not None:
            try:
                await self._store.release(self.shard, self.holder)
            except DATABASE_ERRORS as error:
                log.warning("lease_not_released", shard=self.shard, error=repr(error))

    async def _take(self) -> None:
        asked_at = self._clock()
        try:
            row = await self._store.take(self.shard, self.holder, LEASE_SECONDS)
        except DATABASE_ERRORS as error:
            raise_if_cancelled()
            if self.last_error is None:
                log.warning("lease_not_reached", shard=self.shard, term=self.term, error=repr(error))
            self.last_error = repr(error)
            if self._lease is not None and self.term is None:
                self._lose("expired")
                self._announce()
            return
        self.last_error = None
        self.seen = row
        if row.holder == self.holder:
            self._hold(Lease(row.term, asked_at + LEASE_SECONDS - MARGIN_SECONDS))
        elif self._lease is not None:
            self._lose("taken", by=str(row.holder), term_now=row.term)
            self._announce()

    def _hold(self, lease: Lease) -> None:
        # A lease that ran out here and was renewed after all is won anew: whoever led has stopped.
        elected = self.term != lease.term
        self._lease = lease
        if elected:
            self.elections += 1
            log.info("elected", shard=self.shard, term=lease.term)
            self._announce()

    def _lose(self, why: str, **details: object) -> None:
        assert self._lease is not None
        log.warning("leadership_lost", shard=self.shard, term=self._lease.term, why=why, **details)
        self._lease = None

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

"""Branchline itself as what is measured: an organisation of its own, and PostgreSQL as the judge."""

import asyncpg

from benchmarks.harness.accounting import list_processes
from benchmarks.harness.hops import Hops, read_hops
from benchmarks.harness.live import Outcome, Work, run_subject, time_each
from benchmarks.harness.log_checks import find_different, find_gaps, find_lost
from benchmarks.harness.people import Connection, Organization, create_organization
from benchmarks.harness.stack import Stack
from benchmarks.harness.subscribers import Subscribers, Verified
from benchmarks.harness.writers import Writes, Written
from core.queries import load

_queries = load("benchmarks.harness")

NAME = "Branchline"
WRITERS = 32


class Branchline:
    """A stack that carries a work in an organisation of its own."""

    name = NAME

    def __init__(self, stack: Stack, owner: Connection) -> None:
        self._stack = stack
        self._owner = owner
        self.organization: Organization | None = None

    def processes(self) -> dict[str, int]:
        """Those of the stack."""
        return list_processes(self._stack.home, self._stack.up_pid)

    async def prepare(self, work: Work) -> tuple[Subscribers, Writes]:
        """Make the organisation and its people."""
        people = max(work.subscribers, WRITERS)
        organization = await create_organization(self._owner, self._stack.signing_key, people)
        self.organization = organization
        tickets = organization.tickets(work.subscribers + work.stuck, work.topic)
        reading, stuck = tickets[work.stuck :], tickets[: work.stuck]
        listen = Subscribers((self._stack.gateway_url,), (reading,), time_each(work), stuck=stuck)
        return listen, Writes(
            self._stack.api_url,
            organization.writers(WRITERS),
            work.writes_per_second,
            record_bytes=work.record_bytes,
            connections=256 if work.writes_per_second else work.connections,
        )

    async def fetch_offsets(self, written: Written) -> list[int]:
        """Those of the leads in the log."""
        assert self.organization is not None
        rows = await self._owner.fetch(_queries.fetch_offsets, self.organization.id)
        return [row["log_offset"] for row in rows]

    async def find_faults(self, written: Written, verified: Verified) -> list[str]:
        """Hold what the subscribers have against PostgreSQL."""
        assert self.organization is not None
        return await find_faults(self._owner, self.organization, written, verified)

    async def read_hops(self) -> Hops:
        """From the processes' own metrics."""
        return await read_hops(self._stack)


async def run_live(stack: Stack, work: Work) -> Outcome:
    """Have Branchline carry the work, and measure it. Raises ChildError if the load client itself fails."""
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    try:
        outcome = await run_subject(Branchline(stack, owner), work)
        if not stack.lifted:
            outcome.caveats.append(
                "whether limits held is not known: this benchmark did not start the system"
            )
        return outcome
    finally:
        await owner.close()


async def find_faults(
    owner: Connection, organization: Organization, written: Written, verified: Verified
) -> list[str]:
    """Why a run has no figure: PostgreSQL's log has a gap, or its rows are not what was acknowledged or delivered."""
    faults = await find_gaps(owner, [organization])
    faults += await find_lost(owner, [organization], written.record_ids)
    for records in verified.records:
        faults += await find_different(owner, organization, records)
    return faults

"""The people of a benchmark: an organisation of its own, made in the database by its owner, with a token each."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import uuid_utils

from benchmarks.harness.dialect import Ticket
from benchmarks.harness.stack import Stack
from benchmarks.harness.writers import Writer
from core.queries import load
from core.tokens import Tokens

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

TOKEN_SECONDS = 6 * 3600
_queries = load("benchmarks.harness")


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the organisation, signed in."""

    user_id: str
    token: str


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation with one branch and its people, all of whom may read and write all of it."""

    id: str
    branch_id: str
    people: tuple[Person, ...]

    def tickets(self, count: int, topic: str, since: str | None = "now") -> tuple[Ticket, ...]:
        """What `count` subscribers sign in with, the people in turn, each with a client of its own."""
        people = self.people
        return tuple(
            Ticket(people[n % len(people)].token, str(uuid.uuid4()), topic, since) for n in range(count)
        )

    def writers(self, count: int) -> tuple[Writer, ...]:
        """The first `count` people as writers."""
        return tuple(Writer(person.token, self.branch_id) for person in self.people[:count])


async def create_organization(connection: Connection, signing_key: str, people: int) -> Organization:
    """Make an organisation with so many people, each with a session and a token that is good for hours."""
    (organization,) = await create_organizations(connection, signing_key, 1, people)
    return organization


async def create_organizations(
    connection: Connection, signing_key: str, count: int, people: int
) -> list[Organization]:
    """Make so many, each with so many people of its own."""
    organizations = [await _create(connection, signing_key, people) for _ in range(count)]
    # Plans that were made for empty tables are not what is measured.
    await connection.execute("ANALYZE")
    return organizations


async def _create(connection: Connection, signing_key: str, people: int) -> Organization:
    tokens = Tokens(signing_key, lifetime_seconds=TOKEN_SECONDS)
    organization_id, branch_id = _new_id(), _new_id()
    user_ids = [_new_id() for _ in range(people)]
    session_ids = [_new_id() for _ in range(people)]
    slug = f"bench-{organization_id[-12:]}"
    async with connection.transaction():
        await connection.execute(_queries.add_organization, organization_id, slug, "Benchmark")
        await connection.execute(_queries.add_branch, organization_id, branch_id, "bench")
        await _copy_people(connection, organization_id, slug, user_ids, session_ids)
    return Organization(
        organization_id,
        branch_id,
        tuple(
            Person(user, tokens.issue(user, organization_id, session))
            for user, session in zip(user_ids, session_ids, strict=True)
        ),
    )


async def side_by_side(
    stack: Stack, work: Callable[[Connection], Awaitable[None]], connections: int = 4
) -> None:
    """Have the same work done over so many connections of the owner's, and statistics made when all are done."""

    async def run() -> None:
        connection: Connection = await asyncpg.connect(stack.owner_database_url)
        try:
            await work(connection)
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(run())
    connection: Connection = await asyncpg.connect(stack.owner_database_url)
    try:
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def _copy_people(
    connection: Connection,
    organization_id: str,
    slug: str,
    user_ids: Sequence[str],
    session_ids: Sequence[str],
) -> None:
    ends = datetime.now(UTC) + timedelta(days=1)
    await connection.copy_records_to_table(
        "users",
        records=[(user, f"{n}@{slug}.test", f"Person {n}") for n, user in enumerate(user_ids)],
        columns=["id", "email", "name"],
    )
    await connection.copy_records_to_table(
        "organization_members",
        records=[(organization_id, user, "manager") for user in user_ids],
        columns=["organization_id", "user_id", "role"],
    )
    await connection.copy_records_to_table(
        "sessions",
        records=[
            (session, user, organization_id, ends)
            for user, session in zip(user_ids, session_ids, strict=True)
        ],
        columns=["id", "user_id", "organization_id", "expires_at"],
    )


def _new_id() -> str:
    return str(uuid_utils.uuid7())

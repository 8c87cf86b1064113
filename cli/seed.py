"""`branchline seed`: the demo organisation with about 10,000 records, and a second, small one.

The rows are copied into the tracked tables as anybody's would be, so the log has each of them (I2). An
organisation that is there already is left as it is: seeding twice changes nothing, and what people did in the
meantime stays.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import asyncpg
from argon2 import PasswordHasher

from cli.seed_data.draw import Draw
from cli.seed_data.generate import COUNTS, SEED, Generator, Row, Staff
from cli.seed_data.people import DEMO, OTHER, PASSWORD, Organization
from core.lifecycle import StartupError
from core.settings import Settings

Progress = Callable[[str], None]

# Taken for the transaction, so that two seeds at once do not both find the organisation missing.
_LOCK = 0x5EED
_OTHER_COUNTS = {"clients": 8, "leads": 24, "contacts": 12, "deals": 10, "tasks": 8, "activity_events": 6}


def run(settings: Settings, *, progress: Progress = print) -> None:
    """Put the demo data into the owner's database that the settings name, whose schema is up to date.

    `progress` is told of each step, one line each. Each organisation comes in one transaction, whole or not
    at all. Raises StartupError in production, asyncpg.PostgresError or OSError if the database refuses or
    cannot be reached.
    """
    if settings.production:
        raise StartupError(
            f"`seed` makes people, an owner among them, whose password is `{PASSWORD}`, and is for development only: "
            "BRANCHLINE_ENV is production."
        )
    asyncio.run(seed(settings.owner_database_url, progress=progress))


async def seed(owner_database_url: str, *, progress: Progress) -> None:
    """The same as `run`, for a caller that has an event loop already and knows that this is no production."""
    connection = await asyncpg.connect(owner_database_url)
    try:
        changed = False
        # A seed of its own for each: what one organisation holds does not move the other's ids.
        for organization, counts, number in ((DEMO, COUNTS, SEED), (OTHER, _OTHER_COUNTS, SEED + 1)):
            async with connection.transaction():
                changed |= await _seed_organization(connection, organization, counts, Draw(number), progress)
        if changed:
            await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def _seed_organization(
    connection: asyncpg.Connection,
    organization: Organization,
    counts: dict[str, int],
    draw: Draw,
    progress: Progress,
) -> bool:
    """Whether anything was written."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if await connection.fetchval(
        "SELECT EXISTS (SELECT FROM organizations WHERE slug = $1)", organization.slug
    ):
        progress(f"organisation {organization.slug}: is there already, left as it is")
        return False
    staff = await _seed_people(connection, organization, draw)
    total = 0
    for table, rows in Generator(staff, datetime.now(UTC), draw, counts).tables():
        await _copy(connection, table, rows)
        total += len(rows)
        progress(f"organisation {organization.slug}: {table} {len(rows):,}")
    progress(f"organisation {organization.slug}: {total:,} records")
    return True


async def _seed_people(connection: asyncpg.Connection, organization: Organization, draw: Draw) -> Staff:
    """The organisation, its branches and its people, the oldest ids of all."""
    ages = itertools.count(600, -1)
    organization_id = draw.id_at(next(ages))
    branch_ids = {branch.slug: draw.id_at(next(ages)) for branch in organization.branches}
    user_ids = {person.email: draw.id_at(next(ages)) for person in organization.people}
    passwords = await asyncio.gather(*(asyncio.to_thread(_hash_password) for _ in organization.people))
    await _copy(
        connection,
        "organizations",
        [{"id": organization_id, "slug": organization.slug, "name": organization.name}],
    )
    await _copy(
        connection,
        "users",
        [
            {
                "id": user_ids[person.email],
                "email": person.email,
                "name": person.name,
                "password_hash": password,
            }
            | {"last_organization_id": organization_id}
            for person, password in zip(organization.people, passwords, strict=True)
        ],
    )
    await _copy(
        connection,
        "branches",
        [
            {"organization_id": organization_id, "id": branch_ids[branch.slug], "slug": branch.slug}
            | {"name": branch.name, "city": branch.city, "timezone": branch.timezone}
            for branch in organization.branches
        ],
    )
    await _copy(
        connection,
        "organization_members",
        [
            {
                "organization_id": organization_id,
                "id": draw.id_at(next(ages)),
                "user_id": user_ids[person.email],
            }
            | {"role": person.role, "reads": person.reads, "title": person.title}
            | {
                "branch_ids": None
                if person.branches is None
                else [branch_ids[slug] for slug in person.branches]
            }
            for person in organization.people
        ],
    )
    return Staff(
        organization_id=organization_id,
        branch_ids=branch_ids,
        manager=user_ids[organization.people[0].email],
        agents={
            slug: tuple(
                user_ids[person.email]
                for person in organization.people
                if person.role == "agent" and person.branches and slug in person.branches
            )
            for slug in branch_ids
        },
    )


def _hash_password() -> str:
    return PasswordHasher().hash(PASSWORD)


async def _copy(connection: asyncpg.Connection, table: str, rows: Iterable[Row]) -> None:
    """COPY of rows that all have the columns of the first one."""
    records = [tuple(row.values()) for row in rows]
    columns = list(next(iter(rows)))
    await connection.copy_records_to_table(table, records=records, columns=columns)

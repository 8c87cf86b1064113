"""`branchline seed` on a real database: everything through the log, once, and with accounts that can sign in."""

import asyncio
from typing import Any

import argon2
import pytest

from cli.seed import seed
from cli.seed_data.people import DEMO, OTHER, PASSWORD
from tests.servers import Database

CRM = ("clients", "leads", "contacts", "deals", "tasks", "activity_events")
TABLES = ("branches", "organization_members", *CRM)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What seeding told of its progress."""
    return []


@pytest.fixture(scope="module")
async def seeded(module_database: Database, lines: list[str]) -> Database:
    await seed(module_database.owner_url, progress=lines.append)
    return module_database


def count(database: Database, query: str) -> int:
    return int(database.psql(f"SELECT count(*) FROM {query}"))


async def test_every_record_is_in_the_log(seeded: Database) -> None:
    """I2, for what COPY writes."""
    for table in TABLES:
        unlogged = f"""{table} t WHERE NOT EXISTS (SELECT FROM changes c WHERE c.organization_id = t.organization_id
            AND c.collection = '{table}' AND c.record_id = t.id AND c.operation = 'insert')"""
        assert count(seeded, unlogged) == 0
    assert count(seeded, "changes") == sum(count(seeded, table) for table in TABLES)


async def test_each_organisation_is_one_commit_from_offset_1(seeded: Database) -> None:
    rows = seeded.psql("SELECT first_offset FROM commits").splitlines()
    assert rows == ["1", "1"]


async def test_seeding_again_changes_nothing(seeded: Database) -> None:
    before = fingerprint(seeded)
    said: list[str] = []
    await seed(seeded.owner_url, progress=said.append)
    assert fingerprint(seeded) == before
    assert said == [f"organisation {slug}: is there already, left as it is" for slug in ("demo", "other")]


def fingerprint(database: Database) -> list[str]:
    tables = (*TABLES, "organizations", "users", "changes")
    digest = "md5(string_agg(t::text, '' ORDER BY t::text))"
    return [database.psql(f"SELECT {digest} FROM {table} t") for table in tables]


async def test_progress_is_told_table_by_table(seeded: Database, lines: list[str]) -> None:
    assert "organisation demo: leads 3,200" in lines
    assert lines.count("organisation demo: 10,000 records") == 1


@pytest.mark.parametrize("person", [*DEMO.people, *OTHER.people], ids=lambda person: person.email)
async def test_the_accounts_are_there_with_their_password(seeded: Database, person: Any) -> None:
    found = seeded.psql(
        "SELECT m.role, m.reads, u.password_hash, o.slug, "
        "array(SELECT b.slug FROM branches b WHERE b.id = ANY (m.branch_ids)) "
        "FROM users u JOIN organization_members m ON m.user_id = u.id "
        f"JOIN organizations o ON o.id = m.organization_id WHERE u.email = '{person.email}'"
    )
    role, reads, password_hash, organization, branches = found.split("|")
    assert (role, reads) == (person.role, person.reads)
    assert organization == ("demo" if person in DEMO.people else "other")
    assert branches == "{" + ",".join(person.branches or ()) + "}"
    argon2.PasswordHasher().verify(password_hash, PASSWORD)


async def test_two_seeds_at_once_make_one_organisation(database: Database) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(seed(database.owner_url, progress=lambda line: None))
    assert count(database, "organizations") == 2
    assert count(database, "leads") == 3_224

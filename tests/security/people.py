"""Organisations for the tests of this folder."""

import itertools

import asyncpg

from tests.servers import Database
from tests.tenants import Tenant, create_tenant

_slugs = itertools.count(1)


async def people_of(database: Database) -> Tenant:
    """A fresh organisation with its people, in a test's database."""
    owner = await asyncpg.connect(database.owner_url)
    try:
        return await create_tenant(owner, f"acme-{next(_slugs)}")
    finally:
        await owner.close()

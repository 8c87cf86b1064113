"""A position never outlives the database that it is of: not a dump, a copy of the files, nor a promotion."""

import subprocess

import asyncpg
from redis.asyncio import Redis

from core.log import fetch_head
from tests.relays import eventually, reading, relaying
from tests.servers import Database, Servers, run_copy
from tests.tenants import Connection, Tenant

LEAD = "INSERT INTO leads (organization_id, name) VALUES ($1, $2)"


async def test_a_restored_dump_is_another_epoch(
    servers: Servers, database: Database, owner: Connection, tenant: Tenant
) -> None:
    """With the same rows and the same offsets: what comes next will be something else there and here."""
    await owner.execute(LEAD, tenant.id, "Grete")
    before = await fetch_head(owner, tenant.id)
    with servers.database() as other:
        restored = f"{other.name}_restored"
        servers.psql(f"CREATE DATABASE {restored} TEMPLATE template0")
        try:
            _restore(servers, database.owner_url, servers.owner_url(restored))
            connection = await asyncpg.connect(servers.owner_url(restored))
            try:
                epoch, head = await fetch_head(connection, tenant.id)
                assert epoch != before[0]
                assert head == before[1]
                await connection.execute(LEAD, tenant.id, "Hans")
                assert await fetch_head(connection, tenant.id) == (epoch, head + 1)
            finally:
                await connection.close()
        finally:
            servers.psql(f"DROP DATABASE {restored} WITH (FORCE)")


async def test_a_promoted_standby_is_another_epoch(
    servers: Servers, database: Database, owner: Connection, tenant: Tenant
) -> None:
    """It may lack what the primary committed last."""
    before = await fetch_head(owner, tenant.id)
    with run_copy(servers, as_standby=True) as standby:
        standby.psql("SELECT pg_promote(true, 60)")
        connection = await asyncpg.connect(standby.owner_url(database.name))
        try:
            epoch, head = await fetch_head(connection, tenant.id)
        finally:
            await connection.close()
    assert epoch != before[0]
    assert head == before[1]


async def test_a_copy_of_the_files_from_before_is_another_epoch_once_a_relay_has_seen_it(
    servers: Servers, database: Database, owner: Connection, tenant: Tenant
) -> None:
    """Nothing in the files tells a copy from the original: what was published since does, and Redis remembers that."""
    before, _ = await fetch_head(owner, tenant.id)
    with run_copy(servers, as_standby=False) as copy:
        copied = copy.reach(database.name)
        connection = await asyncpg.connect(copied.owner_url)
        redis = Redis.from_url(servers.redis_url, decode_responses=True)
        try:
            assert (await fetch_head(connection, tenant.id))[0] == before
            await owner.execute(LEAD, tenant.id, "after the copy")
            _, head = await fetch_head(owner, tenant.id)

            async def is_remembered() -> bool:
                return bool(await redis.hget(f"branchline:published:0:{before}", tenant.id) == str(head))

            async with relaying(database, servers.redis_url):
                await eventually(is_remembered, what="Redis to remember what was published")
            async with reading(servers.redis_url) as reader, relaying(copied, servers.redis_url):
                await eventually(
                    lambda: reader.heartbeats and reader.heartbeats[-1][1].epoch != before, what="a new epoch"
                )
            assert (await fetch_head(connection, tenant.id))[0] != before
        finally:
            await connection.close()
            await redis.aclose()


def _restore(servers: Servers, source: str, target: str) -> None:
    """Dump one database and load the dump into another, as it comes."""
    dump = subprocess.run([str(servers.programs / "pg_dump"), source], check=True, capture_output=True)
    load = [str(servers.programs / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", target]
    subprocess.run(load, input=dump.stdout, check=True, capture_output=True)

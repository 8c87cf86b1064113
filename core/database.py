"""Connections to PostgreSQL: each process under its own role, each statement within one organisation."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

import asyncpg

from core.principal import Principal
from core.queries import load

DatabaseRole = Literal["branchline_api", "branchline_gateway", "branchline_relay"]
# Texts, because asyncpg's classes are generic to the type checker only.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

AWAY_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    # A server that takes no writes, or ends a transaction that took too long.
    asyncpg.InvalidTransactionStateError,
    # A database that takes no connections, or none of ours, as while it is restored.
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
"""The database cannot be reached, or cannot take the statement now: try again. Anything else is a fault of ours."""

_queries = load("core", "database.sql")


class _Connection(asyncpg.Connection):
    """A connection that is given back without a round trip: nothing here outlives its transaction but the role."""

    def get_reset_query(self) -> str:
        return ""


async def create_pool(
    dsn: str,
    *,
    role: DatabaseRole | None,
    application_name: str,
    min_size: int = 1,
    max_size: int = 10,
    settings: dict[str, str] | None = None,
) -> Pool:
    """Open a pool whose connections act as `role`; None keeps the login's own rights.

    `settings` are run-time parameters for each connection. Raises what asyncpg raises: OSError for an unreachable
    server, asyncpg.PostgresError for a refused login or a role that the login is no member of.
    """
    # A column without a time zone is in UTC, as records have it; nobody's session may take it for something else.
    server_settings = {"application_name": application_name, "timezone": "UTC", **(settings or {})}
    if role is not None:
        server_settings["role"] = role
    return await asyncpg.create_pool(
        dsn,
        min_size=min_size,
        max_size=max_size,
        server_settings=server_settings,
        connection_class=_Connection,
        command_timeout=30,
        timeout=10,
    )


@asynccontextmanager
async def scoped(
    pool: Pool, organization_id: str, *, user_id: str | None = None
) -> AsyncIterator[Connection]:
    """A transaction that sees one organisation's rows and no other's, whatever its statements say (I8).

    `user_id` also opens that person's own memberships, for a sign-in. One round trip before and one after. Commits at
    the end, rolls back on an error. Raises ValueError if an id is no UUID.
    """
    # SET takes no parameters; a UUID that was parsed has nothing in it but hex digits and dashes.
    statement = f"BEGIN; SET LOCAL branchline.organization_id = '{uuid.UUID(organization_id)}'"
    if user_id is not None:
        statement += f"; SET LOCAL branchline.user_id = '{uuid.UUID(user_id)}'"
    async with pool.acquire() as connection:
        await connection.execute(statement)
        try:
            yield connection
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")


async def fetch_principal(
    connection: Connection, organization_id: str, user_id: str, session_id: str
) -> Principal | None:
    """Who the person is in the organisation today; None if the session, membership, person or organisation has ended.

    `connection` must be scoped to the organisation.
    """
    row = await connection.fetchrow(_queries.fetch_principal, organization_id, user_id, session_id)
    return None if row is None else _principal(row, (organization_id, user_id, session_id))


async def fetch_principal_and_head(
    connection: "Connection | Pool", organization_id: str, user_id: str, session_id: str
) -> tuple[Principal, str, int] | None:
    """As `fetch_principal`, with the epoch and the organisation's newest offset, in one round trip.

    It needs no scope, and no transaction.
    """
    row = await connection.fetchrow(_queries.fetch_principal_and_head, organization_id, user_id, session_id)
    if row is None:
        return None
    return _principal(row, (organization_id, user_id, session_id)), row["epoch"], row["head"]


async def fetch_member(
    connection: Connection, organization_id: str, user_id: str | uuid.UUID | None
) -> Principal | None:
    """Who the person is in the organisation today, signed in or not; None if they are no member who is in force.

    For what somebody has issued, which is good as long as they might issue it. `connection` must be scoped to the
    organisation.
    """
    if user_id is None:
        return None
    row = await connection.fetchrow(_queries.fetch_member, organization_id, user_id)
    return None if row is None else _principal(row, (organization_id, str(user_id), ""))


async def fetch_principals(pool: Pool, asked: Sequence[tuple[str, str, str]]) -> list[Principal | None]:
    """`fetch_principal` for many (organisation, person, session), in one round trip and with no transaction open."""
    found: list[Principal | None] = [None] * len(asked)
    for row in await pool.fetch(_queries.fetch_principals, *map(list, zip(*asked, strict=True))):
        place = row["place"] - 1
        found[place] = _principal(row, asked[place])
    return found


def _principal(row: asyncpg.Record, asked: tuple[str, str, str]) -> Principal:
    organization_id, user_id, session_id = asked
    return Principal(
        user_id=user_id,
        name=row["name"],
        organization_id=organization_id,
        role=row["role"],
        branch_ids=None if row["branch_ids"] is None else frozenset(str(b) for b in row["branch_ids"]),
        reads=row["reads"],
        session_id=session_id,
    )

"""The audit log of security events: who came in, who was refused, whose rights changed. Appended, never altered."""

from typing import Any, Literal
from uuid import UUID

import orjson

from core.database import Connection, Pool, scoped
from core.queries import load

# What becomes of memberships (member_added, member_changed, member_removed) and of people (person_disabled,
# person_enabled) is noted by triggers, note_rights and note_person.
Kind = Literal[
    "signed_in",
    "sign_in_refused",
    "signed_out",
    "signed_out_everywhere",
    "session_ended",
    "refresh_reused",
    "password_changed",
    "password_reset_asked",
    "password_reset",
    "invited",
    "invitation_withdrawn",
    "invitation_accepted",
    "secret_written",
    "secret_read",
    "secret_removed",
    "portal_access_given",
    "portal_access_withdrawn",
]

NO_ORGANIZATION = str(UUID(int=0))

_queries = load("api", "queries.sql")


async def note_in(
    connection: Connection,
    organization_id: str,
    kind: Kind,
    *,
    actor_id: str | None,
    user_id: str | None = None,
    address: str | None = None,
    **details: Any,
) -> None:
    """Append an event, in a transaction that is scoped to the organisation. `details` never hold a secret."""
    await connection.execute(
        _queries.note_security_event,
        organization_id,
        kind,
        actor_id,
        user_id or actor_id,
        address,
        orjson.dumps(details).decode(),
    )


async def note_at_home(
    pool: Pool,
    user_id: str | None,
    kind: Kind,
    *,
    actor_id: str | None,
    address: str | None = None,
    **details: Any,
) -> None:
    """Append an event of a person who is in no organisation at this moment to the one that they would sign in to.

    In a transaction of its own, which takes as long for nobody (None): of them nothing is noted.
    """
    async with scoped(pool, NO_ORGANIZATION) as connection:
        await note_at_home_in(connection, user_id, kind, actor_id=actor_id, address=address, **details)


async def note_where_disabled(
    pool: Pool, user_id: str, asked: str | None, kind: Kind, *, address: str | None = None
) -> None:
    """Append an event of a person to the organisations where they are disabled, or to the one they `asked` for."""
    async with scoped(pool, NO_ORGANIZATION, user_id=user_id) as connection:
        for row in await connection.fetch(_queries.fetch_disabled_memberships, user_id, asked):
            await connection.execute(_queries.enter_organization, row["id"])
            await note_in(
                connection,
                row["id"],
                kind,
                actor_id=None,
                user_id=user_id,
                address=address,
                reason="disabled",
            )


async def note_at_home_in(
    connection: Connection,
    user_id: str | None,
    kind: Kind,
    *,
    actor_id: str | None,
    address: str | None = None,
    **details: Any,
) -> None:
    """The same at the end of a transaction, which is in that organisation from here on."""
    person = user_id or NO_ORGANIZATION
    await connection.execute(_queries.enter_own_memberships, person)
    # An organisation that the person has left is not told of them, whatever they used last.
    home = await connection.fetchval(_queries.find_home, person) or NO_ORGANIZATION
    await connection.execute(_queries.enter_organization, home)
    await note_in(connection, home, kind, actor_id=actor_id, user_id=user_id, address=address, **details)

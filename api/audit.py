"""The audit log of security events: who came in, who was refused, whose rights changed. Appended, never altered."""

from typing import Any, Literal

import orjson

from core.database import Connection, Pool, scoped
from core.queries import load

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


async def note(
    pool: Pool,
    organization_id: str,
    kind: Kind,
    *,
    actor_id: str | None,
    user_id: str | None = None,
    address: str | None = None,
    **details: Any,
) -> None:
    """Append an event in a transaction of its own."""
    async with scoped(pool, organization_id) as connection:
        await note_in(
            connection,
            organization_id,
            kind,
            actor_id=actor_id,
            user_id=user_id,
            address=address,
            **details,
        )

"""`/api/auth/sessions`: where somebody is signed in, and how they end it from here."""

from datetime import UTC, datetime

import asyncpg
from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.documented import problems
from api.peer import address_of
from api.problems import ProblemError
from api.request import services_of
from api.routes.auth import BEARER, Authenticated
from api.session_use import Use
from api.values import parse_uuid

router = APIRouter(prefix="/api/auth/sessions", tags=["signing in"])


class Session(BaseModel):
    """One login. `device` is what the program said of itself when it signed in."""

    id: str
    organization_id: str
    organization_name: str
    device: str | None
    address: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    is_current: bool


class Sessions(BaseModel):
    """A person's logins, the one used last first."""

    items: list[Session]


@router.get("", responses=problems(401, 503), openapi_extra=BEARER)
async def list_sessions(request: Request, claims: Authenticated) -> Sessions:
    """Where the person is signed in, in all their organisations."""
    services = services_of(request)
    principal = await services.principals.fetch(claims)
    rows = await services.sessions.fetch(principal)
    uses = await services.session_use.fetch([str(row["id"]) for row in rows])
    items = [_session(row, uses.get(str(row["id"])), principal.session_id) for row in rows]
    return Sessions(items=sorted(items, key=lambda each: each.last_used_at, reverse=True))


def _session(row: asyncpg.Record, use: Use | None, current: str) -> Session:
    """A session as PostgreSQL has it, with its last use if Redis knows of a later one."""
    last_used_at, address = row["last_used_at"], row["address"]
    used_at = None if use is None else datetime.fromtimestamp(use.at_ms / 1000, UTC)
    if use is not None and used_at is not None and used_at > last_used_at:
        last_used_at, address = used_at, use.address or address
    return Session(
        id=str(row["id"]),
        organization_id=str(row["organization_id"]),
        organization_name=row["organization_name"],
        device=row["user_agent"],
        address=address,
        created_at=row["created_at"],
        last_used_at=last_used_at,
        expires_at=row["expires_at"],
        is_current=str(row["id"]) == current,
    )


@router.delete("/{id}", status_code=204, responses=problems(401, 404, 429, 503), openapi_extra=BEARER)
async def end_session(request: Request, id: str, claims: Authenticated) -> None:
    """End one login of the person's own, with all of its sockets."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    try:
        session_id = parse_uuid(id)
    except ValueError:
        raise ProblemError("not_found", "expected a UUID as the session's id") from None
    if not await services.sessions.end(principal, session_id, address_of(request)):
        raise ProblemError("not_found", "you have no such session")

"""The client portal: a contact reads their own records with a token that does nothing else."""

import base64
import binascii
import hashlib
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response
from uuid_utils import uuid7

from api import audit
from api.documented import problems
from api.peer import address_of
from api.problems import ProblemError
from api.request import services_of
from api.routes.auth import BEARER, Authenticated
from core.database import Connection, fetch_member, scoped
from core.principal import Principal
from core.queries import load

router = APIRouter(prefix="/api", tags=["client portal"])

ACCESS_SECONDS = 90 * 24 * 3600
PER_CONTACT = 5
"""Tokens of a contact that are good at once: another one ends the oldest."""
PREFIX = "portal_"
"""So that a portal's token is taken for no other."""

_RANDOM_BYTES = 32
_queries = load("api", "queries.sql")


class Access(BaseModel):
    """A contact's token, shown this once."""

    token: str
    expires_at: datetime


class Portal(BaseModel):
    """What a contact sees."""

    organization: str
    contact: dict[str, Any]
    client: dict[str, Any] | None
    deals: list[dict[str, Any]]


@router.post(
    "/contacts/{id}/portal-access",
    status_code=201,
    responses=problems(401, 403, 404, 422, 429, 503),
    openapi_extra=BEARER,
)
async def give_access(request: Request, response: Response, id: UUID, claims: Authenticated) -> Access:
    """Give a contact a token for their own records, good for 90 days."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    identifier, random = str(uuid7()), secrets.token_bytes(_RANDOM_BYTES)
    raw = UUID(principal.organization_id).bytes + UUID(identifier).bytes + random
    token = PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    async with scoped(services.pool, principal.organization_id) as connection:
        await _demand_contact(connection, principal, str(id))
        expires_at = await connection.fetchval(
            _queries.give_portal_access,
            principal.organization_id,
            identifier,
            str(id),
            hashlib.sha256(token.encode()).digest(),
            principal.user_id,
            ACCESS_SECONDS,
        )
        await connection.execute(
            _queries.end_oldest_portal_access, principal.organization_id, str(id), PER_CONTACT
        )
        await _note(connection, request, principal, "portal_access_given", str(id))
    response.headers["cache-control"] = "no-store"
    return Access(token=token, expires_at=expires_at)


@router.delete(
    "/contacts/{id}/portal-access",
    status_code=204,
    responses=problems(401, 403, 404, 422, 429, 503),
    openapi_extra=BEARER,
)
async def withdraw_access(request: Request, id: UUID, claims: Authenticated) -> None:
    """End all of a contact's tokens."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    async with scoped(services.pool, principal.organization_id) as connection:
        await _demand_contact(connection, principal, str(id))
        if await connection.fetch(_queries.end_portal_access, principal.organization_id, str(id)):
            await _note(connection, request, principal, "portal_access_withdrawn", str(id))


@router.get("/portal", responses=problems(401, 429, 503), openapi_extra=BEARER)
async def portal(request: Request, response: Response) -> Portal:
    """What the contact behind a portal token sees: themselves, their company, its deals. Reading is all there is."""
    services = services_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    ids = _ids_of(token.strip()) if scheme.lower() == "bearer" else None
    services.limiter.refuse_guesses(request)
    if ids is None:
        await services.limiter.admit_login(request)
        raise ProblemError("not_authenticated", "expected the header Authorization: Bearer portal_…")
    organization_id, identifier = ids
    async with scoped(services.pool, organization_id) as connection:
        digest = hashlib.sha256(token.strip().encode()).digest()
        found = await _fetch_portal(connection, organization_id, identifier, digest)
    if not found:
        # Only guesses are counted: a token that is in force is no attempt to find one.
        await services.limiter.admit_login(request)
        raise ProblemError("session_ended", "the portal token is not in force")
    response.headers["cache-control"] = "no-store"
    return Portal.model_validate_json(found)


async def _fetch_portal(
    connection: Connection, organization_id: str, identifier: str, digest: bytes
) -> str | None:
    """What a token shows, as JSON; None if it is not in force.

    It is good as long as whoever made it might give the contact access, and shows nothing that they do not read.
    """
    access = await connection.fetchrow(_queries.use_portal_access, organization_id, identifier, digest)
    if access is None:
        return None
    issuer = await fetch_member(connection, organization_id, access["created_by"])
    if issuer is None or not await _gives_access(connection, issuer, str(access["contact_id"])):
        return None
    branches = issuer.readable_branches
    found: str | None = await connection.fetchval(
        _queries.fetch_portal,
        organization_id,
        access["contact_id"],
        None if branches is None else sorted(branches),
    )
    return found


async def _demand_contact(connection: Connection, principal: Principal, contact_id: str) -> None:
    may = await _gives_access(connection, principal, contact_id)
    if may is None:
        raise ProblemError("not_found", "there is no such contact")
    if not may:
        raise ProblemError("forbidden", "you do not give this contact access")


async def _gives_access(connection: Connection, principal: Principal, contact_id: str) -> bool | None:
    """Whether somebody may give a contact access today; None if they see no such contact."""
    branches = principal.readable_branches
    row = await connection.fetchrow(
        _queries.find_branch_of_contact,
        principal.organization_id,
        contact_id,
        None if branches is None else sorted(branches),
    )
    if row is None:
        return None
    branch = None if row["branch_id"] is None else str(row["branch_id"])
    return principal.gives_portal_access and principal.writes_branch(branch)


async def _note(
    connection: Connection, request: Request, principal: Principal, kind: audit.Kind, contact_id: str
) -> None:
    await audit.note_in(
        connection,
        principal.organization_id,
        kind,
        actor_id=principal.user_id,
        address=address_of(request),
        contact_id=contact_id,
    )


def _ids_of(token: str) -> tuple[str, str] | None:
    """The organisation and the id that a token names."""
    if not token.startswith(PREFIX):
        return None
    body = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != 32 + _RANDOM_BYTES:
        return None
    return str(UUID(bytes=raw[:16])), str(UUID(bytes=raw[16:32]))

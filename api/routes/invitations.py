"""`/api/auth/invitations`: how people come in. `/api/auth/security-events`: what owners see of who came."""

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.documented import problems
from api.mail import MailError
from api.passwords import TooBusyError
from api.peer import address_of
from api.people import (
    MOST_INVITATIONS,
    Invitation,
    LinkRefusedError,
    NewcomerError,
    TooManyInvitationsError,
    UnknownBranchError,
    WrongPasswordError,
)
from api.problems import ProblemError
from api.request import services_of
from api.routes.auth import BEARER, Authenticated, Text
from api.validation import FieldFault
from api.values import parse_uuid
from core.database import scoped
from core.queries import load

router = APIRouter(prefix="/api/auth", tags=["people"])

_queries = load("api", "queries.sql")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class InvitationBody(_Body):
    """Who is to become what. Without `branch_ids`: all branches."""

    email: Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]
    role: Literal["owner", "admin", "manager", "agent", "viewer"]
    reads: Literal["all", "own"] = "all"
    branch_ids: Annotated[list[str], Field(max_length=1_000)] | None = None


class Invited(BaseModel):
    """An invitation that was sent."""

    id: str
    expires_at: datetime


class OpenInvitation(BaseModel):
    """An invitation that waits for its person."""

    id: str
    email: str
    role: str
    reads: str
    branch_ids: list[str] | None
    invited_by: str | None
    invited_by_name: str | None
    created_at: datetime
    expires_at: datetime


class OpenInvitations(BaseModel):
    """The newest first, at most 500."""

    items: list[OpenInvitation]


class ShowBody(_Body):
    """What came by mail."""

    token: Text


class Offer(BaseModel):
    """What an invitation makes of whom. `name` is null for somebody new, who has to say it when they accept."""

    organization_name: str
    role: str
    email: str
    name: str | None
    has_password: bool


class AcceptBody(_Body):
    """What came by mail. Who has an account proves it with its password, who is new chooses one and says their name."""

    token: Text
    password: Text
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = None


class SecurityEvent(BaseModel):
    """What happened, by whom, about whom, from which address."""

    id: str
    at: datetime
    kind: str
    actor_id: str | None
    actor_name: str | None
    user_id: str | None
    user_name: str | None
    address: str | None
    details: dict[str, Any]


class SecurityEvents(BaseModel):
    """A page of the audit log, newest first. `next_before` is null on the last one."""

    items: list[SecurityEvent]
    next_before: str | None


@router.post(
    "/invitations",
    status_code=201,
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503),
    openapi_extra=BEARER,
)
async def invite(request: Request, claims: Authenticated, body: InvitationBody) -> Invited:
    """Invite somebody by mail; they become a member when they accept."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    if not principal.invites_to(body.role):
        raise ProblemError("forbidden", f"role {principal.role} does not invite to role {body.role}")
    try:
        branches = None if body.branch_ids is None else [parse_uuid(each) for each in body.branch_ids]
        if not (principal.gives_branches(branches) and principal.gives_reads(body.reads)):
            raise ProblemError("forbidden", "you invite to what you have: your branches, and reads as yours")
        invitation = Invitation(body.email.lower(), body.role, body.reads, branches)
        await services.limiter.admit_mail(request, claims, invitation.email)
        return Invited(**await services.people.invite(principal, invitation, address_of(request)))
    except (ValueError, UnknownBranchError):
        fault = FieldFault("branch_ids", "ids of the organisation's branches", "others")
        raise ProblemError("invalid", "a branch is not the organisation's", errors=[fault]) from None
    except TooManyInvitationsError:
        raise ProblemError(
            "rate_exceeded",
            f"{MOST_INVITATIONS} invitations are open: take some back, or wait until they are accepted or end",
            headers={"retry-after": "3600"},
        ) from None
    except MailError as error:
        raise ProblemError("unavailable", f"the mail could not be sent: {error}") from None


@router.get("/invitations", responses=problems(401, 403, 503), openapi_extra=BEARER)
async def list_invitations(request: Request, claims: Authenticated) -> OpenInvitations:
    """Invitations that are open."""
    services = services_of(request)
    principal = await services.principals.fetch(claims)
    if not principal.invites:
        raise ProblemError("forbidden", f"role {principal.role} does not see invitations")
    rows = await services.people.fetch_invitations(principal)
    return OpenInvitations(
        items=[
            OpenInvitation(
                **{
                    **dict(row),
                    "id": str(row["id"]),
                    "branch_ids": row["branch_ids"] and [str(each) for each in row["branch_ids"]],
                    "invited_by": row["invited_by"] and str(row["invited_by"]),
                }
            )
            for row in rows
        ]
    )


@router.delete(
    "/invitations/{id}", status_code=204, responses=problems(401, 403, 404, 429, 503), openapi_extra=BEARER
)
async def withdraw(request: Request, id: str, claims: Authenticated) -> None:
    """Take an invitation back."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    if not principal.invites:
        raise ProblemError("forbidden", f"role {principal.role} does not withdraw invitations")
    try:
        is_done = await services.people.withdraw(principal, parse_uuid(id), address_of(request))
    except ValueError:
        is_done = False
    if not is_done:
        raise ProblemError("not_found", "there is no such invitation that is open")


@router.post("/invitations/show", responses=problems(400, 410, 413, 415, 422, 429, 503))
async def show(request: Request, body: ShowBody) -> Offer:
    """What an invitation offers, before it is accepted."""
    services = services_of(request)
    await services.limiter.admit_login(request)
    try:
        found = await services.people.find_invitation(body.token)
    except LinkRefusedError:
        raise _refused() from None
    return Offer(
        organization_name=found["organization_name"],
        role=found["role"],
        email=found["email"],
        name=found["name"],
        has_password=found["password_hash"] is not None,
    )


@router.post(
    "/invitations/accept", status_code=204, responses=problems(400, 401, 410, 413, 415, 422, 429, 503)
)
async def accept(request: Request, body: AcceptBody) -> None:
    """Become a member. Then sign in as everybody does."""
    services = services_of(request)
    await services.limiter.admit_login(request, body.token)
    try:
        await services.people.accept(body.token, body.name, body.password, address_of(request))
    except LinkRefusedError:
        raise _refused() from None
    except WrongPasswordError:
        raise ProblemError("credentials_refused", "the password is not your account's") from None
    except NewcomerError as error:
        fault = FieldFault(error.field, error.expected, error.came)
        raise ProblemError("invalid", f"somebody new needs a {error.field}", errors=[fault]) from None
    except TooBusyError:
        raise ProblemError("too_busy", "too many passwords are being checked at this moment") from None


@router.get("/security-events", responses=problems(400, 401, 403, 422, 503), openapi_extra=BEARER)
async def list_security_events(
    request: Request,
    claims: Authenticated,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(max_length=60)] = None,
) -> SecurityEvents:
    """The organisation's audit log, for its owners."""
    services = services_of(request)
    principal = await services.principals.fetch(claims)
    if not principal.reads_security_events:
        raise ProblemError("forbidden", "security events are for owners")
    try:
        earliest = None if before is None else parse_uuid(before)
    except ValueError:
        fault = FieldFault("before", "the id of an event", "something else")
        raise ProblemError("invalid", "expected the id of an event", errors=[fault]) from None
    async with scoped(services.pool, principal.organization_id) as connection:
        rows = await connection.fetch(
            _queries.fetch_security_events, principal.organization_id, earliest, limit + 1
        )
    items = [
        SecurityEvent(
            **{
                **dict(row),
                "id": str(row["id"]),
                "actor_id": row["actor_id"] and str(row["actor_id"]),
                "user_id": row["user_id"] and str(row["user_id"]),
                "details": orjson.loads(row["details"]),
            }
        )
        for row in rows[:limit]
    ]
    return SecurityEvents(items=items, next_before=items[-1].id if len(rows) > limit else None)


def _refused() -> ProblemError:
    return ProblemError("link_refused", "the invitation was used, taken back or is too old")

"""`/api/auth/…`: signing in and out, and tickets for sockets."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.documented import problems
from api.passwords import TooBusyError
from api.peer import address_of
from api.problems import ProblemError
from api.request import claims_of, services_of
from api.sessions import (
    CredentialsRefusedError,
    Granted,
    NotAMemberError,
    RefreshRefusedError,
    RefreshReusedError,
    normal_email,
)
from core.token_keys import write_jwks
from core.tokens import TICKET_SECONDS, Claims, claims_to_json, make_ticket, ticket_key

router = APIRouter(prefix="/api/auth", tags=["signing in"])

Text = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]*$")]
Authenticated = Annotated[Claims, Depends(claims_of)]
BEARER: dict[str, Any] = {"security": [{"bearer": []}]}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LoginBody(_Body):
    """Who signs in, and to which organisation: its slug or id, the one used last if it is left out."""

    email: Text
    password: Text
    organization: Text | None = None


class RefreshBody(_Body):
    """The refresh token that the last sign-in or refresh gave."""

    refresh_token: Text


class LogoutBody(_Body):
    """Whether every session of the person ends, in all organisations, or this one."""

    everywhere: bool = False


class Tokens(BaseModel):
    """The refresh token is good once: a new one comes with each refresh."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    refresh_token: str


class Ticket(BaseModel):
    """A ticket opens one socket, within `expires_in` seconds."""

    ticket: str
    expires_in: int


class Me(BaseModel):
    """Who a token stands for, and what they may do. `branch_ids` null: all branches."""

    user_id: str
    name: str
    organization_id: str
    role: str
    branch_ids: list[str] | None
    reads: Literal["all", "own"]
    session_id: str


@router.post("/login", responses=problems(400, 401, 403, 413, 415, 422, 429, 503))
async def login(request: Request, response: Response, body: LoginBody) -> Tokens:
    """Sign in with e-mail address and password."""
    email = normal_email(body.email)
    await services_of(request).limiter.admit_login(request, email)
    try:
        granted = await services_of(request).sessions.login(
            email,
            body.password,
            body.organization,
            request.headers.get("user-agent"),
            address_of(request),
        )
    except CredentialsRefusedError:
        raise ProblemError("credentials_refused", "e-mail address or password is wrong") from None
    except NotAMemberError:
        detail = "you belong to no organisation" if body.organization is None else "you do not belong to it"
        raise ProblemError("not_a_member", detail) from None
    except TooBusyError:
        raise ProblemError("too_busy", "too many people sign in at this moment") from None
    return _tokens(granted, response)


@router.post("/refresh", responses=problems(400, 401, 413, 415, 422, 503))
async def refresh(request: Request, response: Response, body: RefreshBody) -> Tokens:
    """Take a refresh token for new tokens. One that was used before ends its session: somebody has a copy."""
    try:
        granted = await services_of(request).sessions.refresh(body.refresh_token, address_of(request))
    except RefreshRefusedError:
        raise ProblemError(
            "refresh_refused", "expected the refresh token of a session that is in force"
        ) from None
    except RefreshReusedError:
        raise ProblemError("refresh_reused", "this refresh token was used before: sign in again") from None
    return _tokens(granted, response)


@router.post(
    "/logout", status_code=204, responses=problems(400, 401, 413, 415, 422, 503), openapi_extra=BEARER
)
async def logout(
    request: Request, claims: Authenticated, body: Annotated[LogoutBody | None, Body()] = None
) -> None:
    """End this session, or all of the person's."""
    services = services_of(request)
    principal = await services.principals.fetch(claims)
    await services.sessions.logout(
        principal, everywhere=body is not None and body.everywhere, address=address_of(request)
    )


@router.post("/ticket", responses=problems(401, 503), openapi_extra=BEARER)
async def ticket(request: Request, response: Response, claims: Authenticated) -> Ticket:
    """A one-time ticket for the WebSocket's address, where a token would end up in logs."""
    services = services_of(request)
    await services.principals.fetch(claims)
    text = make_ticket()
    await services.redis.set(ticket_key(text), claims_to_json(claims), ex=TICKET_SECONDS)
    response.headers["cache-control"] = "no-store"
    return Ticket(ticket=text, expires_in=TICKET_SECONDS)


@router.get("/jwks.json", response_class=Response)
async def jwks(request: Request) -> Response:
    """The public keys that access tokens are signed with (RFC 7517), for gateways; none while a secret signs them."""
    body = write_jwks(services_of(request).tokens.keys)
    return Response(body, 200, {"cache-control": "public, max-age=300"}, "application/jwk-set+json")


@router.get("/me", responses=problems(401, 503), openapi_extra=BEARER)
async def me(request: Request, claims: Authenticated) -> Me:
    """Who the token stands for today."""
    principal = await services_of(request).principals.fetch(claims)
    branches = principal.branch_ids
    return Me(
        user_id=principal.user_id,
        name=principal.name,
        organization_id=principal.organization_id,
        role=principal.role,
        branch_ids=None if branches is None else sorted(branches),
        reads=principal.reads,
        session_id=principal.session_id,
    )


def _tokens(granted: Granted, response: Response) -> Tokens:
    response.headers["cache-control"] = "no-store"
    return Tokens(
        access_token=granted.access_token,
        expires_in=granted.expires_in,
        refresh_token=granted.refresh_token,
    )

"""What is sealed at rest: tax ids of clients, and tokens of outside systems, which nobody reads back over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from api import audit
from api.documented import problems
from api.peer import address_of
from api.problems import ProblemError
from api.request import services_of
from api.routes.auth import BEARER, Authenticated
from api.services import Services
from core.database import Connection, scoped
from core.principal import Principal
from core.queries import load
from core.sealing import SealError, Seals, place_of

router = APIRouter(prefix="/api", tags=["sealed values"])

TAX_ID = "tax_id"

_queries = load("api", "queries.sql")
_log = structlog.get_logger()

Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,59}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TaxId(_Body):
    """A client's tax id."""

    tax_id: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00]*$")]


class Token(_Body):
    """What an outside system lets us in with."""

    token: Annotated[str, Field(min_length=1, max_length=8_000, pattern=r"^[^\x00]*$")]


class Integration(BaseModel):
    """An outside system whose token is here."""

    name: str
    updated_at: datetime
    updated_by: str | None


class Integrations(BaseModel):
    """The outside systems whose tokens are here; the tokens themselves are shown to nobody."""

    items: list[Integration]


@router.get("/clients/{id}/tax-id", responses=problems(401, 403, 404, 422, 429, 503), openapi_extra=BEARER)
async def get_tax_id(request: Request, id: UUID, claims: Authenticated) -> TaxId:
    """A client's tax id. That it was read is in the audit log, so reading it counts as a write."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    async with scoped(services.pool, principal.organization_id) as connection:
        await _demand_client(connection, principal, str(id), to_write=False)
        row = await connection.fetchrow(_queries.fetch_sealed, principal.organization_id, str(id), TAX_ID)
        if row is None:
            raise ProblemError("not_found", "the client has no tax id")
        try:
            place = place_of(principal.organization_id, str(id), TAX_ID)
            value = _seals(services).open(row["sealed"], row["key_id"], place)
        except SealError as error:
            _log.error("sealed.unreadable", error=str(error))
            raise ProblemError("unavailable", "the value's key is not set on this server") from None
        await _note(connection, request, principal, "secret_read", client_id=str(id), name=TAX_ID)
    return TaxId(tax_id=value)


@router.put(
    "/clients/{id}/tax-id",
    status_code=204,
    responses=problems(400, 401, 403, 404, 413, 415, 422, 429, 503),
    openapi_extra=BEARER,
)
async def put_tax_id(request: Request, id: UUID, claims: Authenticated, body: TaxId) -> None:
    """Set a client's tax id. It is in no record, log, history or publication."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    async with scoped(services.pool, principal.organization_id) as connection:
        await _demand_client(connection, principal, str(id), to_write=True)
        await _put(connection, request, services, principal, str(id), TAX_ID, body.tax_id)


@router.delete(
    "/clients/{id}/tax-id",
    status_code=204,
    responses=problems(401, 403, 404, 422, 429, 503),
    openapi_extra=BEARER,
)
async def delete_tax_id(request: Request, id: UUID, claims: Authenticated) -> None:
    """Remove a client's tax id."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    async with scoped(services.pool, principal.organization_id) as connection:
        await _demand_client(connection, principal, str(id), to_write=True)
        await _remove(connection, request, principal, str(id), TAX_ID)


@router.get("/auth/integrations", responses=problems(401, 403, 503), openapi_extra=BEARER)
async def list_integrations(request: Request, claims: Authenticated) -> Integrations:
    """The outside systems whose tokens are here."""
    services = services_of(request)
    principal = _demand_integrations(await services.principals.fetch(claims))
    async with scoped(services.pool, principal.organization_id) as connection:
        rows = await connection.fetch(_queries.list_sealed, principal.organization_id)
    return Integrations(
        items=[
            Integration(
                name=row["name"],
                updated_at=row["updated_at"],
                updated_by=row["updated_by"] and str(row["updated_by"]),
            )
            for row in rows
        ]
    )


@router.put(
    "/auth/integrations/{name}",
    status_code=204,
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503),
    openapi_extra=BEARER,
)
async def put_integration(request: Request, name: Name, claims: Authenticated, body: Token) -> None:
    """Keep an outside system's token."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = _demand_integrations(await services.principals.fetch(claims))
    async with scoped(services.pool, principal.organization_id) as connection:
        await _put(connection, request, services, principal, None, name, body.token)


@router.delete(
    "/auth/integrations/{name}",
    status_code=204,
    responses=problems(401, 403, 404, 422, 429, 503),
    openapi_extra=BEARER,
)
async def delete_integration(request: Request, name: Name, claims: Authenticated) -> None:
    """Forget an outside system's token."""
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = _demand_integrations(await services.principals.fetch(claims))
    async with scoped(services.pool, principal.organization_id) as connection:
        await _remove(connection, request, principal, None, name)


def _demand_integrations(principal: Principal) -> Principal:
    if not principal.handles_integrations:
        raise ProblemError("forbidden", f"role {principal.role} does not handle integrations")
    return principal


async def _demand_client(
    connection: Connection, principal: Principal, client_id: str, *, to_write: bool
) -> None:
    branches = principal.readable_branches
    row = await connection.fetchrow(
        _queries.find_branch_of_client,
        principal.organization_id,
        client_id,
        None if branches is None else sorted(branches),
    )
    if row is None:
        raise ProblemError("not_found", "there is no such client")
    branch = None if row["branch_id"] is None else str(row["branch_id"])
    if not principal.handles_tax_ids or (to_write and not principal.writes_branch(branch)):
        raise ProblemError("forbidden", f"role {principal.role} may not do this to the client's tax id")


def _seals(services: Services) -> Seals:
    if services.seals is None:
        raise ProblemError("unavailable", "BRANCHLINE_FIELD_KEYS is not set on this server")
    return services.seals


async def _put(
    connection: Connection,
    request: Request,
    services: Services,
    principal: Principal,
    client_id: str | None,
    name: str,
    value: str,
) -> None:
    place = place_of(principal.organization_id, client_id, name)
    seals = _seals(services)
    await connection.execute(
        _queries.put_sealed,
        principal.organization_id,
        client_id,
        name,
        seals.key_id,
        seals.seal(value, place),
        principal.user_id,
    )
    await _note(connection, request, principal, "secret_written", client_id=client_id, name=name)


async def _remove(
    connection: Connection, request: Request, principal: Principal, client_id: str | None, name: str
) -> None:
    if await connection.fetchval(_queries.remove_sealed, principal.organization_id, client_id, name) is None:
        raise ProblemError("not_found", "there is no such value")
    await _note(connection, request, principal, "secret_removed", client_id=client_id, name=name)


async def _note(
    connection: Connection, request: Request, principal: Principal, kind: audit.Kind, **details: str | None
) -> None:
    await audit.note_in(
        connection,
        principal.organization_id,
        kind,
        actor_id=principal.user_id,
        address=address_of(request),
        **details,
    )

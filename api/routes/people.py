"""`/api/people`: who the ids in records and memberships are."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.cursor import Cursor, digest_of, write_cursor
from api.documented import problems
from api.listing import parse_limit, refuse_parameters, split_query
from api.openapi import paging
from api.principals import fetch_in
from api.request import query_of, read_cursor_of, services_of
from api.routes.auth import BEARER, Authenticated
from core.database import scoped
from core.queries import load

router = APIRouter(prefix="/api/people", tags=["people"])

_queries = load("api", "queries.sql")
_DIGEST = digest_of("people")


class Person(BaseModel):
    """A member of the organisation. What follows the name is for those who handle memberships.

    `branch_ids` null: all branches. `disabled`: they may not sign in to the organisation.
    """

    id: str
    name: str
    email: str | None = None
    role: str | None = None
    branch_ids: list[str] | None = None
    disabled: bool | None = None


class PeoplePage(BaseModel):
    """A page of people, by id. `next_cursor` is null on the last one."""

    items: list[Person]
    next_cursor: str | None


@router.get(
    "",
    response_model_exclude_unset=True,
    responses=problems(400, 401, 403, 422, 503),
    openapi_extra={**BEARER, "parameters": paging()},
)
async def list_people(request: Request, response: Response, claims: Authenticated) -> PeoplePage:
    """The people of the organisation, also those who are disabled: their names still stand in records."""
    services = services_of(request)
    own, rest = split_query(query_of(request), frozenset({"limit", "cursor"}))
    refuse_parameters(rest)
    limit = parse_limit(own.get("limit"))
    after = read_cursor_of(services, claims.organization_id, _DIGEST, own.get("cursor"))
    async with scoped(services.pool, claims.organization_id) as connection:
        principal = await fetch_in(connection, claims)
        branches = principal.known_branches
        rows = await connection.fetch(
            _queries.fetch_people,
            principal.organization_id,
            None if after is None else after.id,
            None if branches is None else sorted(branches),
            limit + 1,
        )
    shown = Person.model_fields if principal.handles_memberships else ("id", "name")
    items = [Person(**{name: row[name] for name in shown}) for row in rows[:limit]]
    next_cursor = None
    if len(rows) > limit:
        next_cursor = write_cursor(
            Cursor(None, items[-1].id),
            key=services.cursor_key,
            organization_id=principal.organization_id,
            query=_DIGEST,
        )
        response.headers["link"] = f'<{request.url.path}?limit={limit}&cursor={next_cursor}>; rel="next"'
    response.headers["cache-control"] = "private, no-store"
    return PeoplePage(items=items, next_cursor=next_cursor)

"""`/api/{collection}` and `/api/{collection}/{id}`: reading, for every collection of the catalogue."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from api.answer import etag_of, not_modified, page_response, record_response, show, show_all, shown_fields
from api.cursor import Cursor, digest_of, write_cursor
from api.listing import ListQuery, parse_list_query, refuse_parameters
from api.principals import fetch_in, fetch_with_head
from api.problems import ProblemError
from api.request import authenticate, matches_none, query_of, read_cursor_of, record_id, services_of
from api.statement import page_statements, record_statement, records_statement
from api.validation import FieldFault, InvalidFieldsError
from core.database import Connection, Pool, scoped
from core.principal import Principal
from core.protocol.collection import Catalogue, Collection
from core.protocol.view import View, view_of


@dataclass(frozen=True, slots=True)
class Row:
    """A record as a statement gives it."""

    record: bytes
    id: str
    value: str | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """For whom a list is, and of which state of the log."""

    principal: Principal
    view: View
    after: Cursor | None
    epoch: str
    head: int
    headers: dict[str, str]


def collection_of(request: Request, catalogue: Catalogue) -> Collection:
    """The collection in the address; raises ProblemError 404."""
    name = request.path_params["collection"]
    collection = catalogue.collections.get(name)
    if collection is None:
        raise ProblemError("unknown_collection", f"there is no collection {name[:60]!r}")
    return collection


def demand_reading(principal: Principal, collection: Collection) -> None:
    """Raise ProblemError 403 if the principal may not read the collection at all."""
    if not principal.reads_collection(collection):
        raise ProblemError("forbidden", f"role {principal.role} does not read {collection.name}")


async def list_records(request: Request) -> Response:
    """A page of the records that pass the filters, in order."""
    services = services_of(request)
    claims = authenticate(request)
    catalogue = services.describe().catalogue
    collection = collection_of(request, catalogue)
    query = parse_list_query(query_of(request), collection, catalogue)

    async def see(connection: "Connection | Pool") -> _Seen:
        principal, epoch, head = await fetch_with_head(connection, claims)
        view = view_of(query.topic, principal, catalogue)
        _refuse_hidden_sort(query, principal, collection)
        after = read_cursor_of(services, principal.organization_id, query.digest, query.cursor)
        etag = _list_etag(query, view, catalogue, epoch, head)
        return _Seen(principal, view, after, epoch, head, {"etag": etag, "vary": "authorization"})

    # Most who have a list already ask for one that has not changed: a transaction would be two round trips more.
    if "if-none-match" in request.headers:
        seen = await see(services.pool)
        if matches_none(request, seen.headers["etag"]):
            return not_modified(seen.headers)
    async with scoped(services.pool, claims.organization_id) as connection:
        # The head before the rows: what is newer than it comes in the deltas from it.
        seen = await see(connection)
        rows = await _fetch_page(connection, collection, query, seen.principal, seen.after)
    headers = seen.headers
    page = rows[: query.limit]
    next_cursor = None
    if len(rows) > query.limit:
        last = page[-1]
        next_cursor = write_cursor(
            Cursor(last.value, last.id),
            key=services.cursor_key,
            organization_id=seen.principal.organization_id,
            query=query.digest,
        )
        headers["link"] = f'<{query.address(request.url.path, next_cursor)}>; rel="next"'
    shown = seen.view.fields[collection.name]
    return page_response(
        show_all([row.record for row in page], shown),
        next_cursor=next_cursor,
        members={"epoch": seen.epoch, "offset": seen.head},
        headers=headers,
    )


async def get_record(request: Request) -> Response:
    """One record; 304 if the client has this version."""
    services = services_of(request)
    claims = authenticate(request)
    collection = collection_of(request, services.describe().catalogue)
    refuse_parameters(query_of(request))
    identifier = record_id(request)
    async with scoped(services.pool, claims.organization_id) as connection:
        principal = await fetch_in(connection, claims)
        demand_reading(principal, collection)
        row = await fetch_record(connection, collection, principal, identifier)
    if row is None:
        raise no_record(collection, identifier)
    version = int(row.value or 0)
    if matches_none(request, etag_of(version)):
        return not_modified({"etag": etag_of(version)})
    return record_response(show(row.record, shown_fields(principal, collection)), version)


async def fetch_record(
    connection: Connection, collection: Collection, principal: Principal, identifier: str
) -> Row | None:
    """The record, its `value` the version, if the principal may read it."""
    statement = record_statement(
        collection, principal.organization_id, identifier, principal.readable_branches
    )
    row = await connection.fetchrow(statement.sql, *statement.parameters)
    return None if row is None else Row(row[0].encode(), row[1], row[2])


async def fetch_records(
    connection: Connection, collection: Collection, principal: Principal, identifiers: Iterable[str]
) -> dict[str, Row]:
    """Those of the records that are there and that the principal may read, by id."""
    statement = records_statement(
        collection, principal.organization_id, sorted(set(identifiers)), principal.readable_branches
    )
    rows = await connection.fetch(statement.sql, *statement.parameters)
    return {row[1]: Row(row[0].encode(), row[1], row[2]) for row in rows}


def no_record(collection: Collection, identifier: str) -> ProblemError:
    """What is said of a record that is not there, or not to be read: nobody learns which."""
    return ProblemError("not_found", f"there is no record {identifier} in {collection.name}")


async def _fetch_page(
    connection: Connection,
    collection: Collection,
    query: ListQuery,
    principal: Principal,
    after: Cursor | None,
) -> list[Row]:
    """One row more than the limit, if there is one: it says that another page follows."""
    rows: list[Row] = []
    wanted = query.limit + 1
    for statement in page_statements(
        collection,
        principal.organization_id,
        filters=query.topic.filters,
        branches=principal.readable_branches,
        sort=query.sort,
        after=after,
        limit=wanted,
    ):
        if len(rows) < wanted:
            found = await connection.fetch(statement.sql, *statement.parameters)
            rows.extend(Row(row[0].encode(), row[1], row[2]) for row in found)
    return rows


def _refuse_hidden_sort(query: ListQuery, principal: Principal, collection: Collection) -> None:
    # The order would tell what the field says.
    if query.sort.field in principal.hidden_fields(collection):
        expected = f"a field of {collection.name} that has an order"
        raise InvalidFieldsError([FieldFault("sort", expected, query.sort.field)])


def _list_etag(query: ListQuery, view: View, catalogue: Catalogue, epoch: str, head: int) -> str:
    # Weak: two answers with it mean the same, though a record may be newer than the head.
    parts = (
        epoch,
        str(head),
        view.name,
        str(query.sort),
        str(query.limit),
        query.cursor or "",
        catalogue.version,
    )
    return f'W/"{digest_of(*parts)}"'

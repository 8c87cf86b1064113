"""`/api/{collection}/{id}/history` and `/restore`: what a record was, and making it so again."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.answer import page_response, show, shown_fields
from api.cursor import Cursor, digest_of, write_cursor
from api.listing import parse_limit, refuse_parameters, split_query
from api.principals import fetch_in
from api.problems import ProblemError
from api.request import authenticate, if_match, query_of, read_cursor_of, read_json, record_id, services_of
from api.routes.collections import collection_of, demand_reading, fetch_record, no_record
from api.routes.writes import Write, begin
from api.statement import record_statement
from api.validation import FieldFault, InvalidFieldsError, describe
from core.database import Connection, scoped
from core.principal import Principal
from core.protocol.collection import Collection
from core.protocol.mutation import Mutation
from core.queries import load

_queries = load("api", "queries.sql")
_BODY = frozenset({"version", "fields"})
_MAX_VERSION = 2**63 - 1


async def list_history(request: Request) -> Response:
    """A page of the record's versions, newest first."""
    services = services_of(request)
    claims = authenticate(request)
    collection = collection_of(request, services.describe().catalogue)
    own, rest = split_query(query_of(request), frozenset({"limit", "cursor"}))
    refuse_parameters(rest)
    limit = parse_limit(own.get("limit"))
    identifier = record_id(request)
    digest = digest_of("history", collection.name, identifier)
    cursor = read_cursor_of(services, claims.organization_id, digest, own.get("cursor"))
    below = None if cursor is None else int(cursor.value or 0)
    async with scoped(services.pool, claims.organization_id) as connection:
        principal = await fetch_in(connection, claims)
        demand_reading(principal, collection)
        await _exists(connection, collection, principal, identifier)
        rows = await _fetch_versions(connection, collection, principal, identifier, below, limit + 1)
    headers: dict[str, str] = {}
    next_cursor = None
    if len(rows) > limit:
        last = Cursor(str(rows[limit - 1]["version"]), identifier)
        next_cursor = write_cursor(
            last, key=services.cursor_key, organization_id=principal.organization_id, query=digest
        )
        headers["link"] = f'<{request.url.path}?limit={limit}&cursor={next_cursor}>; rel="next"'
    shown = shown_fields(principal, collection)
    items = [_entry(row, shown) for row in rows[:limit]]
    return page_response(items, next_cursor=next_cursor, members={}, headers=headers)


async def restore_record(request: Request) -> Response:
    """Give a record, or some of its fields, the values of an earlier version: as a new version."""
    write = await begin(request)
    identifier = record_id(request)
    version, names = _parse_restore(await read_json(request))
    writable = write.validator.names() - write.hidden
    unknown = (names or frozenset()) - writable
    if unknown:
        expected = f"a field of {write.collection.name} that can be written"
        raise InvalidFieldsError([FieldFault("fields", expected, describe(name)) for name in sorted(unknown)])
    services = services_of(request)
    async with scoped(services.pool, write.principal.organization_id) as connection:
        exists = await _exists(connection, write.collection, write.principal, identifier)
        rows = await _fetch_versions(
            connection, write.collection, write.principal, identifier, version + 1, 1
        )
        if not exists and "if-match" in request.headers and not await _is_repeat(connection, write):
            raise ProblemError("version_mismatch", "expected a record that is there, and it is deleted")
    fields = _fields_of(write, identifier, version, rows, names or writable)
    asked = ["restore", version, None if names is None else sorted(names)]
    return await _write_back(write, request, identifier, fields, exists=exists, asked=asked)


async def _is_repeat(connection: Connection, write: Write) -> bool:
    who = write.principal
    found = await connection.fetchval(
        _queries.is_answered, who.organization_id, who.user_id, write.mutation_id
    )
    return bool(found)


async def _write_back(
    write: Write, request: Request, identifier: str, fields: dict[str, Any], *, exists: bool, asked: Any
) -> Response:
    base = if_match(request)
    mutation = Mutation(
        write.mutation_id,
        write.collection.name,
        identifier,
        "update" if exists else "insert",
        write.validator.patch(fields) if exists else write.validator.insert(fields),
        base_version=base,
        mode=None if base is None else "strict",
    )
    write.demand_fields(mutation.fields)
    return await write.answer(await write.commit(mutation, asked=asked), identifier)


def _fields_of(
    write: Write, identifier: str, version: int, rows: list[asyncpg.Record], names: frozenset[str]
) -> dict[str, Any]:
    if not rows or rows[0]["version"] != version:
        raise ProblemError("not_found", f"version {version} of record {identifier} is not kept")
    if rows[0]["operation"] == "delete":
        fault = FieldFault("version", "a version that has values", f"version {version}, which is a deletion")
        raise InvalidFieldsError([fault])
    record = orjson.loads(rows[0]["record"])
    return {name: record[name] for name in names if name in record}


async def _fetch_versions(
    connection: Connection,
    collection: Collection,
    principal: Principal,
    identifier: str,
    below: int | None,
    limit: int,
) -> list[asyncpg.Record]:
    branches = principal.readable_branches if collection.has_branch else None
    return await connection.fetch(
        _queries.fetch_history,
        principal.organization_id,
        collection.name,
        identifier,
        below,
        None if branches is None else sorted(branches),
        limit,
    )


async def _exists(
    connection: Connection, collection: Collection, principal: Principal, identifier: str
) -> bool:
    """Whether the record is there; False if it was deleted. Raises ProblemError 404 for whom its past is not.

    Who reads the record reads its history; a deleted one's is read by those who could read it to the end.
    """
    if await fetch_record(connection, collection, principal, identifier) is not None:
        return True
    anybodys = record_statement(collection, principal.organization_id, identifier, None)
    if await connection.fetchrow(anybodys.sql, *anybodys.parameters) is None:
        newest = await connection.fetchrow(
            _queries.fetch_history, principal.organization_id, collection.name, identifier, None, None, 1
        )
        branch = None if newest is None else orjson.loads(newest["record"]).get("branch_id")
        if (
            newest is not None
            and newest["operation"] == "delete"
            and principal.may("read", collection, branch)
        ):
            return False
    raise no_record(collection, identifier)


def _entry(row: asyncpg.Record, shown: frozenset[str]) -> bytes:
    """`{version, operation, at, actor, mutation_id, changed, record}`; a deletion has no record."""
    record = None if row["operation"] == "delete" else show(row["record"].encode(), shown)
    at = datetime.fromtimestamp(int(row["clock"][:13]) / 1000, UTC).isoformat(timespec="microseconds")
    return orjson.dumps(
        {
            "version": row["version"],
            "operation": row["operation"],
            "at": at.replace("+00:00", "Z"),
            "clock": row["clock"],
            "actor": _actor(row),
            "mutation_id": None if row["mutation_id"] is None else str(row["mutation_id"]),
            "changed": [name for name in row["changed"] if name in shown],
            "record": None if record is None else orjson.Fragment(record),
        }
    )


def _actor(row: asyncpg.Record) -> dict[str, Any] | None:
    """Who it was, as in a change: `branch_id` for those who write to exactly one branch."""
    if row["actor_id"] is None:
        return None
    branch_id = None if row["actor_branch"] is None else str(row["actor_branch"])
    return {"user_id": str(row["actor_id"]), "name": row["actor_name"], "branch_id": branch_id}


def _parse_restore(body: Any) -> tuple[int, frozenset[str] | None]:
    if not isinstance(body, dict):
        raise InvalidFieldsError([FieldFault("", "a JSON object", describe(body))])
    faults = [
        FieldFault(name[:60], "version and fields", "an unknown member") for name in body.keys() - _BODY
    ]
    version, fields = body.get("version"), body.get("fields")
    if type(version) is not int or not 1 <= version < _MAX_VERSION:
        came = describe(version) if "version" in body else "nothing"
        faults.append(FieldFault("version", "the number of a version", came))
    if fields is not None and not (
        isinstance(fields, list) and fields and all(isinstance(each, str) for each in fields)
    ):
        faults.append(FieldFault("fields", "a list of field names", describe(fields)))
    if faults:
        raise InvalidFieldsError(faults)
    assert isinstance(version, int)
    return version, None if fields is None else frozenset(fields)

"""`/api/overwritten`: what a person typed and somebody replaced without having seen it, until its author has (I9)."""

from typing import Any

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.answer import JSON, shown_fields
from api.listing import refuse_parameters
from api.principals import fetch_in
from api.request import authenticate, query_of, read_json, services_of
from api.routes.collections import Row, fetch_records
from api.validation import FieldFault, InvalidFieldsError, describe
from api.values import parse_uuid
from core.database import Connection, scoped
from core.principal import Principal
from core.protocol.collection import Catalogue
from core.queries import load

LIMIT = 200
MAX_STEPS = 10
"""So many times the limit is looked through for values that their author may see: what lies beyond comes when some of
those before it were marked as seen.
"""

_queries = load("api", "overwritten.sql")


async def list_overwritten(request: Request) -> Response:
    """Values of mine that somebody overwrote and I have not seen yet, oldest first, at most 200."""
    services = services_of(request)
    claims = authenticate(request)
    refuse_parameters(query_of(request))
    catalogue = services.describe().catalogue
    items: list[dict[str, Any]] = []
    after = None
    has_more = True
    async with scoped(services.pool, claims.organization_id) as connection:
        principal = await fetch_in(connection, claims)
        for _ in range(MAX_STEPS):
            rows = await connection.fetch(
                _queries.fetch_overwritten, claims.organization_id, claims.user_id, after, LIMIT + 1
            )
            has_more = len(rows) > LIMIT
            items.extend(await _visible(connection, catalogue, principal, rows[:LIMIT]))
            if len(items) >= LIMIT or not has_more:
                break
            after = rows[LIMIT - 1]["id"]
    body = {"items": items[:LIMIT], "more": has_more or len(items) > LIMIT}
    return Response(orjson.dumps(body), 200, {"cache-control": "private, no-store"}, JSON)


async def mark_seen(request: Request) -> Response:
    """Forget overwritten values that their author has seen: `{ids}`."""
    services = services_of(request)
    claims = authenticate(request)
    await services.limiter.admit_write(request, claims)
    refuse_parameters(query_of(request))
    ids = _parse_ids(await read_json(request))
    async with scoped(services.pool, claims.organization_id) as connection:
        await fetch_in(connection, claims)
        seen = await connection.fetchval(_queries.mark_seen, claims.organization_id, claims.user_id, ids)
    return Response(orjson.dumps({"seen": seen}), 200, None, JSON)


async def _visible(
    connection: Connection, catalogue: Catalogue, principal: Principal, rows: list[asyncpg.Record]
) -> list[dict[str, Any]]:
    """The values whose records their author may read today, or could read when they were deleted."""
    wanted: dict[str, set[str]] = {}
    for row in rows:
        wanted.setdefault(row["collection"], set()).add(str(row["record_id"]))
    found: dict[tuple[str, str], Row] = {}
    shown: dict[str, frozenset[str]] = {}
    for name, identifiers in wanted.items():
        collection = catalogue.collections.get(name)
        if collection is None or not principal.reads_collection(collection):
            continue
        shown[name] = shown_fields(principal, collection)
        records = await fetch_records(connection, collection, principal, identifiers)
        found |= {(name, identifier): record for identifier, record in records.items()}
    items = []
    for row in rows:
        record = found.get((row["collection"], str(row["record_id"])))
        if row["field"] not in shown.get(row["collection"], frozenset()):
            continue
        if record is None and not _could_read_deleted(principal, row):
            continue
        items.append(_item(row, record))
    return items


def _could_read_deleted(principal: Principal, row: asyncpg.Record) -> bool:
    branches = principal.readable_branches
    return bool(row["is_deleted"]) and (
        branches is None or row["deleted_branch"] is None or row["deleted_branch"] in branches
    )


def _item(row: asyncpg.Record, record: Row | None) -> dict[str, Any]:
    by = row["overwritten_by"]
    return {
        "id": str(row["id"]),
        "collection": row["collection"],
        "record_id": str(row["record_id"]),
        "field": row["field"],
        "mine": orjson.loads(row["value"]),
        "theirs": None if record is None else orjson.loads(record.record).get(row["field"]),
        "deleted": record is None,
        "by": None if by is None else {"user_id": str(by), "name": row["name"]},
        "at_ms": int(row["overwritten_at"].timestamp() * 1000),
        "written_at_ms": row["written_at_ms"],
        "version": row["version"],
    }


def _parse_ids(body: Any) -> list[str]:
    expected = f"a list of at most {LIMIT} ids"
    if not isinstance(body, dict):
        raise InvalidFieldsError([FieldFault("", "an object", describe(body))])
    faults = [
        FieldFault(name[:60], "no such member", describe(value))
        for name, value in body.items()
        if name != "ids"
    ]
    ids = body.get("ids")
    if not isinstance(ids, list) or len(ids) > LIMIT:
        came = f"{len(ids)} of them" if isinstance(ids, list) else describe(ids)
        raise InvalidFieldsError([*faults, FieldFault("ids", expected, came)])
    try:
        parsed = [parse_uuid(each) for each in ids]
    except ValueError:
        faults.append(FieldFault("ids", expected, "something that is no UUID"))
    if faults:
        raise InvalidFieldsError(faults)
    return parsed

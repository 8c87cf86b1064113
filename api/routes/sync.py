"""`/api/sync`, `/api/changes` and `/api/overwritten`: what clients do that were away, or have no socket."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api import metrics
from api.answer import JSON, show, shown_fields
from api.listing import refuse_parameters, split_query
from api.principals import fetch_in
from api.problems import CODES, ProblemError
from api.push import PushReader, Refusal, read_push
from api.request import authenticate, read_json, services_of
from api.routes.collections import fetch_record, query_of
from api.services import Described
from api.validation import FieldFault, InvalidFieldsError, describe
from api.values import parse_uuid
from core.database import Connection, scoped
from core.log import PositionTooOldError, fetch_changes, fetch_head
from core.principal import Principal
from core.protocol.mutation import Mutation, Result
from core.protocol.topic import parse_topic
from core.protocol.view import change_for_view, view_of
from core.queries import load

CHANGES_LIMIT = 1_000
MAX_CHANGES_LIMIT = 5_000
OVERWRITTEN_LIMIT = 200

_queries = load("api", "sync.sql")


async def push(request: Request) -> Response:
    """Write up to 1,000 mutations, each for itself; a result for each, in order."""
    services = services_of(request)
    claims = authenticate(request)
    refuse_parameters(query_of(request))
    described = services.describe()
    envelope = read_push(await read_json(request))
    principal = await services.principals.fetch(claims)
    reader = PushReader(
        principal, described.catalogue.collections, described.validator, now_ms=time.time_ns() // 1_000_000
    )
    read = reader.read(envelope)
    mutations = [each for each in read if isinstance(each, Mutation)]
    # One unit: whoever receives the changes sees that they belong together.
    results = iter(await services.committer.write(principal, mutations, unit=_unit(mutations)))
    pairs = [(each, each.result if isinstance(each, Refusal) else next(results)) for each in read]
    async with scoped(services.pool, claims.organization_id) as connection:
        # Today's rights: they may have changed since the first answer to a repeat was given.
        principal = await fetch_in(connection, claims)
        encoded = [await _encode(connection, described, principal, each, result) for each, result in pairs]
        epoch, head = await fetch_head(connection, claims.organization_id)
    for _, result in pairs:
        metrics.count_result(result.status)
    rest = orjson.dumps({"epoch": epoch, "offset": head})
    return Response(b'{"results":[' + b",".join(encoded) + b"]," + rest[1:], 200, None, JSON)


def _unit(mutations: list[Mutation]) -> str:
    return mutations[0].mutation_id if mutations else ""


async def _encode(
    connection: Connection,
    described: Described,
    principal: Principal,
    asked: Mutation | Refusal,
    result: Result,
) -> bytes:
    """One result as JSON. A repeat's record is read again, as its owner may see it now."""
    answer: dict[str, Any] = {"mutation_id": result.mutation_id, "status": result.status}
    if result.version is not None:
        answer["version"] = result.version
    if result.clock is not None:
        answer["clock"] = result.clock
    if isinstance(asked, Mutation):
        collection = described.catalogue.collections[asked.collection]
        shown = shown_fields(principal, collection)
        record = result.record
        if result.status == "duplicate" and asked.operation != "delete":
            row = await fetch_record(connection, collection, principal, asked.id)
            record = None if row is None else row.record
        if record is not None:
            answer["record"] = orjson.Fragment(show(record, shown))
        if result.lost:
            answer["lost"] = _visible(result.lost, shown)
        if result.first is not None:
            answer["first"] = {**result.first, "mutation_id": result.mutation_id}
            if "lost" in result.first:
                answer["first"]["lost"] = _visible(result.first["lost"], shown)
    if result.code is not None:
        answer["code"] = result.code
        answer["message"] = asked.message if isinstance(asked, Refusal) else _words(result)
    return orjson.dumps(answer)


def _visible(entries: list[dict[str, Any]], shown: frozenset[str]) -> list[dict[str, Any]]:
    return [each for each in entries if each["field"] in shown or each["field"] == "*"]


def _words(result: Result) -> str:
    code = CODES.get(result.code or "")
    words = code.title if code else "It was not written"
    # A constraint's or column's name is part of the schema; PostgreSQL's own words are not for clients.
    named = result.detail if result.detail and result.detail.isidentifier() else None
    return f"{words} ({named})" if named else words


async def pull(request: Request) -> Response:
    """What a delta would hold: the changes of a topic after a position, complete from `from` to `to`."""
    services = services_of(request)
    claims = authenticate(request)
    own, rest = split_query(query_of(request), frozenset({"topic", "epoch", "offset", "view", "limit"}))
    refuse_parameters(rest)
    catalogue = services.describe().catalogue
    topic = parse_topic(_demanded(own, "topic", "a topic, such as leads"), catalogue)
    epoch = _demanded(own, "epoch", "the epoch of the position")
    offset = _integer(own, "offset", None, 0, 2**53)
    limit = _integer(own, "limit", CHANGES_LIMIT, 1, MAX_CHANGES_LIMIT)
    async with scoped(services.pool, claims.organization_id) as connection:
        principal = await fetch_in(connection, claims)
        view = view_of(topic, principal, catalogue)
        current, head = await fetch_head(connection, claims.organization_id)
        if epoch != current:
            raise ProblemError(
                "position_of_another_epoch", "expected a position of the epoch that is in force"
            )
        if own.get("view") not in (None, view.name):
            raise ProblemError("position_of_another_view", "what you may read of the topic has changed")
        if offset > head:
            raise ProblemError("position_beyond_head", f"expected an offset up to {head}, got {offset}")
        try:
            changes = await fetch_changes(connection, claims.organization_id, offset, limit)
        except PositionTooOldError:
            raise ProblemError(
                "position_too_old", f"the log no longer reaches back to offset {offset}"
            ) from None
    to = changes[-1].offset if changes else offset
    partial = bool(changes) and changes[-1].last_of_commit > to
    if partial:
        # Up to the last whole transaction; one that is longer than the limit comes in parts, and says so.
        whole = [c for c in changes if c.last_of_commit <= to]
        if whole:
            changes, to, partial = whole, whole[-1].offset, False
    shown = [wire for change in changes if (wire := change_for_view(view, change)) is not None]
    return Response(
        orjson.dumps(
            {
                "topic": topic.canonical,
                "view": view.name,
                "epoch": current,
                "from": offset,
                "to": to,
                "head": max(head, to),
                "changes": shown,
                "more": to < head,
                **({"partial": True} if partial else {}),
            }
        ),
        200,
        {"cache-control": "private, no-store"},
        JSON,
    )


async def list_overwritten(request: Request) -> Response:
    """Values of mine that somebody overwrote and I have not seen yet, oldest first."""
    services = services_of(request)
    claims = authenticate(request)
    refuse_parameters(query_of(request))
    collections = services.describe().catalogue.collections
    items = []
    async with scoped(services.pool, claims.organization_id) as connection:
        principal = await fetch_in(connection, claims)
        rows = await connection.fetch(
            _queries.fetch_overwritten, claims.organization_id, claims.user_id, OVERWRITTEN_LIMIT + 1
        )
        for row in rows[:OVERWRITTEN_LIMIT]:
            collection = collections.get(row["collection"])
            if collection is None or row["field"] not in shown_fields(principal, collection):
                continue
            if not principal.reads_collection(collection):
                continue
            record = await fetch_record(connection, collection, principal, str(row["record_id"]))
            if record is None and not row["was_deleted"]:
                continue  # it is of a branch that they no longer read
            theirs = None if record is None else orjson.loads(record.record).get(row["field"])
            items.append(
                {
                    "id": str(row["id"]),
                    "collection": row["collection"],
                    "record_id": str(row["record_id"]),
                    "field": row["field"],
                    "mine": orjson.loads(row["value"]),
                    "theirs": theirs,
                    "deleted": record is None,
                    "by": row["overwritten_by"]
                    and {"user_id": str(row["overwritten_by"]), "name": row["name"]},
                    "at_ms": int(row["overwritten_at"].timestamp() * 1000),
                    "written_at_ms": row["written_at_ms"],
                    "version": row["version"],
                }
            )
    body = {"items": items, "more": len(rows) > OVERWRITTEN_LIMIT}
    return Response(orjson.dumps(body), 200, {"cache-control": "private, no-store"}, JSON)


async def mark_seen(request: Request) -> Response:
    """Forget overwritten values that their author has seen: `{ids}`."""
    services = services_of(request)
    claims = authenticate(request)
    refuse_parameters(query_of(request))
    body = await read_json(request)
    expected = f"a list of at most {OVERWRITTEN_LIMIT} ids"
    ids = body.get("ids") if isinstance(body, dict) and body.keys() == {"ids"} else None
    if not isinstance(ids, list) or len(ids) > OVERWRITTEN_LIMIT:
        raise InvalidFieldsError([FieldFault("ids", expected, describe(ids))])
    try:
        parsed = [parse_uuid(each) for each in ids]
    except ValueError:
        raise InvalidFieldsError([FieldFault("ids", expected, "something that is no UUID")]) from None
    async with scoped(services.pool, claims.organization_id) as connection:
        await fetch_in(connection, claims)
        seen = await connection.fetchval(_queries.mark_seen, claims.organization_id, claims.user_id, parsed)
    return Response(orjson.dumps({"seen": seen}), 200, None, JSON)


def _demanded(query: Mapping[str, str], name: str, expected: str) -> str:
    value = query.get(name)
    if not value:
        raise InvalidFieldsError([FieldFault(name, expected, "nothing")])
    return str(value)


def _integer(query: Mapping[str, str], name: str, default: int | None, low: int, high: int) -> int:
    text = query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or not low <= int(text[:20]) <= high:
        raise InvalidFieldsError([FieldFault(name, f"an integer from {low} to {high}", describe(text))])
    return int(text)

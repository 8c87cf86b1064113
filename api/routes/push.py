"""`POST /api/sync`: what a client has written while it was away, or since a moment ago, in one request."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from uuid_utils import uuid7

from api import metrics
from api.answer import JSON, show, shown_fields, visible_losses
from api.listing import refuse_parameters
from api.memberships import refused_gift
from api.principals import fetch_with_head
from api.problems import CODES
from api.push import PushReader, Refusal, read_push
from api.request import authenticate, query_of, read_json, services_of
from api.routes.collections import Row, fetch_records
from api.services import Services
from core.database import Connection, scoped
from core.principal import Principal
from core.protocol.collection import Catalogue
from core.protocol.mutation import Mutation, Result

_Answered = tuple[Mutation | Refusal, Result]


async def push(request: Request) -> Response:
    """Write up to 1,000 mutations, each for itself; a result for each, in order."""
    services = services_of(request)
    claims = authenticate(request)
    refuse_parameters(query_of(request))
    now_ms = time.time_ns() // 1_000_000  # before the body, which may come slowly
    described = services.describe()
    envelope = read_push(await read_json(request))
    await services.limiter.admit_write(request, claims, mutations=len(envelope.mutations))
    principal = await services.principals.fetch(claims)
    reader = PushReader(principal, described.catalogue.collections, described.validator, now_ms=now_ms)
    read = [await _unless_refused(services, principal, each) for each in reader.read(envelope)]
    mutations = [each for each in read if isinstance(each, Mutation)]
    # One unit: whoever receives the changes sees that they belong together.
    results = iter(await services.committer.write(principal, mutations, unit=str(uuid7())))
    answered = [(each, each.result if isinstance(each, Refusal) else next(results)) for each in read]
    async with scoped(services.pool, claims.organization_id) as connection:
        # Today's rights: they may have changed since the first answer to a repeat was given.
        principal, epoch, head = await fetch_with_head(connection, claims)
        readable = await _Readable.fetch(connection, described.catalogue, principal, answered)
    metrics.count_results(result.status for _, result in answered)
    encoded = [readable.encode(asked, result) for asked, result in answered]
    rest = orjson.dumps({"epoch": epoch, "offset": head})
    return Response(b'{"results":[' + b",".join(encoded) + b"]," + rest[1:], 200, None, JSON)


async def _unless_refused(
    services: Services, principal: Principal, read: Mutation | Refusal
) -> Mutation | Refusal:
    if isinstance(read, Refusal):
        return read
    refused = await refused_gift(services.pool, principal, read)
    if refused is None:
        return read
    code, fault = refused
    result = Result(read.mutation_id, "rejected", code=code, detail=fault.field)
    return Refusal(result, f"{fault.field}: expected {fault.expected}")


@dataclass(frozen=True, slots=True)
class _Readable:
    """What one person may read of the answers: the fields of each collection, and the records of repeats as they are
    now.
    """

    shown: dict[str, frozenset[str]]
    repeated: dict[tuple[str, str], Row]

    @classmethod
    async def fetch(
        cls,
        connection: Connection,
        catalogue: Catalogue,
        principal: Principal,
        answered: Iterable[_Answered],
    ) -> "_Readable":
        shown: dict[str, frozenset[str]] = {}
        repeats: dict[str, list[str]] = {}
        for asked, result in answered:
            if not isinstance(asked, Mutation):
                continue
            if asked.collection not in shown:
                shown[asked.collection] = shown_fields(principal, catalogue.collections[asked.collection])
            if result.status == "duplicate":
                repeats.setdefault(asked.collection, []).append(asked.id)
        repeated: dict[tuple[str, str], Row] = {}
        for name, identifiers in repeats.items():
            rows = await fetch_records(connection, catalogue.collections[name], principal, identifiers)
            repeated |= {(name, identifier): row for identifier, row in rows.items()}
        return cls(shown, repeated)

    def encode(self, asked: Mutation | Refusal, result: Result) -> bytes:
        """One result as JSON."""
        answer: dict[str, Any] = {"mutation_id": result.mutation_id, "status": result.status}
        if result.version is not None:
            answer["version"] = result.version
        if result.clock is not None:
            answer["clock"] = result.clock
        if isinstance(asked, Mutation):
            self._add_record(answer, asked, result)
        if result.code is not None:
            answer["code"] = result.code
            answer["message"] = asked.message if isinstance(asked, Refusal) else _words(result)
        return orjson.dumps(answer)

    def _add_record(self, answer: dict[str, Any], asked: Mutation, result: Result) -> None:
        shown = self.shown[asked.collection]
        if result.record is not None:
            answer["record"] = orjson.Fragment(show(result.record, shown))
        if result.lost:
            answer["lost"] = visible_losses(result.lost, shown)
        if result.first is None:
            return
        row = self.repeated.get((asked.collection, asked.id))
        if row is not None and asked.operation != "delete":
            answer["record"] = orjson.Fragment(show(row.record, shown))
        answer["first"] = {**result.first, "mutation_id": result.mutation_id}
        if "lost" in result.first:
            lost = visible_losses(result.first["lost"], shown)
            # The value that won may be of a record that they read then and may not read now.
            answer["first"]["lost"] = lost if row is not None else [_mine_alone(each) for each in lost]


def _mine_alone(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "theirs": None, "by": None}


def _words(result: Result) -> str:
    code = CODES.get(result.code or "")
    words = code.title if code else "It was not written"
    # A constraint's or column's name is part of the schema; PostgreSQL's own words are not for clients.
    named = result.detail if result.detail and result.detail.isidentifier() else None
    return f"{words} ({named})" if named else words

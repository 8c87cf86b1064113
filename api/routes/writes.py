"""POST, PATCH, PUT and DELETE of records. Nothing is written here: each becomes a mutation for the
committer.
"""

import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from uuid_utils import uuid7

from api import metrics
from api.answer import record_response, show, shown_fields, visible_losses
from api.listing import refuse_parameters
from api.memberships import refused_gift
from api.problems import CODES, ProblemError
from api.request import (
    authenticate,
    id_of_key,
    idempotency_key,
    if_match,
    query_of,
    read_json,
    record_id,
    services_of,
)
from api.routes.collections import collection_of, fetch_record
from api.services import Services
from api.validation import FieldFault, InvalidFieldsError, Validator, describe
from core.database import scoped
from core.principal import Principal
from core.protocol.collection import Collection
from core.protocol.mutation import Mutation, Result

BRANCH = "branch_id"

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Write:
    """One write request: who, where, and the way to the committer and back to an answer."""

    def __init__(
        self,
        request: Request,
        services: Services,
        principal: Principal,
        collection: Collection,
        validator: Validator,
    ) -> None:
        self._request = request
        self._services = services
        self.principal = principal
        # Of the same moment: a catalogue that changes during the request must not check by one and show by the other.
        self.collection = collection
        self.validator = validator
        self.hidden = principal.hidden_fields(collection)
        self.shown = shown_fields(principal, collection)
        self.key = idempotency_key(request)
        self.mutation_id = self.key or str(uuid7())

    def demand_fields(self, fields: dict[str, Any]) -> None:
        """Refuse fields that the principal does not know of, and a branch that is not theirs."""
        hidden = fields.keys() & self.hidden
        if hidden:
            expected = f"a field of {self.collection.name}"
            raise InvalidFieldsError(
                [FieldFault(name, expected, "an unknown field") for name in sorted(hidden)]
            )
        if (
            self.collection.has_branch
            and BRANCH in fields
            and not self.principal.writes_branch(fields[BRANCH])
        ):
            raise ProblemError(
                "forbidden",
                "you write to records of your own branches only",
                errors=[FieldFault(BRANCH, "one of your branches", describe(fields[BRANCH]))],
            )

    async def commit(self, mutation: Mutation, *, asked: Any = None) -> Result:
        """Have it written; raises ProblemError for a rejection. `asked`: see `Committer.write`."""
        refused = await refused_gift(self._services.pool, self.principal, mutation)
        if refused is not None:
            code, fault = refused
            raise ProblemError(code, f"{fault.field}: expected {fault.expected}", errors=[fault])
        [result] = await self._services.committer.write(
            self.principal, [mutation], unit=str(uuid7()), asked=asked
        )
        metrics.count_result(result.status)
        if result.status == "rejected":
            raise self._problem(result, mutation)
        return result

    async def answer(self, result: Result, identifier: str, *, status: int = 200) -> Response:
        """Answer with the record after the write. A repeat is answered as the first was, with the record as it is now;
        raises ProblemError 404 if that is gone, or no longer theirs to read.
        """
        location = f"/api/{self.collection.name}/{identifier}" if status == 201 else None
        if result.record is not None and result.version is not None:
            record = show(result.record, self.shown)
            lost = visible_losses(result.lost or (), self.shown)
            return record_response(record, result.version, status=status, location=location, lost=lost)
        async with scoped(self._services.pool, self.principal.organization_id) as connection:
            row = await fetch_record(connection, self.collection, self.principal, identifier)
        if row is None:
            words = (
                f"this was written before, and record {identifier} of {self.collection.name} is gone since"
            )
            raise ProblemError("not_found", words)
        record = show(row.record, self.shown)
        lost = visible_losses((result.first or {}).get("lost", ()), self.shown)
        return record_response(record, int(row.value or 0), status=status, location=location, lost=lost)

    def _problem(self, result: Result, mutation: Mutation) -> ProblemError:
        code = result.code if result.code in CODES else "invalid"
        assert code is not None
        extra: dict[str, Any] = {}
        headers = {}
        if code == "version_mismatch" and result.record is not None:
            extra["record"] = orjson.Fragment(show(result.record, self.shown))
            headers["etag"] = f'"{result.version}"'
        return ProblemError(
            code,
            self._words(code, result, mutation),
            errors=self._faults(code, result, mutation),
            extra=extra,
            headers=headers,
        )

    def _words(self, code: str, result: Result, mutation: Mutation) -> str:
        match code:
            case "forbidden":
                return f"you may not {mutation.operation} this record of {self.collection.name}"
            case "not_found":
                return f"there is no record {mutation.id} in {self.collection.name}"
            case "id_taken":
                return f"there is a record {mutation.id} in {self.collection.name} already"
            case "version_mismatch":
                return (
                    f"expected version {mutation.base_version}, and the record is at version {result.version}"
                )
            case _:
                # A constraint's name is part of the schema; PostgreSQL's own words are not for clients.
                named = result.detail if result.detail and _IDENTIFIER.fullmatch(result.detail) else None
                return f"{CODES[code].title.lower()}" + (f" ({named})" if named else "")

    def _faults(self, code: str, result: Result, mutation: Mutation) -> list[FieldFault]:
        """Name the field where the database named it, or a constraint that is called after it."""
        if code not in ("invalid", "conflict", "foreign_key") or result.detail is None:
            return []
        prefix = f"{self.collection.name}_"
        stem = re.sub(r"_(check|fkey|key|not_null)\d*$", "", result.detail).removeprefix(prefix)
        stem = stem.removeprefix("organization_id_")
        for name in (result.detail, stem):
            if name in self.shown and name in mutation.fields:
                expected = "another value" if code == "conflict" else "a value that the schema allows"
                if code == "foreign_key":
                    expected = "the id of a record that exists"
                return [FieldFault(name, expected, describe(mutation.fields[name]))]
        return []


async def begin(request: Request) -> Write:
    """Authenticate and authorise a write as far as the role and the collection go; raises ProblemError."""
    services = services_of(request)
    claims = authenticate(request)
    await services.limiter.admit_write(request, claims)
    described = services.describe()
    collection = collection_of(request, described.catalogue)
    refuse_parameters(query_of(request))
    principal = await services.principals.fetch(claims)
    if not principal.writes_collection(collection):
        raise ProblemError("forbidden", f"role {principal.role} does not write to {collection.name}")
    return Write(request, services, principal, collection, described.validator(collection.name))


async def create_record(request: Request) -> Response:
    """A new record, with the client's id or one of ours."""
    write = await begin(request)
    fields = write.validator.insert(await read_json(request))
    write.demand_fields(fields)
    identifier = fields.pop("id", None)
    if identifier is None:
        identifier = (
            id_of_key(write.key, write.principal.user_id, write.principal.organization_id)
            if write.key
            else str(uuid7())
        )
    _demand_branch(write, fields)
    mutation = Mutation(write.mutation_id, write.collection.name, identifier, "insert", fields)
    return await write.answer(await write.commit(mutation), identifier, status=201)


async def patch_record(request: Request) -> Response:
    """Change some fields; with If-Match only if the record has not moved."""
    write = await begin(request)
    fields = write.validator.patch(await read_json(request))
    return await _update(write, request, fields)


async def put_record(request: Request) -> Response:
    """Replace all fields; what is left out becomes null."""
    write = await begin(request)
    identifier = record_id(request)
    # What the principal cannot see stays as it is.
    fields = write.validator.replace(await read_json(request), kept=write.hidden)
    if fields.pop("id", identifier) != identifier:
        raise InvalidFieldsError([FieldFault("id", f"{identifier}, as in the address", "another id")])
    return await _update(write, request, fields)


async def delete_record(request: Request) -> Response:
    """Delete a record; with If-Match only if it has not moved."""
    write = await begin(request)
    version = if_match(request)
    await write.commit(
        Mutation(
            write.mutation_id,
            write.collection.name,
            record_id(request),
            "delete",
            base_version=version,
            mode=None if version is None else "strict",
        )
    )
    return Response(None, 204)


async def _update(write: Write, request: Request, fields: dict[str, Any]) -> Response:
    identifier = record_id(request)
    version = if_match(request)
    write.demand_fields(fields)
    mutation = Mutation(
        write.mutation_id,
        write.collection.name,
        identifier,
        "update",
        fields,
        base_version=version,
        mode=None if version is None else "strict",
    )
    return await write.answer(await write.commit(mutation), identifier)


def _demand_branch(write: Write, fields: dict[str, Any]) -> None:
    """Say clearly what the write function would refuse: an agent of several branches has to name one."""
    branches = write.principal.branch_ids
    if write.collection.has_branch and BRANCH not in fields and branches is not None and len(branches) != 1:
        raise ProblemError(
            "forbidden",
            "you write to several branches: say to which one this record belongs",
            errors=[FieldFault(BRANCH, "one of your branches", "nothing")],
        )

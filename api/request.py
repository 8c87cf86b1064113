"""What is read from a request before anything is decided: token, body, conditions."""

import re
from typing import Any
from uuid import UUID, uuid5

import orjson
from starlette.requests import Request

from api.cursor import Cursor, CursorForeignError, CursorMalformedError, read_cursor
from api.http_protocol import PROVEN_KEY
from api.peer import address_of
from api.problems import ProblemError
from api.services import Services
from api.validation import describe
from api.values import parse_uuid
from core.tokens import Claims, TokenError

_JSON_TYPES = frozenset({"application/json", "application/merge-patch+json"})
_STRONG_TAG = re.compile(r'"([0-9]{1,18})"')
_TAG = re.compile(r'(?:W/)?("[^"]*")')
_KEYS = UUID("5d1b3f0a-61a5-4c0b-9df3-3f2a7e5b8c11")
_MAX_KEY_LENGTH = 255


def services_of(request: Request) -> Services:
    """The application's services."""
    services: Services = request.app.state.services
    return services


def authenticate(request: Request) -> Claims:
    """The claims of the request's token; raises ProblemError 401."""
    header = request.headers.get("authorization")
    if header is None:
        raise ProblemError("not_authenticated", "expected the header Authorization: Bearer …, got none")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ProblemError("not_authenticated", "expected the header Authorization: Bearer …")
    try:
        claims = services_of(request).tokens.verify(token.strip())
    except TokenError as error:
        raise ProblemError(error.code, str(error)) from None
    request.scope[PROVEN_KEY] = True
    services_of(request).session_use.note(claims.session_id, address_of(request))
    return claims


async def claims_of(request: Request) -> Claims:
    """`authenticate` as a dependency of a FastAPI route."""
    return authenticate(request)


async def read_json(request: Request) -> Any:
    """The decoded body. Raises ProblemError 400 or 415, and what the rim raises: 408, 413."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES:
        raise ProblemError(
            "unsupported_media_type",
            f"expected Content-Type: application/json, got {describe(media_type)}",
            headers={"accept-patch": "application/merge-patch+json, application/json"},
        )
    body = await request.body()
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(
            "malformed_json", f"expected JSON, and reading stopped at character {error.pos}"
        ) from None


def query_of(request: Request) -> str:
    """The query string as it came; raises ProblemError 400."""
    try:
        query: str = request.scope["query_string"].decode("ascii")
    except UnicodeDecodeError:
        raise ProblemError("malformed_query", "expected percent-encoded ASCII") from None
    return query


def read_cursor_of(services: Services, organization_id: str, query: str, text: str | None) -> Cursor | None:
    """Where the page before ended, None on the first; `query` is the digest of what is listed. Raises ProblemError 400
    or 403.
    """
    if text is None:
        return None
    try:
        return read_cursor(text, key=services.cursor_key, organization_id=organization_id, query=query)
    except CursorForeignError:
        raise ProblemError("cursor_foreign", "the cursor is another organisation's") from None
    except CursorMalformedError:
        raise ProblemError(
            "cursor_malformed", "expected a next_cursor of this address, with the same sort and filters"
        ) from None


def record_id(request: Request) -> str:
    """The id in the address. What is no UUID names no record: raises ProblemError 404."""
    try:
        return parse_uuid(request.path_params["id"])
    except ValueError:
        raise ProblemError("not_found", "expected a UUID as the record's id") from None


def if_match(request: Request) -> int | None:
    """The version that If-Match demands; None without one and for `*`. Raises ProblemError 400."""
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    match = _STRONG_TAG.fullmatch(header.strip())
    if match is None:
        raise ProblemError("malformed_header", 'expected If-Match: "<version>", one strong entity tag, or *')
    return int(match.group(1))


def matches_none(request: Request, etag: str) -> bool:
    """Whether If-None-Match names this entity tag, so that the client has the answer already (RFC 9110
    13.1.2).
    """
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    if header.strip() == "*":
        return True
    wanted = etag.removeprefix("W/")
    return any(tag == wanted for tag in _TAG.findall(header))


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key as a mutation id, the same for the same key; None without one. Raises
    ProblemError 400.

    Mutation ids belong to a person in an organisation, so two people's keys never meet.
    """
    header = request.headers.get("idempotency-key")
    if header is None:
        return None
    if not 1 <= len(header) <= _MAX_KEY_LENGTH:
        raise ProblemError(
            "malformed_header", f"expected an Idempotency-Key of 1 to {_MAX_KEY_LENGTH} characters"
        )
    return str(uuid5(_KEYS, header))


def id_of_key(mutation_id: str, user_id: str, organization_id: str) -> str:
    """The id of a record that was created with an Idempotency-Key and without an id: the same at each
    repeat.
    """
    return str(uuid5(_KEYS, f"{organization_id}/{user_id}/{mutation_id}"))

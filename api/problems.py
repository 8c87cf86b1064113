"""Errors as clients see them: RFC 9457 `application/problem+json` with a stable `code`.

`CODES` is the one table of them; `docs/errors.md` is checked against it. What PostgreSQL or Python say of
an error never reaches a client: a problem's words are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.validation import FieldFault

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of problem: its HTTP status, what it means, and what a client does about it."""

    status: int
    title: str
    reaction: str


_AGAIN = "try again after a pause"
_MEND = "mend the request"
_SIGN_IN = "sign in again"
_RELOAD = "fetch the record and decide again"

CODES: Mapping[str, Code] = MappingProxyType(
    {
        "malformed_json": Code(400, "The body is not the JSON that was expected", _MEND),
        "malformed_header": Code(400, "A header cannot be read", _MEND),
        "malformed_query": Code(400, "The query string cannot be read", _MEND),
        "cursor_malformed": Code(400, "The cursor does not belong to this query", "begin at the first page"),
        "not_authenticated": Code(401, "No access token", _SIGN_IN),
        "token_malformed": Code(401, "The access token cannot be read", _SIGN_IN),
        "token_refused": Code(401, "The access token is not one of this server's", _SIGN_IN),
        "token_expired": Code(401, "The access token has expired", "refresh it"),
        "session_ended": Code(401, "The session or the membership behind the token has ended", _SIGN_IN),
        "credentials_refused": Code(401, "E-mail or password is wrong", "ask for them again"),
        "refresh_refused": Code(401, "The refresh token is not good, or no longer", _SIGN_IN),
        "refresh_reused": Code(401, "The refresh token was used before; its session is ended", _SIGN_IN),
        "forbidden": Code(403, "Not allowed", "give up, or ask for the right"),
        "not_a_member": Code(403, "The person does not belong to this organisation", "choose another"),
        "cursor_foreign": Code(403, "The cursor is another organisation's", "begin at the first page"),
        "not_found": Code(404, "No such record", "forget it"),
        "unknown_collection": Code(404, "No such collection", _MEND),
        "no_such_path": Code(404, "Nothing is at this address", _MEND),
        "method_not_allowed": Code(405, "Not at this address", _MEND),
        "request_timeout": Code(408, "The body did not come in time", _AGAIN),
        "id_taken": Code(409, "A record with this id exists", "choose another id"),
        "conflict": Code(409, "Another record has the same value where only one may", "change the value"),
        "foreign_key": Code(
            409, "A record that is referred to does not exist, or is still referred to", _MEND
        ),
        "id_reused": Code(
            409, "The idempotency key was used for another write", "make a new key for each write"
        ),
        "expired": Code(410, "The write is older than what is remembered of writes", "ask the person"),
        "link_refused": Code(410, "What came by mail is used, withdrawn or too old", "ask for another"),
        "position_too_old": Code(410, "The log no longer reaches back to the position", "fetch a snapshot"),
        "position_beyond_head": Code(410, "The position is beyond the head", "fetch a snapshot"),
        "position_of_another_epoch": Code(410, "The position is of another epoch", "fetch a snapshot"),
        "position_of_another_view": Code(410, "The position is of another view", "fetch a snapshot"),
        "version_mismatch": Code(412, "The record has changed since it was read", _RELOAD),
        "body_too_large": Code(413, "The body is too large", "send less at once"),
        "unsupported_media_type": Code(415, "The body has to be JSON", _MEND),
        "invalid": Code(422, "Some values cannot be accepted", "mend the values named in errors"),
        "rate_exceeded": Code(429, "Too many requests of this kind", "wait as long as Retry-After says"),
        "internal": Code(500, "An error of the server", "try again; report the error_id if it stays"),
        "unavailable": Code(503, "Something that the server leans on is not available", _AGAIN),
        "too_busy": Code(503, "Too many requests of this kind at once", _AGAIN),
    }
)


class ProblemError(HTTPException):
    """Raised anywhere below a route; answered as problem+json.

    `errors` names fields; `extra` are more members of the problem (JSON values, or orjson.Fragment for what
    is JSON already); `headers` go with the answer.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldFault] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # The framework's own kind of exception, so that it lets it through from wherever it is raised.
        super().__init__(CODES[code].status, detail, dict(headers or {}))
        self.code = code
        self.errors = tuple(errors)
        self.extra = dict(extra or {})


def encode_problem(problem: ProblemError) -> bytes:
    """Give the problem as the JSON text of RFC 9457."""
    code = CODES[problem.code]
    body: dict[str, Any] = {
        "type": f"urn:branchline:problem:{problem.code}",
        "title": code.title,
        "status": code.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [
            {"field": fault.field, "expected": fault.expected, "came": fault.came} for fault in problem.errors
        ]
    return orjson.dumps(body | problem.extra)


def problem_response(problem: ProblemError) -> Response:
    """Give the answer that tells a client of the problem."""
    headers = {"cache-control": "no-store"} | dict(problem.headers or {})
    if problem.status_code == 401:
        headers.setdefault("www-authenticate", 'Bearer realm="branchline"')
    if problem.status_code == 503:
        headers.setdefault("retry-after", "1")
    return Response(encode_problem(problem), problem.status_code, headers, MEDIA_TYPE)

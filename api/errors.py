"""Which exception becomes which problem."""

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api import metrics
from api.commit import OverloadedError, UnavailableError
from api.principals import SessionEndedError
from api.problems import ProblemError, problem_response
from api.validation import FieldFault, InvalidFieldsError, describe, shorten
from core.database import AWAY_ERRORS
from core.protocol.topic import TopicError

_SECRETS = frozenset({"password", "refresh_token", "current_password", "new_password", "token"})

_UNREACHABLE = (RedisError, *AWAY_ERRORS)


def add_handlers(app: FastAPI) -> None:
    """Have every exception that a route may raise answered as a problem."""
    for kind in (
        HTTPException,
        RequestValidationError,
        InvalidFieldsError,
        TopicError,
        SessionEndedError,
        OverloadedError,
        UnavailableError,
        *_UNREACHABLE,
    ):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(request, error)
    metrics.count_problem(problem.code)
    return problem_response(problem)


def problem_of(request: Request, error: Exception) -> ProblemError:
    """The problem that a client is told of for an exception."""
    match error:
        case ProblemError():
            return error
        case InvalidFieldsError():
            return _invalid(request, list(error.faults))
        case RequestValidationError():
            return _unreadable(request, error)
        case TopicError():
            return _bad_filter(error)
        case HTTPException():
            return _of_framework(request, error)
        case SessionEndedError():
            return ProblemError("session_ended", "the session or the membership is no longer in force")
        case OverloadedError():
            return ProblemError("too_busy", "too many writes wait already; nothing was written")
        case UnavailableError():
            return ProblemError(
                "unavailable",
                "the database did not confirm the write; repeat it with the same Idempotency-Key to be sure",
            )
        case _:
            return ProblemError("unavailable", "the database or Redis cannot be reached at this moment")


def _invalid(request: Request, faults: list[FieldFault]) -> ProblemError:
    names = ", ".join(fault.field or "the body" for fault in faults[:5])
    more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
    nothing = "" if request.method in ("GET", "HEAD") else "nothing was written; "
    return ProblemError("invalid", f"{nothing}see errors for {names}{more}", errors=faults)


def _bad_filter(error: TopicError) -> ProblemError:
    match error.code:
        case "unknown_collection":
            return ProblemError("unknown_collection", str(error))
        case "forbidden":
            return ProblemError("forbidden", str(error))
        case _:
            return ProblemError("invalid", str(error))


def _of_framework(request: Request, error: HTTPException) -> ProblemError:
    match error.status_code:
        case 404:
            return ProblemError("no_such_path", "nothing is at this address")
        case 405:
            allowed = (error.headers or {}).get("Allow", "GET, HEAD")
            return method_not_allowed(request, allowed.split(", "))
        case _:
            return ProblemError("malformed_json", "expected JSON in UTF-8")


def method_not_allowed(request: Request, allowed: Iterable[str]) -> ProblemError:
    """What is said of a method that an address does not have."""
    methods = ", ".join(sorted(allowed))
    return ProblemError(
        "method_not_allowed",
        f"expected {methods}, got {shorten(request.method)}",
        headers={"allow": methods},
    )


def _unreadable(request: Request, error: RequestValidationError) -> ProblemError:
    """FastAPI's findings in the words of this API. No secret is quoted."""
    faults = []
    for each in error.errors():
        if each["type"] == "json_invalid":
            return ProblemError("malformed_json", f"expected JSON, and reading stopped at {each['loc'][-1]}")
        field = ".".join(str(part) for part in each["loc"][1:])[:60]
        if not field and isinstance(each["input"], bytes):
            media_type = request.headers.get("content-type", "none")
            return ProblemError(
                "unsupported_media_type",
                f"expected Content-Type: application/json, got {describe(media_type)}",
            )
        faults.append(_fault(field, each["type"], each["msg"], each["input"]))
    return _invalid(request, faults)


def _fault(field: str, kind: str, message: str, came: object) -> FieldFault:
    if kind == "extra_forbidden":
        return FieldFault(field, "no such member", "an unknown member")
    if kind == "missing":
        return FieldFault(field, "a value", "nothing")
    return FieldFault(field, message[:200], "something else" if field in _SECRETS else describe(came))

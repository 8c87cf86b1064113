"""`/api/auth/password…` and `/api/auth/preferences`: what a person sets for themselves."""

from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, BackgroundTasks, Request
from pydantic import BaseModel, ConfigDict, Field

from api.documented import problems
from api.mail import MailError
from api.passwords import TooBusyError
from api.peer import address_of
from api.people import (
    MINIMUM_PASSWORD_LENGTH,
    PREFERENCES_BYTES,
    LinkRefusedError,
    WrongPasswordError,
)
from api.problems import ProblemError
from api.request import services_of
from api.routes.auth import BEARER, Authenticated, Text
from api.services import Services
from api.validation import FieldFault
from core.tokens import Claims

router = APIRouter(prefix="/api/auth", tags=["signing in"])

NewPassword = Annotated[
    str, Field(min_length=MINIMUM_PASSWORD_LENGTH, max_length=1_000, pattern=r"^[^\x00]*$")
]

_log = structlog.get_logger()


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ChangeBody(_Body):
    """The password of today and the one of tomorrow."""

    current_password: Text
    new_password: NewPassword


class AskBody(_Body):
    """Whose password is forgotten."""

    email: Text


class ResetBody(_Body):
    """What came by mail, and the new password."""

    token: Text
    new_password: NewPassword


@router.post(
    "/password",
    status_code=204,
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503),
    openapi_extra=BEARER,
)
async def change_password(request: Request, claims: Authenticated, body: ChangeBody) -> None:
    """Choose another password. Every other session of the person ends."""
    services = services_of(request)
    await services.limiter.admit_login(request, claims.user_id)
    principal = await services.principals.fetch(claims)
    try:
        await services.people.change_password(
            principal, body.current_password, body.new_password, address_of(request)
        )
    except WrongPasswordError:
        raise ProblemError("forbidden", "the current password is another") from None
    except TooBusyError:
        raise ProblemError("too_busy", "too many passwords are being checked at this moment") from None


@router.post("/password-reset", status_code=202, responses=problems(400, 413, 415, 422, 429))
async def ask_for_reset(request: Request, body: AskBody, later: BackgroundTasks) -> None:
    """Have a way back mailed. The answer is the same, and as fast, whether somebody has this address or not."""
    services = services_of(request)
    await services.limiter.admit_login(request)
    later.add_task(_send_reset, services, body.email, address_of(request))


async def _send_reset(services: Services, email: str, address: str) -> None:
    try:
        await services.people.send_reset(email, address)
    except MailError as error:
        _log.error("mail.failed", error=str(error))


@router.post(
    "/password-reset/confirm", status_code=204, responses=problems(400, 410, 413, 415, 422, 429, 503)
)
async def reset_password(request: Request, body: ResetBody) -> None:
    """Choose a new password with what came by mail. Every session of the person ends."""
    services = services_of(request)
    await services.limiter.admit_login(request)
    try:
        await services.people.reset_password(body.token, body.new_password, address_of(request))
    except LinkRefusedError:
        raise ProblemError("link_refused", "it was used, or is older than an hour") from None
    except TooBusyError:
        raise ProblemError("too_busy", "too many passwords are being checked at this moment") from None


@router.get("/preferences", responses=problems(401, 503), openapi_extra=BEARER)
async def get_preferences(request: Request, claims: Authenticated) -> dict[str, Any]:
    """What the person has set for themselves, the same on every device and in every organisation."""
    services = services_of(request)
    principal = await services.principals.fetch(claims)
    return await services.people.fetch_preferences(principal)


@router.put("/preferences", responses=problems(400, 401, 413, 415, 422, 429, 503), openapi_extra=BEARER)
async def put_preferences(request: Request, claims: Authenticated, body: dict[str, Any]) -> dict[str, Any]:
    """Replace them all: a JSON object of at most 16 KiB."""
    return await _write(request, claims, body, merge=False)


@router.patch("/preferences", responses=problems(400, 401, 413, 415, 422, 429, 503), openapi_extra=BEARER)
async def patch_preferences(request: Request, claims: Authenticated, body: dict[str, Any]) -> dict[str, Any]:
    """Change some by name; null takes one away."""
    return await _write(request, claims, body, merge=True)


async def _write(request: Request, claims: Claims, body: dict[str, Any], *, merge: bool) -> dict[str, Any]:
    services = services_of(request)
    await services.limiter.admit_write(request, claims)
    principal = await services.principals.fetch(claims)
    try:
        encoded = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise ProblemError("malformed_json", "expected an object of JSON's own values") from None
    written = None
    # PostgreSQL has no text with U+0000.
    if len(encoded) <= PREFERENCES_BYTES and b"\\u0000" not in encoded:
        written = await services.people.write_preferences(principal, encoded.decode(), merge=merge)
    if written is None:
        fault = FieldFault("", f"at most {PREFERENCES_BYTES} bytes of JSON, without U+0000", "others")
        raise ProblemError("invalid", "nothing was written", errors=[fault])
    return written

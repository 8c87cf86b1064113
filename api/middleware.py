"""The rim of the application, in one pure-ASGI layer: limits, headers, metrics, and what happens to an
unforeseen error.
"""

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.limiting import rate_headers
from api.peer import see_through
from api.problems import ProblemError, problem_response
from core.addresses import Network

BODY_LIMIT_BYTES = 1024 * 1024
BODY_SECONDS = 10.0

_Headers = list[tuple[bytes, bytes]]

# An answer that is data is never a page: nothing in it runs, nobody frames it, no shared cache keeps it.
_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
# A browser that has once come by TLS comes by TLS for a year.
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")
_DEFAULTS: Sequence[tuple[bytes, bytes]] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"private, no-cache"),
)
_UNROUTED = "(none)"
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})

_log = structlog.get_logger()


class Rim:
    """Wraps the application's routes.

    A body over `limit_bytes` is refused before it is read where its length is announced, and as soon as it
    is passed where it is not; one that trickles in is given up. An exception nobody foresaw is logged with
    an id and answered with that id and nothing else.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_bytes: int = BODY_LIMIT_BYTES,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._app = app
        self._limit = limit_bytes
        self._trusted = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        if self._trusted:
            see_through(scope, self._trusted)
        answer = _Answer(send, scope)
        try:
            await self._app(scope, self._limited(scope, receive), answer.send)
        except ClientDisconnect:
            pass  # Nobody is left to be answered.
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            await answer.replace(problem_response(_unforeseen(error, scope)), scope, receive)
        finally:
            route = scope.get("route")
            metrics.observe_request(
                scope["method"],
                getattr(route, "path", None) or _UNROUTED,
                answer.status,
                time.perf_counter() - started,
            )

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The request's body, within the limit and BODY_SECONDS from now; else reading it raises
        ProblemError.
        """
        length = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if length == b"0" or (length is None and scope["method"] in _WITHOUT_BODY):
            return receive
        left = self._limit if length is None or int(length) <= self._limit else -1
        more = True
        deadline = time.monotonic() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal left, more
            if left < 0:
                raise self._too_large()
            if not more:
                return await receive()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise ProblemError(
                    "request_timeout",
                    f"expected the whole body within {BODY_SECONDS:.0f} s",
                    headers={"connection": "close"},
                ) from None
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
                if left < 0:
                    raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ProblemError:
        return ProblemError(
            "body_too_large",
            f"expected at most {self._limit} bytes of body",
            headers={"connection": "close"},
        )


class Turnstile:
    """Turns away what `refusal` can tell from a request's head: nothing is read, and nothing decided.

    It stands behind CORS, so that a page of another origin that is allowed can read why, and when to come again.
    """

    def __init__(self, app: ASGIApp, refusal: Callable[[Scope], ProblemError | None]) -> None:
        self._app = app
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it through."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        metrics.count_problem(refused.code)
        await problem_response(refused)(scope, receive, send)


class _Answer:
    """Passes an answer on and adds the headers that every answer has."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: _Headers = message["headers"]
            present = {name for name, _ in headers}
            headers.extend(_HEADERS)
            headers.extend(rate_headers(self._scope))
            if self._scope["scheme"] == "https":
                headers.append(_ONLY_TLS)
            headers.extend(default for default in _DEFAULTS if default[0] not in present)
        await self._send(message)

    async def replace(self, response: Any, scope: Scope, receive: Receive) -> None:
        """Answer with `response`, unless another answer has begun already."""
        if self.status == 0:
            await response(scope, receive, self.send)


def _unforeseen(error: Exception, scope: Scope) -> ProblemError:
    error_id = str(uuid4())
    metrics.count_problem("internal")
    route = getattr(scope.get("route"), "path", None) or _UNROUTED
    # Where, and what kind: a message may quote what somebody wrote.
    frames = [
        f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_tb(error.__traceback__)
    ]
    _log.error(
        "request.failed",
        error_id=error_id,
        method=scope["method"],
        route=route,
        error=type(error).__name__,
        frames=frames[-12:],
    )
    return ProblemError(
        "internal",
        "the server failed to answer; its log has the error_id",
        extra={"error_id": error_id},
    )

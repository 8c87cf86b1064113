"""/healthz, /readyz and /metrics: what a process says of itself, and a tiny HTTP server for those that have
none.

The API has its own HTTP server and uses `status_response` alone; the relay and the gateways start a
StatusServer on a port of their own. One request a connection, GET and HEAD only, nothing of the request is
used but its path.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

import orjson

from core.lifecycle import StartupError
from core.telemetry import METRICS_CONTENT_TYPE, render_metrics

REQUEST_LIMIT_BYTES = 8192
REQUEST_SECONDS = 5.0
CONNECTION_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a process is fit to serve.

    `dependencies` has an entry for each thing it leans on, such as
    `{"database": {"ready": true}, "redis": {"ready": false, "error": "refused", "behind_ms": 3100}}`.
    """

    ready: bool
    dependencies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusResponse:
    """An answer: the HTTP status, the content type, the body."""

    status: int
    content_type: str
    body: bytes


def status_response(path: str, readiness: Callable[[], Readiness], role: str) -> StatusResponse | None:
    """The answer to a GET of `path` (its query is ignored), or None if the path is not one of the three.

    `readiness` is called for /readyz only; it returns what is known at the moment and does no I/O.
    """
    match path.partition("?")[0]:
        case "/healthz":
            return _json(HTTPStatus.OK, {"status": "ok", "role": role})
        case "/readyz":
            now = readiness()
            status = HTTPStatus.OK if now.ready else HTTPStatus.SERVICE_UNAVAILABLE
            body = {
                "ready": now.ready,
                "role": role,
                # Whoever started the process can tell it from another one at the same port.
                "pid": os.getpid(),
                "dependencies": now.dependencies,
                **now.details,
            }
            return _json(status, body)
        case "/metrics":
            return StatusResponse(HTTPStatus.OK, METRICS_CONTENT_TYPE, render_metrics())
        case _:
            return None


def _json(status: HTTPStatus, body: Mapping[str, Any]) -> StatusResponse:
    return StatusResponse(status, "application/json", orjson.dumps(body, default=dict))


class StatusServer:
    """The three paths on a port of their own.

    `async with StatusServer(...)` listens from entry to exit. Raises StartupError if the port cannot be had.
    """

    def __init__(self, host: str, port: int, *, role: str, readiness: Callable[[], Readiness]) -> None:
        self._host = host
        self._port = port
        self._role = role
        self._readiness = readiness
        self._server: asyncio.Server | None = None
        self._open = 0

    @property
    def port(self) -> int:
        """The port that is listened on; of use when 0 was asked for."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._handle, self._host, self._port, limit=REQUEST_LIMIT_BYTES
            )
        except OSError as error:
            raise StartupError(
                f"the {self._role} cannot listen on {self._host}:{self._port} ({error.strerror or error}): "
                "free the port or choose another."
            ) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                if self._open <= CONNECTION_LIMIT:
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # The caller went away or sent no request: there is nobody to tell.
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _encode(_json(HTTPStatus.BAD_REQUEST, {"error": "an HTTP/1.1 request was expected"}))
        method, path, _ = words
        if method not in ("GET", "HEAD"):
            response = _json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "GET and HEAD only"})
        else:
            response = status_response(path, self._readiness, self._role) or _json(
                HTTPStatus.NOT_FOUND, {"error": "/healthz, /readyz and /metrics are here"}
            )
        return _encode(response, head_only=method == "HEAD")


def _encode(response: StatusResponse, *, head_only: bool = False) -> bytes:
    phrase = HTTPStatus(response.status).phrase
    head = (
        f"HTTP/1.1 {int(response.status)} {phrase}\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
    )
    if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
        head += "Allow: GET, HEAD\r\n"
    return head.encode("latin-1") + b"\r\n" + (b"" if head_only else response.body)

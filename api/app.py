"""The API's composition root: the application, and the process that serves it."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Scope

from api.compression import Compression
from api.connections import Connections
from api.errors import add_handlers, method_not_allowed
from api.http_protocol import protocol_within
from api.limiting import is_login
from api.middleware import BODY_LIMIT_BYTES, Rim, Turnstile
from api.pages import PageFiles, asyncapi, documentation, no_page, openapi, page_directory
from api.problems import ProblemError
from api.routes import auth, invitations, passwords, people, portal, sealed, service, sessions
from api.routes.changes import pull
from api.routes.collections import get_record, list_records
from api.routes.history import list_history, restore_record
from api.routes.overwritten import list_overwritten, mark_seen
from api.routes.push import push
from api.routes.writes import create_record, delete_record, patch_record, put_record
from api.services import Services, open_services
from core.addresses import parse_networks
from core.lifecycle import StartupError, run_until_stopped, settle_garbage
from core.settings import Settings
from core.telemetry import configure_logging
from core.tls import server_context

DRAIN_SECONDS = 10

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_DEVELOPMENT_ORIGINS = ("http://localhost:*", "http://127.0.0.1:*")

_ROUTERS = tuple(
    each.router for each in (auth, sessions, passwords, people, invitations, sealed, portal, service)
)

_log = structlog.get_logger()

Endpoint = Callable[[Request], Awaitable[Response]]


def serve(settings: Settings) -> int:
    """Serve the API until SIGINT or SIGTERM; give the process's exit status."""
    configure_logging("api", settings.log_level)

    async def run(stopping: asyncio.Event) -> None:
        async with open_services(settings) as services:
            await _serve(services, stopping)

    return run_until_stopped(run)


def create_app(services: Services, *, body_limit_bytes: int = BODY_LIMIT_BYTES) -> FastAPI:
    """The application on services that are open already; whoever opened them closes them."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.services = services
    # The last one added is the outermost.
    app.add_middleware(Compression)
    app.add_middleware(Turnstile, refusal=_refusal_of_sign_ins(services))
    _allow_origins(app, services.settings)
    trusted = parse_networks(services.settings.trusted_proxies)
    app.add_middleware(Rim, limit_bytes=body_limit_bytes, trusted_proxies=trusted)
    add_handlers(app)
    _add_routes(app)
    return app


def _refusal_of_sign_ins(services: Services) -> Callable[[Scope], ProblemError | None]:
    """What can be refused of a flood by its heads: from one address, or from so many that none is over its limit."""

    def refusal(scope: Scope) -> ProblemError | None:
        if services.sessions.is_too_busy and is_login(scope):
            return ProblemError("too_busy", "too many people sign in at this moment")
        return services.limiter.refusal(scope)

    return refusal


def _add_routes(app: FastAPI) -> None:
    # First, because most requests are for records; plain, because they need nothing of what FastAPI does around an
    # endpoint.
    app.router.routes.extend(
        [
            _route("/api/{collection:collection}", GET=list_records, POST=create_record),
            _route(
                "/api/{collection:collection}/{id}",
                GET=get_record,
                PATCH=patch_record,
                PUT=put_record,
                DELETE=delete_record,
            ),
            _route("/api/{collection:collection}/{id}/history", GET=list_history),
            _route("/api/{collection:collection}/{id}/restore", POST=restore_record),
        ]
    )
    for router in _ROUTERS:
        app.include_router(router)
    app.state.fixed_document = _fixed_document(app)
    app.router.routes.extend(
        [
            *(route for router in _ROUTERS for route in _other_methods(router)),
            _route("/api/sync", POST=push),
            _route("/api/changes", GET=pull),
            _route("/api/overwritten", GET=list_overwritten),
            _route("/api/overwritten/seen", POST=mark_seen),
            _route("/openapi.json", GET=openapi),
            _route("/asyncapi.json", GET=asyncapi),
            _route("/docs", GET=documentation),
            _route("/docs/{name}", GET=documentation),
        ]
    )
    for part in ("src", "vendor"):
        folder = page_directory("javascript", part)
        if folder is not None:
            app.router.routes.append(Mount(f"/client/{part}", PageFiles(directory=folder)))
    demo = page_directory("demo")
    if demo is None:
        app.router.routes.append(_route("/", GET=no_page))
    else:
        app.router.routes.append(Mount("/", PageFiles(directory=demo, html=True)))


class _CollectionName(StringConvertor):
    """A part of an address that may name a collection: anything but what the API uses itself.

    No table of these names can be tracked.
    """

    regex = r"(?!(?:auth|changes|client-config|overwritten|people|portal|sync)(?:/|$))[^/]+"


register_url_convertor("collection", _CollectionName())


def _route(path: str, **endpoints: Endpoint) -> Route:
    """One route for all methods of an address, so that 405 names every method that there is."""
    if "GET" in endpoints:
        endpoints["HEAD"] = endpoints["GET"]

    async def answer(request: Request) -> Response:
        request.scope["route"] = route  # whose template the metrics and the log name
        endpoint = endpoints.get(request.method)
        if endpoint is None:
            raise method_not_allowed(request, endpoints)
        return await endpoint(request)

    route = Route(path, answer, methods=sorted(METHODS), include_in_schema=False)
    route.path = path.replace("{collection:collection}", "{collection}")
    return route


def _other_methods(router: APIRouter) -> list[Route]:
    """What answers the methods that these routes do not have; else the pages at `/` would, with 404."""
    allowed: dict[str, set[str]] = {}
    for route in router.routes:
        if isinstance(route, APIRoute):
            allowed.setdefault(route.path, set()).update(route.methods or ())

    def refusing(methods: set[str]) -> Endpoint:
        async def refuse(request: Request) -> Response:
            raise method_not_allowed(request, methods)

        return refuse

    return [
        Route(path, refusing(methods), methods=sorted(METHODS - methods), include_in_schema=False)
        for path, methods in allowed.items()
    ]


def _fixed_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of what does not depend on the catalogue."""
    return get_openapi(
        title="Branchline",
        version=service.package_version(),
        summary="A CRM that every branch sees at once: records over HTTP, changes over WebSocket.",
        description=(
            "Every collection of the database is here: a table that is tracked while the system runs appears "
            "within seconds. Sign in with `POST /api/auth/login`, then authorize with the access token. "
            "Errors are RFC 9457 problems with a stable `code`."
        ),
        routes=app.routes,
    )


def _allow_origins(app: FastAPI, settings: Settings) -> None:
    """CORS for the listed origins; `:*` at the end of one stands for any port."""
    origins = list(settings.allowed_origins)
    if not settings.production:
        origins.extend(_DEVELOPMENT_ORIGINS)
    patterns = [
        re.escape(each.removesuffix(":*")) + ("(:[0-9]{1,5})?" if each.endswith(":*") else "")
        for each in origins
    ]
    app.add_middleware(
        CORSMiddleware,
        allow_origin_regex="|".join(f"(?:{each})" for each in patterns) or None,
        allow_methods=["GET", "POST", "PATCH", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"],
        expose_headers=[
            "ETag",
            "Link",
            "Location",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "WWW-Authenticate",
        ],
        max_age=600,
    )


async def _serve(services: Services, stopping: asyncio.Event) -> None:
    """Answer requests until told to stop, then finish those under way."""
    settings = services.settings
    tls = server_context(settings.tls_cert, settings.tls_key)
    connections = Connections(
        settings.http_connections_per_address,
        settings.http_connections,
        parse_networks(settings.trusted_proxies),
    )
    with _listening(settings.host, settings.api_port) as listener:
        server = _Server(
            uvicorn.Config(
                create_app(services),
                http=protocol_within(connections),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                # Whom a proxy speaks for is the rim's to find out: uvicorn would believe anybody on this machine.
                proxy_headers=False,
                ssl_certfile=settings.tls_cert or None,
                ssl_context_factory=None if tls is None else lambda config, default: tls,
                backlog=2048,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_stop_when(stopping, services, server))
            settle_garbage()
            _log.info("api.listening", host=settings.host, port=settings.api_port)
            await server.serve(sockets=[listener])
            watch.cancel()
    _log.info("api.stopped")


async def _stop_when(stopping: asyncio.Event, services: Services, server: uvicorn.Server) -> None:
    await stopping.wait()
    services.health.stopping = True
    server.should_exit = True


class _Server(uvicorn.Server):
    """Signals are the process's, not the server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; raises StartupError if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise StartupError(
                f"the API cannot listen on {host}:{port} ({error.strerror or error}): free the port, or choose "
                "another with BRANCHLINE_API_PORT."
            ) from None
        listener.setblocking(False)
        yield listener
    finally:
        listener.close()

"""`/healthz`, `/readyz`, `/metrics`, and what a page needs before anybody signs in."""

import re
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.request import services_of
from core.protocol.asyncapi import SUBPROTOCOL
from core.status_server import status_response
from core.tokens import ACCESS_TOKEN_SECONDS

router = APIRouter(tags=["service"])

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,255})(?::[0-9]{1,5})?")


class ClientConfig(BaseModel):
    """Where the gateway is, which protocol it speaks, and which version this is."""

    gateway_url: str
    protocol: str
    version: str
    environment: str
    access_token_seconds: int
    home: str | None
    """The folder of `branchline up` on the server's machine; null in production."""


def package_version() -> str:
    """The installed version; 0 when the code runs without being installed."""
    try:
        return version("branchline")
    except PackageNotFoundError:
        return "0"


@router.head("/healthz", include_in_schema=False)
@router.head("/readyz", include_in_schema=False)
@router.head("/metrics", include_in_schema=False)
@router.get("/healthz", response_class=Response)
@router.get("/readyz", response_class=Response)
@router.get("/metrics", response_class=Response)
async def status(request: Request) -> Response:
    """Alive; fit to serve, and if not which dependency; Prometheus."""
    answer = status_response(request.url.path, services_of(request).health.readiness, "api")
    assert answer is not None
    return Response(
        answer.body,
        int(answer.status),
        {"cache-control": "no-store", "content-type": answer.content_type},
    )


@router.get("/api/client-config")
async def client_config(request: Request) -> ClientConfig:
    """What a page needs before it signs in."""
    settings = services_of(request).settings
    return ClientConfig(
        gateway_url=gateway_url_for(request),
        protocol=SUBPROTOCOL,
        version=package_version(),
        environment=settings.env,
        access_token_seconds=ACCESS_TOKEN_SECONDS,
        home=None if settings.production else str(settings.home),
    )


def gateway_url_for(request: Request) -> str:
    """The gateway's address as it is set, else on the host by which the client reached this server."""
    settings = services_of(request).settings
    return settings.gateway_url or _gateway_url_beside(request, settings.gateway_port)


def _gateway_url_beside(request: Request, port: int) -> str:
    match = _HOST.fullmatch(request.headers.get("host", ""))
    host = match.group(1) if match else "127.0.0.1"
    return f"{'wss' if request.url.scheme == 'https' else 'ws'}://{host}:{port}/ws"

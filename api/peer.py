"""Who is on the other side of a request: the client's address, also behind proxies that are trusted."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import Scope

from core.addresses import Network, client_address, is_trusted


def address_of(request: Request) -> str:
    """The client's IP address, as `see_through` left it; empty where there is none, as on a Unix socket."""
    return request.client.host if request.client else ""


def see_through(scope: Scope, trusted: Sequence[Network]) -> None:
    """Put the client in the place of the trusted proxies between, with the scheme that it has used."""
    client = scope.get("client")
    if client is None or not is_trusted(client[0], trusted):
        return
    forwarded = _values(scope, b"x-forwarded-for")
    scope["client"] = (client_address(client[0], forwarded, trusted), 0)
    schemes = _values(scope, b"x-forwarded-proto")
    if schemes and schemes[-1].strip().lower() in ("http", "https"):
        scope["scheme"] = schemes[-1].strip().lower()


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]

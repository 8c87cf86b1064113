"""Pages and files: the documentation, and the demo at `/`. All of it is ours or shipped with us; nothing is
fetched.
"""

from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from api.request import services_of

_HERE = Path(__file__).resolve().parent
_STATIC = _HERE / "static"
# In an installed package the pages are beside this file, in a checkout they are where they are written.
_PAGES = (_STATIC, _HERE.parent / "clients")

# What a page may do: run its own scripts, talk to this server and to a gateway's socket, be framed by nobody.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DOCUMENTATION = {
    "swagger-ui-bundle.js": _STATIC / "swagger-ui" / "swagger-ui-bundle.js",
    "swagger-ui.css": _STATIC / "swagger-ui" / "swagger-ui.css",
    "docs.js": _STATIC / "docs.js",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


class PageFiles(StaticFiles):
    """Files of a page, with the policy that a page needs and no cache that outlives a deploy."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file, or 304."""
        response = super().file_response(*args, **kwargs)
        _page_headers(response.headers)
        return response


def page_directory(name: str) -> Path | None:
    """Where a page's files are, or None if this installation has none."""
    return next((root / name for root in _PAGES if (root / name).is_dir()), None)


async def documentation(request: Request) -> Response:
    """The page that draws the OpenAPI document, and its files."""
    name = request.path_params.get("name")
    path = _STATIC / "docs.html" if name is None else _DOCUMENTATION.get(name)
    if path is None:
        return RedirectResponse("/docs")
    response = Response(path.read_bytes(), media_type=_TYPES[path.suffix])
    _page_headers(response.headers)
    return response


async def openapi(request: Request) -> Response:
    """The OpenAPI document of the catalogue as it is now."""
    body = services_of(request).describe().openapi(request.app.state.fixed_document)
    return Response(body, media_type="application/json", headers={"access-control-allow-origin": "*"})


async def no_page(request: Request) -> Response:
    """Where there is no demo, the documentation is the first page."""
    return RedirectResponse("/docs")


def _page_headers(headers: MutableHeaders) -> None:
    headers["content-security-policy"] = PAGE_POLICY
    headers["cache-control"] = "no-cache"

"""Pages and files: the documentation, and the demo at `/`. All of it is ours or shipped with us; nothing is
fetched.
"""

import base64
import hashlib
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.request import services_of
from api.routes.service import gateway_url_for, package_version
from core.protocol.asyncapi import asyncapi_document

_HERE = Path(__file__).resolve().parent
_STATIC = _HERE / "static"
# In an installed package the pages are beside this file, in a checkout they are where they are written.
_PAGES = (_STATIC, _HERE.parent / "clients")

# What a page may do: run its own scripts, talk to this server and to the gateway's socket, be framed by nobody.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' {gateway}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DOCUMENTATION = {
    "swagger-ui-bundle.js": _STATIC / "swagger-ui" / "swagger-ui-bundle.js",
    "swagger-ui.css": _STATIC / "swagger-ui" / "swagger-ui.css",
    "docs.js": _STATIC / "docs.js",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


class PageFiles(StaticFiles):
    """Files of a page, with the policy that a page needs and no cache that outlives a deploy.

    `gateway_url` gives the gateway's address as whoever asks for a file reaches it.
    """

    def __init__(self, *, gateway_url: Callable[[Request], str] = gateway_url_for, **options: Any) -> None:
        super().__init__(**options)
        self._gateway_url = gateway_url

    def file_response(
        self, full_path: Any, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """A file, or 304."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        _page_headers(response.headers, Path(full_path), self._gateway_url(Request(scope)))
        # A service worker lies beside the client's modules and serves the whole page.
        response.headers["service-worker-allowed"] = "/"
        return response


def page_directory(*name: str) -> Path | None:
    """Where a page's files are, or None if this installation has none."""
    return next((root.joinpath(*name) for root in _PAGES if root.joinpath(*name).is_dir()), None)


async def documentation(request: Request) -> Response:
    """The page that draws the OpenAPI document, and its files."""
    name = request.path_params.get("name")
    path = _STATIC / "docs.html" if name is None else _DOCUMENTATION.get(name)
    if path is None:
        return RedirectResponse("/docs")
    response = Response(path.read_bytes(), media_type=_TYPES[path.suffix])
    _page_headers(response.headers, path, gateway_url_for(request))
    return response


async def openapi(request: Request) -> Response:
    """The OpenAPI document of the catalogue as it is now."""
    body = services_of(request).describe().openapi(request.app.state.fixed_document)
    return Response(body, media_type="application/json", headers={"access-control-allow-origin": "*"})


async def asyncapi(request: Request) -> Response:
    """The AsyncAPI document of the protocol on a socket."""
    body = orjson.dumps(asyncapi_document(package_version(), gateway_url_for(request)))
    return Response(body, media_type="application/json", headers={"access-control-allow-origin": "*"})


async def no_page(request: Request) -> Response:
    """Where there is no demo, the documentation is the first page."""
    return RedirectResponse("/docs")


def _page_headers(headers: MutableHeaders, path: Path, gateway_url: str) -> None:
    scripts = _inline_scripts(path, path.stat().st_mtime_ns) if path.suffix == ".html" else ""
    gateway = "{0.scheme}://{0.netloc}".format(urlsplit(gateway_url))
    headers["content-security-policy"] = PAGE_POLICY.format(scripts=scripts, gateway=gateway)
    headers["cache-control"] = "no-cache"


@lru_cache(maxsize=64)
def _inline_scripts(path: Path, _changed_at_ns: int) -> str:
    """The sources that allow a page its import map, which browsers take from the page itself only: by its hash."""
    digests = [hashlib.sha256(text).digest() for text in _IMPORT_MAP.findall(path.read_bytes())]
    return "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

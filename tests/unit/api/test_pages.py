"""Pages and their policy."""

import base64
import hashlib
from pathlib import Path

import httpx
import pytest

from api.pages import PageFiles

MAP = '{ "imports": { "branchline": "/client/src/index.js" } }'


@pytest.fixture
def site(tmp_path: Path) -> httpx.AsyncClient:
    (tmp_path / "plain.html").write_text("<script>alert(1)</script>")
    (tmp_path / "index.html").write_text(f'<script type="importmap">{MAP}</script><script>alert(1)</script>')
    transport = httpx.ASGITransport(
        PageFiles(directory=tmp_path, html=True, gateway_url=lambda request: "wss://gateway.test:8001/ws")
    )
    return httpx.AsyncClient(transport=transport, base_url="http://page.test")


async def policy(site: httpx.AsyncClient, path: str, about: str = "script-src") -> str:
    """The part of a page's policy that is about scripts, or something else."""
    parts = (await site.get(path)).headers["content-security-policy"].split("; ")
    return next(part for part in parts if part.startswith(about))


async def test_a_page_may_have_its_import_map_and_no_other_inline_script(site: httpx.AsyncClient) -> None:
    digest = base64.b64encode(hashlib.sha256(MAP.encode()).digest()).decode()
    assert await policy(site, "/") == f"script-src 'self' 'sha256-{digest}'"
    assert await policy(site, "/plain.html") == "script-src 'self'"


async def test_a_page_that_changes_is_allowed_its_new_map(site: httpx.AsyncClient, tmp_path: Path) -> None:
    before = await policy(site, "/")
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("branchline", "another"))
    assert await policy(site, "/") != before


async def test_a_page_talks_to_its_server_and_its_gateway_only(site: httpx.AsyncClient) -> None:
    assert await policy(site, "/", "connect-src") == "connect-src 'self' wss://gateway.test:8001"

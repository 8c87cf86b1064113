"""Compressed answers of the application: the same content, and conditions that hold whatever its coding."""

import httpx
import pytest

from tests.integration.api.conftest import Api, create, problem
from tests.tenants import Tenant

CODINGS = ["zstd", "gzip"]
LONG = "long notes, " * 200


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_long_record_is_compressed_and_its_tag_works_in_both_conditions(
    ana: httpx.AsyncClient, coding: str
) -> None:
    record = await create(ana, name="x", notes=LONG)
    path, accept = f"/api/leads/{record['id']}", {"accept-encoding": coding}
    answer = await ana.get(path, headers=accept)
    assert answer.headers["content-encoding"] == coding
    assert "Accept-Encoding" in answer.headers["vary"]
    assert answer.json() == record
    tag = answer.headers["etag"]
    assert tag == f'"1-{coding}"'
    known = await ana.get(path, headers={**accept, "if-none-match": tag})
    assert (known.status_code, known.headers["etag"]) == (304, tag)
    plain = await ana.get(path, headers={"accept-encoding": "identity", "if-none-match": tag})
    assert plain.status_code == 304
    written = await ana.patch(path, json={"phone": "1"}, headers={**accept, "if-match": tag})
    assert (written.status_code, written.headers["etag"]) == (200, f'"2-{coding}"')
    refused = await ana.patch(path, json={"phone": "2"}, headers={**accept, "if-match": tag})
    body = problem(refused, 412, "version_mismatch")
    assert body["record"] == written.json()
    assert refused.headers["etag"] == '"2"'


async def test_a_short_record_is_not_compressed_and_its_tag_is_the_version(ana: httpx.AsyncClient) -> None:
    record = await create(ana, name="x")
    answer = await ana.get(f"/api/leads/{record['id']}")
    assert "content-encoding" not in answer.headers
    assert answer.headers["etag"] == '"1"'


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_list_is_compressed_under_its_weak_tag(ana: httpx.AsyncClient, coding: str) -> None:
    for number in range(10):
        await create(ana, name=f"lead {number}")
    accept = {"accept-encoding": coding}
    plain = await ana.get("/api/leads", headers={"accept-encoding": "identity"})
    answer = await ana.get("/api/leads", headers=accept)
    assert answer.headers["content-encoding"] == coding
    assert (answer.json(), answer.headers["etag"]) == (plain.json(), plain.headers["etag"])
    known = await ana.get("/api/leads", headers={**accept, "if-none-match": answer.headers["etag"]})
    assert known.status_code == 304
    assert {each.strip().lower() for each in known.headers["vary"].split(",")} >= {
        "authorization",
        "accept-encoding",
    }


async def test_files_of_the_pages_are_compressed_and_known_again(api: Api) -> None:
    client = api.client()
    for path in ("/docs/swagger-ui-bundle.js", "/", "/openapi.json"):
        plain = await client.get(path, headers={"accept-encoding": "identity"}, follow_redirects=True)
        answer = await client.get(path, headers={"accept-encoding": "zstd"}, follow_redirects=True)
        assert answer.headers["content-encoding"] == "zstd"
        assert answer.content == plain.content
        tag = answer.headers.get("etag")
        if tag:
            again = await client.get(path, headers={"accept-encoding": "zstd", "if-none-match": tag})
            assert (again.status_code, again.headers["etag"]) == (304, tag)


async def test_tokens_are_not_compressed(api: Api, tenant: Tenant) -> None:
    answer = await api.client(tenant).get("/api/auth/me", headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert "accept-encoding" not in answer.headers.get("vary", "").lower()

"""Answers of push, pull and overwritten values are what the OpenAPI document says, and so are requests."""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # comes with check-jsonschema, without types

from api.problems import CODES
from tests.integration.api.conftest import Api
from tests.integration.api.pushing import CLIENT, clock, mutation, now_ms
from tests.tenants import Connection, Tenant, new_id

PATHS = ("/api/sync", "/api/changes", "/api/overwritten", "/api/overwritten/seen")


@pytest.fixture
async def document(api: Api) -> dict[str, Any]:
    document: dict[str, Any] = (await api.client().get("/openapi.json")).json()
    return document


def closed(schema: Any) -> Any:
    """The schema, with nothing allowed that it does not name: so an undocumented member is found."""
    match schema:
        case dict():
            inner = {name: closed(each) for name, each in schema.items()}
            if inner.get("properties") and "additionalProperties" not in inner:
                inner["additionalProperties"] = False
            return inner
        case list():
            return [closed(each) for each in schema]
        case _:
            return schema


def errors(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": document["components"]}
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(closed(whole)).iter_errors(value)]


def check(document: dict[str, Any], answer: httpx.Response) -> None:
    operation = document["paths"][answer.request.url.path][answer.request.method.lower()]
    response = operation["responses"][str(answer.status_code)]
    media_type = answer.headers["content-type"]
    assert errors(document, response["content"][media_type]["schema"], answer.json()) == []


async def test_every_answer_is_documented(
    api: Api, tenant: Tenant, owner: Connection, document: dict[str, Any]
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    ana, ben, lead, at = api.client(tenant), api.client(tenant, "ben"), new_id(), now_ms()
    start = await ana.get("/api/changes", params={"topic": "leads"})
    since = {"topic": "leads", "epoch": start.json()["epoch"], "offset": start.json()["to"]}
    insert = mutation("insert", lead, fields={"name": "A"}, clock=clock(at - 9))
    late = mutation("update", lead, fields={"phone": "late"}, clock=clock(at - 5))
    strict = mutation("update", lead, fields={"phone": "s"}, base_version=1, mode="strict")
    mine = [
        insert,
        mutation("update", lead, fields={"phone": "ana's"}, base_version=1, clock=clock(at)),
        late,
        insert,
        late,
        strict,
        {**insert, "fields": {"name": "other"}},
        {"mutation_id": 7},
    ]
    body = {"client_id": CLIENT, "now_ms": at, "mutations": mine}
    request = document["paths"]["/api/sync"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert errors(document, request, {**body, "mutations": mine[:-1]}) == []
    assert errors(document, request, body) != []
    pushed = await ana.post("/api/sync", json=body)
    statuses = [result["status"] for result in pushed.json()["results"]]
    assert statuses == ["applied", "applied", "merged", "duplicate", "duplicate", *["rejected"] * 3]
    theirs = mutation("update", lead, fields={"phone": "ben's"}, base_version=1)
    await ben.post("/api/sync", json={"client_id": CLIENT, "now_ms": at, "mutations": [theirs]})
    pulled = await ana.get("/api/changes", params=since)
    assert any("overwrote" in change for change in pulled.json()["changes"])
    listed = await ana.get("/api/overwritten")
    [item] = listed.json()["items"]
    seen = await ana.post("/api/overwritten/seen", json={"ids": [item["id"]]})
    gone = await ana.get("/api/changes", params={**since, "offset": 10**6})
    refused = await ana.post("/api/sync", json={"mutations": 1})
    for answer in (start, pushed, pulled, listed, seen, gone, refused):
        check(document, answer)


async def test_every_status_that_can_come_is_documented(document: dict[str, Any]) -> None:
    """With the problems' codes by name."""
    for path in PATHS:
        for operation in document["paths"][path].values():
            assert {"200", "400", "401", "422", "503"} <= operation["responses"].keys()
            for status, response in operation["responses"].items():
                if status == "200":
                    continue
                [content] = response["content"].values()
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert any(f"`{name}`" in response["description"] for name in CODES)
    assert "position_too_old" in document["paths"]["/api/changes"]["get"]["responses"]["410"]["description"]

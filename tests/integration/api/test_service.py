"""What surrounds the records: health, metrics, documentation, pages, origins, and tables that appear
meanwhile.
"""

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.services import open_services
from core.lifecycle import StartupError
from core.settings import Settings, load_settings
from tests.integration.api.conftest import SECRET, Api, create, eventually, problem
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant

SWAGGER = Path(__file__).parents[3] / "api" / "static" / "swagger-ui"


async def test_the_process_is_alive_and_ready(api: Api, ana: httpx.AsyncClient) -> None:
    await create(ana, name="x")
    assert (await ana.get("/healthz")).json() == {"status": "ok", "role": "api"}
    ready = await ana.get("/readyz")
    body = ready.json()
    assert (ready.status_code, body["ready"], body["degraded"]) == (200, True, False)
    assert {name for name, each in body["dependencies"].items() if each["ready"]} == {
        "database",
        "redis",
        "catalogue",
    }
    assert body["last_commit_ms_ago"] >= 0
    assert (await ana.head("/healthz")).status_code == 200


async def test_without_redis_it_serves_degraded_and_says_so(settings: Settings) -> None:
    without = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with open_services(without) as services:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(services)), base_url="http://api.test"
        )
        async with client:
            response = await client.get("/readyz")
            body = response.json()
            assert (response.status_code, body["ready"], body["degraded"]) == (200, True, True)
            assert body["dependencies"]["redis"] == {"ready": False, "error": "ConnectionError"}
            problem(await client.post("/api/auth/ticket"), 401, "not_authenticated")


async def test_without_the_database_it_is_not_ready_and_answers_503(
    servers: Servers, tenant: Tenant, api: Api
) -> None:
    with servers.database() as doomed:
        lost = load_settings(
            database_url=doomed.url, redis_url=servers.redis_url, secret=SECRET, _env_file=None
        )
        async with open_services(lost) as services:
            servers.psql(
                f"ALTER DATABASE {doomed.name} ALLOW_CONNECTIONS false; SELECT pg_terminate_backend(pid) "
                f"FROM pg_stat_activity WHERE datname = '{doomed.name}'"
            )
            token = services.tokens.issue(tenant.people["ana"], tenant.id, tenant.sessions["ana"])
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(services)),
                base_url="http://api.test",
                headers={"authorization": f"Bearer {token}"},
            )
            async with client:

                async def unready() -> bool:
                    return (await client.get("/readyz")).status_code == 503

                await eventually(unready)
                assert (await client.get("/readyz")).json()["dependencies"]["database"]["ready"] is False
                for response in (
                    await client.get("/api/leads"),
                    await client.post("/api/leads", json={"name": "x"}),
                    await client.post("/api/auth/login", json={"email": "a@b.test", "password": "x"}),
                ):
                    problem(response, 503, "unavailable")
                    assert response.headers["retry-after"]
                    assert doomed.name not in response.text


async def test_the_sockets_document_names_the_gateway_that_this_server_does(api: Api) -> None:
    host = {"host": "crm.test:8000"}
    document = (await api.client().get("/asyncapi.json", headers=host)).json()
    configured = (await api.client().get("/api/client-config", headers=host)).json()
    server = document["servers"]["gateway"]
    assert f"{server['protocol']}://{server['host']}/ws" == configured["gateway_url"]
    assert document["info"]["version"] == configured["version"]


async def test_what_the_database_can_never_carry_out_is_not_called_unavailable(
    api: Api, tenant: Tenant, owner: Connection
) -> None:
    """As after a migration that was made by halves: whoever tries again for ever would never hear of it."""
    await owner.execute("ALTER FUNCTION write_mutations RENAME TO write_mutations_of_tomorrow")
    try:
        answer = await api.client(tenant).post("/api/leads", json={"name": "x"})
    finally:
        await owner.execute("ALTER FUNCTION write_mutations_of_tomorrow RENAME TO write_mutations")
    assert problem(answer, 500, "internal")["error_id"]
    assert (await api.client(tenant).post("/api/leads", json={"name": "x"})).status_code == 201


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"database_url": "postgresql://branchline_app@127.0.0.1:1/x"}, "PostgreSQL"),
        ({"database_url": ""}, "DATABASE_URL"),
        ({"redis_url": ""}, "REDIS_URL"),
        ({"secret": ""}, "BRANCHLINE_SECRET"),
    ],
)
async def test_what_is_missing_at_start_is_said_in_one_line(
    settings: Settings, change: dict[str, str], words: str
) -> None:
    with pytest.raises(StartupError, match=words):
        async with open_services(settings.model_copy(update=change)):
            raise AssertionError("it started")


async def test_a_database_without_the_schema_is_said_in_one_line(
    servers: Servers, settings: Settings, module_database: Database
) -> None:
    empty = module_database.url.replace(module_database.name, "postgres")
    with pytest.raises(StartupError, match="branchline migrate"):
        async with open_services(settings.model_copy(update={"database_url": empty})):
            raise AssertionError("it started")


async def test_metrics_count_requests_by_template_commits_and_problems(ana: httpx.AsyncClient) -> None:
    await create(ana, name="x")
    await ana.get("/api/nothing")
    await ana.get("/api/auth/me")
    text = (await ana.get("/metrics")).text
    for line in (
        r'branchline_http_requests_total\{method="POST",route="/api/\{collection\}",status="201"\} [1-9]',
        r'branchline_http_requests_total\{method="GET",route="/api/auth/me",status="200"\} [1-9]',
        r'branchline_http_request_seconds_count\{method="POST",route="/api/\{collection\}"\} [1-9]',
        r"branchline_commit_seconds_count [1-9]",
        r"branchline_commit_mutations_count [1-9]",
        r'branchline_mutations_total\{status="applied"\} [1-9]',
        r'branchline_errors_total\{code="unknown_collection",role="api"\} [1-9]',
        r"branchline_mutations_waiting 0",
    ):
        assert re.search(line, text), line
    # Routes are told by their template: a name of the catalogue would be a series for each table.
    assert not re.search(r"^[^#].*leads", text, re.MULTILINE)


async def test_a_table_that_is_tracked_meanwhile_is_a_collection_within_seconds(
    api: Api, owner: Connection, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    await owner.execute(
        """ CREATE TYPE size AS ENUM ('small', 'large'); CREATE TABLE parcels ( organization_id uuid, id
        uuid, branch_id uuid, label varchar(20) NOT NULL, weight numeric(6, 3), size size NOT NULL DEFAULT
        'small', tags text[], content jsonb, sent_on date, pieces smallint, ratio float8, held interval );
        COMMENT ON TABLE parcels IS 'Things on their way.'; COMMENT ON COLUMN parcels.size IS 'How big.
        @filterable'; SELECT track('parcels');
        """
    )

    async def known() -> bool:
        return (await ana.get("/api/parcels")).status_code == 200

    await eventually(known, seconds=5)
    fields = {
        "label": "x",
        "weight": "1.5",
        "size": "large",
        "tags": ["a", 'b"{},'],
        "content": {"a": [1, None, {"b": "c"}]},
        "sent_on": "2026-02-28",
        "pieces": 32767,
        "ratio": 0.1,
        "held": "2 days",
    }
    record = await create(ana, "parcels", **fields)
    assert record | {**fields, "weight": "1.500", "held": record["held"]} == record
    for bad in (
        {"pieces": 32768},
        {"tags": [None]},
        {"tags": "a"},
        {"sent_on": "2026-02-29"},
        {"held": "long"},
        {"content": {"a": "\x00"}},
    ):
        refused = await ana.patch(f"/api/parcels/{record['id']}", json=bad)
        problem(refused, 422, "invalid")
    assert len((await ana.get("/api/parcels?size=large&sort=-ratio")).json()["items"]) == 1
    document = (await ana.get("/openapi.json")).json()
    assert "/api/parcels/{id}" in document["paths"]
    schema = document["components"]["schemas"]["ParcelsCreate"]
    assert schema["required"] == ["label"]
    assert schema["properties"]["label"]["maxLength"] == 20
    await owner.execute("SELECT untrack('parcels'); DROP TABLE parcels; DROP TYPE size")

    async def gone() -> bool:
        return (await ana.get("/api/parcels")).status_code == 404

    await eventually(gone, seconds=5)
    assert "/api/parcels/{id}" not in (await ana.get("/openapi.json")).json()["paths"]


def references(node: Any) -> set[str]:
    """Every $ref in a document."""
    match node:
        case dict():
            own = {node["$ref"]} if "$ref" in node else set()
            return own.union(*(references(each) for each in node.values()))
        case list():
            return set().union(*(references(each) for each in node))
        case _:
            return set()


async def test_the_openapi_document_describes_every_collection_and_refers_to_what_is_there(
    api: Api, ana: httpx.AsyncClient
) -> None:
    response = await api.client().get("/openapi.json")
    document = response.json()
    assert document["openapi"].startswith("3.1")
    for name in api.services.watcher.current.collections:
        assert document["paths"][f"/api/{name}"].keys() == {"get", "post"}
        assert {"get", "patch", "put", "delete"} < document["paths"][f"/api/{name}/{{id}}"].keys()
    assert {"/api/auth/login", "/api/auth/refresh", "/api/client-config", "/readyz"} < document[
        "paths"
    ].keys()
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    operations = [
        operation["operationId"]
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(operations) == len(set(operations))
    # A record that is read is what its schema says.
    lead = await create(ana, name="x")
    assert document["components"]["schemas"]["Leads"]["properties"].keys() == lead.keys()


async def test_the_documentation_is_drawn_without_the_internet(api: Api) -> None:
    client = api.client()
    page = await client.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    for source in sources:
        if source != "data:,":
            answer = await client.get(source)
            assert answer.status_code == 200, source
            assert "http" not in source
    assert (await client.get("/docs/other.js")).status_code == 307
    assert (await client.get("/docs/..%2Fapp.py")).status_code in (307, 404)


def test_the_committed_assets_are_those_whose_hashes_are_written_beside_them() -> None:
    written = dict(
        re.findall(r"\| `([^`]+)` \| sha256 `([0-9a-f]{64})` \|", (SWAGGER / "README.md").read_text())
    )
    assert written.keys() == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, digest in written.items():
        assert hashlib.sha256((SWAGGER / name).read_bytes()).hexdigest() == digest


async def test_a_page_learns_where_the_gateway_is(api: Api, settings: Settings) -> None:
    response = await api.client().get("/api/client-config", headers={"host": "crm.test:8000"})
    config = response.json()
    assert config["gateway_url"] == "ws://crm.test:8001/ws"
    assert (config["protocol"], config["environment"]) == ("branchline.v1", "development")
    assert config["home"] == str(settings.home)
    evil = await api.client().get("/api/client-config", headers={"host": 'x"onload=alert(1)'})
    assert evil.json()["gateway_url"] == "ws://127.0.0.1:8001/ws"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("https://crm.example.com", True),
        ("http://localhost.evil.test", False),
        ("http://localhost:3000.evil.test", False),
        ("https://crm.example.com.evil.test", False),
        ("https://evil.test", False),
        ("null", False),
    ],
)
async def test_pages_of_other_origins_read_nothing(
    api: Api, settings: Settings, origin: str, allowed: bool
) -> None:
    changed = settings.model_copy(update={"allowed_origins": ("https://crm.example.com",)})
    app = create_app(dataclasses.replace(api.services, settings=changed))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        headers = {"origin": origin}
        answer = await client.get("/api/leads", headers=headers)
        asked = await client.options(
            "/api/leads",
            headers={
                **headers,
                "access-control-request-method": "PATCH",
                "access-control-request-headers": "authorization,if-match",
            },
        )
    assert (answer.headers.get("access-control-allow-origin") == origin) == allowed
    assert (asked.status_code == 200) == allowed


async def test_every_answer_has_the_headers_that_keep_a_browser_from_harm(
    api: Api, ana: httpx.AsyncClient
) -> None:
    for response in (
        await ana.get("/api/leads"),
        await ana.get("/api/nothing"),
        await api.client().get("/docs"),
        await api.client().get("/"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"] or (
            response.status_code == 307
        )
        assert "access-control-allow-origin" not in response.headers


async def test_an_error_that_nobody_foresaw_is_logged_with_an_id_and_says_nothing(
    api: Api, ana: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ValueError("the secret of record 17")

    monkeypatch.setattr(type(api.services.committer), "write", fail)
    response = await ana.post("/api/leads", json={"name": "x"})
    body = problem(response, 500, "internal")
    assert "secret" not in response.text
    logged = "".join(capfd.readouterr())
    assert body["error_id"] in logged
    assert "secret" not in logged

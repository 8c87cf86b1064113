"""`/api/changes`: what a delta would hold, without a socket."""

from typing import Any

import httpx
import pytest

from api.routes import changes
from tests.integration.api.conftest import Api, problem
from tests.tenants import Connection, Tenant


async def pull(client: httpx.AsyncClient, since: dict[str, Any], **more: Any) -> httpx.Response:
    return await client.get("/api/changes", params={"topic": "leads", **since, **more})


async def position(client: httpx.AsyncClient) -> dict[str, Any]:
    page = (await client.get("/api/leads?limit=1")).json()
    return {"epoch": page["epoch"], "offset": page["offset"]}


async def test_a_pull_gives_what_came_after_a_position_and_says_how_far_it_is_complete(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant)
    since = await position(ana)
    leads = [(await ana.post("/api/leads", json={"name": f"L{n}"})).json() for n in range(3)]
    await ana.post("/api/clients", json={"name": "C"})
    answer = (await pull(ana, since)).json()
    assert [c["id"] for c in answer["changes"]] == [lead["id"] for lead in leads]
    assert (answer["from"], answer["to"], answer["more"]) == (since["offset"], since["offset"] + 4, False)
    assert answer["changes"][0]["fields"] == leads[0]
    first = (await pull(ana, since, limit=2)).json()
    assert (len(first["changes"]), first["to"], first["more"]) == (2, since["offset"] + 2, True)
    rest = (await pull(ana, {**since, "offset": first["to"]}, view=first["view"])).json()
    assert [c["offset"] for c in rest["changes"]] == [since["offset"] + 3]


async def test_a_pull_never_ends_inside_a_transaction_unless_it_says_so(
    api: Api, tenant: Tenant, owner: Connection
) -> None:
    ana = api.client(tenant)
    await ana.post("/api/leads", json={"name": "one"})
    since = await position(ana)
    await ana.post("/api/leads", json={"name": "two"})
    await owner.execute(
        "INSERT INTO leads (organization_id, name) SELECT $1, 'n' FROM generate_series(1, 10)", tenant.id
    )
    whole = (await pull(ana, since, limit=5)).json()
    assert (whole["to"], whole["more"]) == (since["offset"] + 1, True)
    part = (await pull(ana, {**since, "offset": whole["to"]}, limit=5)).json()
    assert (part["to"], part["partial"], len(part["changes"])) == (since["offset"] + 6, True, 5)


async def test_a_position_that_cannot_be_followed_is_gone_with_its_reason(api: Api, tenant: Tenant) -> None:
    ana = api.client(tenant)
    await ana.post("/api/leads", json={"name": "A"})
    since = await position(ana)
    for wrong, code in (
        ({"epoch": "another"}, "position_of_another_epoch"),
        ({"offset": since["offset"] + 1}, "position_beyond_head"),
        ({"view": "leads#0"}, "position_of_another_view"),
    ):
        answer = await pull(ana, since | wrong)
        assert (answer.status_code, answer.json()["code"]) == (410, code)


async def test_a_position_older_than_the_log_is_gone(api: Api, tenant: Tenant, owner: Connection) -> None:
    ana = api.client(tenant)
    since = await position(ana)
    for _ in range(3):
        await ana.post("/api/leads", json={"name": "A"})
    await owner.fetchval("SELECT prune_commits(CURRENT_DATE + 1)")
    answer = await pull(ana, {**since, "offset": 1})
    assert (answer.status_code, answer.json()["code"]) == (410, "position_too_old")


async def test_a_pull_with_bad_parameters_is_refused_by_name(api: Api, tenant: Tenant) -> None:
    ana = api.client(tenant)
    since = await position(ana)
    for query, status in (
        ({"topic": "nothing"}, 404),
        ({"topic": "leads?name=x"}, 422),
        ({"topic": ""}, 422),
        ({"offset": "-1"}, 422),
        ({"offset": "1e3"}, 422),
        ({"limit": "0"}, 422),
        ({"colour": "red"}, 422),
        ({"epoch": ""}, 422),
    ):
        answer = await pull(ana, {**since, **query})
        assert answer.status_code == status, (query, answer.text)


async def test_who_reads_their_own_branch_pulls_only_that(api: Api, tenant: Tenant) -> None:
    ana, rita = api.client(tenant), api.client(tenant, "rita")
    since = await position(rita)
    hidden = (await ana.post("/api/leads", json={"name": "N", "branch_id": tenant.branches["north"]})).json()
    shown = (await ana.post("/api/leads", json={"name": "S", "branch_id": tenant.branches["south"]})).json()
    await ana.patch(f"/api/leads/{hidden['id']}", json={"branch_id": tenant.branches["south"]})
    await ana.patch(f"/api/leads/{shown['id']}", json={"branch_id": tenant.branches["north"]})
    changes = (await pull(rita, since)).json()["changes"]
    assert [(c["operation"], c["id"]) for c in changes] == [
        ("insert", shown["id"]),
        ("enter", hidden["id"]),
        ("leave", shown["id"]),
    ]


async def test_a_pull_without_a_position_says_where_the_head_is_and_names_the_view(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant)
    await ana.post("/api/leads", json={"name": "A"})
    since = await position(ana)
    answer = (await pull(ana, {})).json()
    assert (answer["epoch"], answer["from"], answer["to"]) == (
        since["epoch"],
        since["offset"],
        since["offset"],
    )
    assert (answer["changes"], answer["more"]) == ([], False)
    followed = await pull(ana, since, view=answer["view"])
    assert followed.json()["changes"] == []
    for half in ({"epoch": since["epoch"]}, {"offset": 0}):
        problem(await pull(ana, half), 422, "invalid")


@pytest.mark.parametrize("offset", ["9" * 16, "9" * 17, "0" * 30 + "1", "9" * 5000, "٣", "", "+1", "1.0"])
async def test_an_offset_that_is_no_offset_is_refused(api: Api, tenant: Tenant, offset: str) -> None:
    ana = api.client(tenant)
    since = await position(ana)
    problem(await pull(ana, {**since, "offset": offset}), 422, "invalid")


async def test_large_records_make_an_answer_shorter_not_larger(
    api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "STEP", 2)
    monkeypatch.setattr(changes, "ANSWER_BYTES", 10_000)
    ana = api.client(tenant)
    since = await position(ana)
    for _ in range(6):
        await ana.post("/api/leads", json={"name": "L", "notes": "n" * 4_000})
    seen: list[int] = []
    rounds = 0
    while True:
        answer = (await pull(ana, since)).json()
        seen += [change["offset"] for change in answer["changes"]]
        since["offset"] = answer["to"]
        rounds += 1
        if not answer["more"]:
            break
    assert seen == list(range(seen[0], seen[0] + 6))
    assert rounds == 2


async def test_polling_adds_up_to_the_list(api: Api, tenant: Tenant) -> None:
    """The documented fallback: the list, then its position again and again; 410 begins anew."""
    ana = api.client(tenant)
    page = (await ana.get("/api/leads?limit=200")).json()
    mirror = {record["id"]: record for record in page["items"]}
    since = {"epoch": page["epoch"], "offset": page["offset"]}
    one = (await ana.post("/api/leads", json={"name": "one"})).json()["id"]
    two = (await ana.post("/api/leads", json={"name": "two"})).json()["id"]
    await ana.patch(f"/api/leads/{one}", json={"name": "ONE", "phone": "1"})
    await ana.delete(f"/api/leads/{two}")
    await ana.patch(f"/api/leads/{one}", json={"phone": None})
    while True:
        answer = (await pull(ana, since, limit=2)).json()
        for change in answer["changes"]:
            if change["operation"] in ("delete", "leave"):
                mirror.pop(change["id"], None)
            elif change["version"] > mirror.get(change["id"], {}).get("version", 0):
                known = {"version": change["version"]}
                mirror[change["id"]] = {**mirror.get(change["id"], {}), **change["fields"], **known}
        since["offset"] = answer["to"]
        if not answer["more"]:
            break
    now = (await ana.get("/api/leads?limit=200")).json()
    assert mirror == {record["id"]: record for record in now["items"]}

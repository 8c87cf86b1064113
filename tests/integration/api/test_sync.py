"""`/api/sync`, `/api/changes`, `/api/overwritten`: a client that was away ends equal to PostgreSQL."""

import time
import uuid
from typing import Any

import httpx

from tests.integration.api.conftest import Api
from tests.tenants import Connection, Tenant, new_id

CLIENT = "0a0a0a0a-0000-4000-8000-00000000000a"
YEAR_MS = 365 * 86_400_000


def now_ms() -> int:
    return int(time.time() * 1000)


def clock(ms: int, counter: int = 0) -> str:
    return f"{ms:013d}-{counter:04x}-{CLIENT}"


def mutation(operation: str, record: str, collection: str = "leads", **more: Any) -> dict[str, Any]:
    return {"mutation_id": new_id(), "collection": collection, "id": record, "operation": operation, **more}


async def push(client: httpx.AsyncClient, *mutations: Any, skew_ms: int = 0) -> list[dict[str, Any]]:
    body = {"client_id": CLIENT, "now_ms": now_ms() + skew_ms, "mutations": list(mutations)}
    answer = await client.post("/api/sync", json=body)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [r["mutation_id"] for r in results if r["mutation_id"] != str(uuid.UUID(int=0))] == [
        m["mutation_id"] for m in mutations if isinstance(m, dict) and "mutation_id" in m
    ]
    return list(results)


async def test_a_push_applies_the_good_and_reports_each_bad_mutation_by_its_id(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant)
    good, bad = new_id(), new_id()
    results = await push(
        ana,
        mutation("insert", good, fields={"name": "A"}),
        mutation("insert", bad, fields={"name": "B", "score": 101}),
        mutation("insert", bad, fields={"name": "B", "colour": "red"}),
        mutation("insert", bad, collection="nothing", fields={}),
        mutation("merge", bad, fields={}),
        "not a mutation",
        mutation("insert", bad, fields={"name": 7}),
        mutation("update", new_id(), fields={"name": "C"}),
        mutation("update", good, fields={"name": "D"}),
    )
    assert [r["status"] for r in results] == ["applied", *["rejected"] * 7, "applied"]
    assert [r.get("code") for r in results[1:8]] == [
        "invalid",
        "invalid",
        "unknown_collection",
        "invalid",
        "invalid",
        "invalid",
        "not_found",
    ]
    assert "colour" in results[2]["message"]
    assert (await ana.get(f"/api/leads/{good}")).json() == results[8]["record"]
    assert (await ana.get(f"/api/leads/{bad}")).status_code == 404


async def test_a_repeat_is_answered_with_the_first_result_and_the_record_of_today(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant)
    first = mutation("insert", (lead := new_id()), fields={"name": "A"})
    await push(ana, first)
    await ana.patch(f"/api/leads/{lead}", json={"name": "B"})
    [again] = await push(ana, first)
    assert (again["status"], again["first"]["status"], again["first"]["version"]) == (
        "duplicate",
        "applied",
        1,
    )
    assert again["record"]["name"] == "B"
    [reused] = await push(ana, {**first, "fields": {"name": "C"}})
    assert (reused["status"], reused["code"]) == ("rejected", "id_reused")


async def test_the_same_mutation_twice_in_one_push_takes_effect_once(api: Api, tenant: Tenant) -> None:
    twice = mutation("insert", new_id(), fields={"name": "A"})
    results = await push(api.client(tenant), twice, twice)
    assert [r["status"] for r in results] == ["applied", "duplicate"]


async def test_somebody_elses_mutation_id_says_nothing_about_theirs(api: Api, tenant: Tenant) -> None:
    theirs = mutation("insert", new_id(), fields={"name": "secret"})
    await push(api.client(tenant, "ana"), theirs)
    [result] = await push(api.client(tenant, "carla"), {**theirs, "id": new_id(), "fields": {"name": "mine"}})
    assert result["status"] == "applied"
    assert "secret" not in str(result)


async def test_a_clock_a_year_ahead_is_clamped_and_the_effective_one_answered(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant)
    [result] = await push(
        ana, mutation("insert", new_id(), fields={"name": "A"}, clock=clock(now_ms() + YEAR_MS))
    )
    assert result["status"] == "applied"
    assert int(result["clock"][:13]) <= now_ms() + 60_000


async def test_a_client_whose_clock_is_an_hour_behind_wins_over_a_value_that_it_has_seen(
    api: Api, tenant: Tenant
) -> None:
    ana = api.client(tenant)
    hour = 3_600_000
    lead = new_id()
    [seen] = await push(ana, mutation("insert", lead, fields={"name": "A"}, clock=clock(now_ms())))
    # It has seen that clock, so its own moves past it, by its own slow time.
    later = clock(int(seen["clock"][:13]) - hour + 1)
    [result] = await push(ana, mutation("update", lead, fields={"name": "B"}, clock=later), skew_ms=-hour)
    assert (result["status"], result["record"]["name"]) == ("applied", "B")


async def test_a_clock_in_another_clients_name_is_refused(api: Api, tenant: Tenant) -> None:
    stolen = clock(now_ms()).replace(CLIENT, "0b0b0b0b-0000-4000-8000-00000000000b")
    [result] = await push(
        api.client(tenant), mutation("insert", new_id(), fields={"name": "A"}, clock=stolen)
    )
    assert (result["status"], result["code"]) == ("rejected", "invalid")


async def test_a_queue_of_a_hundred_days_is_not_applied(api: Api, tenant: Tenant) -> None:
    """What is older than the store of answers cannot be told from a repeat."""
    ana = api.client(tenant)
    old_ms = now_ms() - 100 * 86_400_000
    text = f"{old_ms:012x}"
    by_id = {
        **mutation("insert", new_id(), fields={"name": "A"}),
        "mutation_id": f"{text[:8]}-{text[8:]}-7000-8000-000000000001",
    }
    by_clock = mutation("insert", new_id(), fields={"name": "A"}, clock=clock(old_ms))
    results = await push(ana, by_id, by_clock)
    assert [(r["status"], r["code"]) for r in results] == [("rejected", "expired")] * 2


async def test_the_loser_of_a_field_is_told_what_won_and_who_wrote_it(api: Api, tenant: Tenant) -> None:
    ana, lead, now = api.client(tenant), new_id(), now_ms()
    await push(ana, mutation("insert", lead, fields={"name": "A"}, clock=clock(now - 5000)))
    await push(ana, mutation("update", lead, fields={"phone": "new"}, clock=clock(now)))
    [result] = await push(
        ana, mutation("update", lead, fields={"phone": "old", "email": "e"}, clock=clock(now - 9))
    )
    assert result["status"] == "merged"
    [lost] = result["lost"]
    assert (lost["field"], lost["mine"], lost["theirs"], lost["by"]) == (
        "phone",
        "old",
        "new",
        tenant.people["ana"],
    )
    assert result["record"]["email"] == "e"


async def test_a_critical_field_is_strict_by_default_when_a_version_is_named(
    api: Api, tenant: Tenant
) -> None:
    ana, deal = api.client(tenant), new_id()
    await push(ana, mutation("insert", deal, "deals", fields={"name": "D", "amount": "1"}))
    await push(ana, mutation("update", deal, "deals", fields={"notes": "n"}, base_version=1))
    [amount, notes] = await push(
        ana,
        mutation("update", deal, "deals", fields={"amount": "2"}, base_version=1),
        mutation("update", deal, "deals", fields={"notes": "m"}, base_version=1),
    )
    assert (amount["status"], amount["code"], amount["record"]["amount"]) == (
        "rejected",
        "version_mismatch",
        "1.00",
    )
    assert notes["status"] == "applied"


async def test_a_bad_envelope_names_its_members(api: Api, tenant: Tenant) -> None:
    ana = api.client(tenant)
    for body, field in (
        ([], "the body"),
        ({"client_id": "x", "now_ms": 1, "mutations": []}, "client_id"),
        ({"client_id": CLIENT, "now_ms": "1", "mutations": []}, "now_ms"),
        ({"client_id": CLIENT, "now_ms": 1, "mutations": [{}] * 1001}, "mutations"),
        ({"client_id": CLIENT, "now_ms": 1, "mutations": [], "who": 1}, "who"),
    ):
        answer = await ana.post("/api/sync", json=body)
        assert answer.status_code == 422
        assert field in answer.json()["detail"]
    empty = await ana.post("/api/sync", json={"client_id": CLIENT, "now_ms": 1, "mutations": []})
    assert empty.json()["results"] == []


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


async def test_what_somebody_overwrote_is_shown_to_its_author_until_seen(
    api: Api, tenant: Tenant, owner: Connection
) -> None:
    await owner.execute(
        "UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    ana, ben, lead = api.client(tenant), api.client(tenant, "ben"), new_id()
    await push(ana, mutation("insert", lead, fields={"name": "A"}))
    await push(ana, mutation("update", lead, fields={"phone": "ana's"}, base_version=1))
    await push(ben, mutation("update", lead, fields={"phone": "ben's"}, base_version=1))
    [entry] = (await ana.get("/api/overwritten")).json()["items"]
    assert (entry["field"], entry["mine"], entry["theirs"], entry["by"]["name"]) == (
        "phone",
        "ana's",
        "ben's",
        "Ben",
    )
    assert (await ben.get("/api/overwritten")).json()["items"] == []
    assert (await ben.post("/api/overwritten/seen", json={"ids": [entry["id"]]})).json() == {"seen": 0}
    assert (await ana.post("/api/overwritten/seen", json={"ids": [entry["id"]]})).json() == {"seen": 1}
    assert (await ana.get("/api/overwritten")).json()["items"] == []
    refused: tuple[Any, ...] = ([], {"ids": "x"}, {"ids": ["x"]}, {"ids": [], "more": 1})
    for bad in refused:
        assert (await ana.post("/api/overwritten/seen", json=bad)).status_code == 422

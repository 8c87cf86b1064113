"""`/api/sync`: each mutation for itself, once, and told what became of it."""

from tests.integration.api.conftest import Api, problem
from tests.integration.api.pushing import CLIENT, clock, mutation, now_ms, push
from tests.tenants import Connection, Tenant, new_id

YEAR_MS = 365 * 86_400_000


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


async def test_a_write_that_went_slowly_does_not_beat_the_same_clients_next_one(
    api: Api, tenant: Tenant
) -> None:
    """The way's time is no skew: typed a second later, the second value stands, though it was quick."""
    ana, lead, typed = api.client(tenant), new_id(), now_ms() - 9_000
    await push(ana, mutation("insert", lead, fields={"name": "A"}, clock=clock(typed - 1)))
    await push(ana, mutation("update", lead, fields={"name": "first"}, clock=clock(typed)), skew_ms=-8_000)
    [result] = await push(
        ana, mutation("update", lead, fields={"name": "second"}, clock=clock(typed + 1_000))
    )
    assert (result["status"], result["record"]["name"]) == ("applied", "second")


async def test_a_write_stamped_again_is_still_known_to_be_old_by_its_id(api: Api, tenant: Tenant) -> None:
    text = f"{now_ms() - 100 * 86_400_000:012x}"
    again = {
        **mutation("insert", new_id(), fields={"name": "A"}, clock=clock(now_ms())),
        "mutation_id": f"{text[:8]}-{text[8:]}-7000-8000-000000000002",
    }
    [result] = await push(api.client(tenant), again)
    assert (result["status"], result["code"]) == ("rejected", "expired")


async def test_two_writes_of_a_record_with_one_clock_are_not_taken_for_one(api: Api, tenant: Tenant) -> None:
    """An equal clock of another write would lose in silence (I9): the second counts as the later."""
    ana, lead, at = api.client(tenant), new_id(), now_ms()
    insert = mutation("insert", lead, fields={"name": "A"}, clock=clock(at))
    one = mutation("update", lead, fields={"phone": "1"}, clock=clock(at, 1))
    two = mutation("update", lead, fields={"phone": "2"}, clock=clock(at, 1))
    results = await push(ana, insert, one, two, one)
    assert [r["status"] for r in results] == ["applied", "applied", "applied", "duplicate"]
    assert results[3]["record"]["phone"] == "2"


async def test_fields_that_are_no_object_are_named(api: Api, tenant: Tenant) -> None:
    ana, lead = api.client(tenant), new_id()
    await push(ana, mutation("insert", lead, fields={"name": "A"}))
    for operation, fields in (("update", []), ("update", "x"), ("delete", []), ("delete", {"name": "B"})):
        [result] = await push(ana, mutation(operation, lead, fields=fields))
        assert (result["status"], result["code"]) == ("rejected", "invalid")
        assert result["message"].startswith("fields: expected")
    [deleted] = await push(ana, mutation("delete", lead))
    assert (deleted["status"], "record" in deleted) == ("applied", False)


async def test_repeats_are_answered_with_the_records_of_today_whatever_came_between(
    api: Api, tenant: Tenant
) -> None:
    """Changed, deleted, never changed: many repeats of many collections in one push."""
    ana = api.client(tenant)
    changed, deleted, task = new_id(), new_id(), new_id()
    first = [
        mutation("insert", changed, fields={"name": "A"}),
        mutation("insert", deleted, fields={"name": "B"}),
        mutation("insert", task, "tasks", fields={"title": "C"}),
        mutation("delete", deleted),
    ]
    await push(ana, *first)
    await ana.patch(f"/api/leads/{changed}", json={"name": "AA"})
    again = await push(ana, *first)
    assert [r["status"] for r in again] == ["duplicate"] * 4
    assert [r.get("record", {}).get("version") for r in again] == [2, None, 1, None]
    assert [r["first"]["version"] for r in again] == [1, 1, 1, 2]


async def test_a_repeat_shows_nothing_that_may_not_be_read_today(
    api: Api, tenant: Tenant, owner: Connection
) -> None:
    """Neither the record, nor in `lost` the value that won: both were theirs to read then."""
    ana, rita, lead, at = api.client(tenant), api.client(tenant, "rita"), new_id(), now_ms()
    south, north = tenant.branches["south"], tenant.branches["north"]
    fields = {"name": "A", "branch_id": south}
    await push(ana, mutation("insert", lead, fields=fields, clock=clock(at - 9_000)))
    await push(ana, mutation("update", lead, fields={"phone": "ana's"}, clock=clock(at)))
    late = mutation("update", lead, fields={"phone": "rita's"}, clock=clock(at - 5_000))
    [first] = await push(rita, late)
    assert (first["status"], first["lost"][0]["theirs"]) == ("merged", "ana's")
    await ana.patch(f"/api/leads/{lead}", json={"branch_id": north})
    [again] = await push(rita, late)
    [lost] = again["first"]["lost"]
    assert (again["status"], lost["mine"], lost["theirs"], lost["by"]) == ("duplicate", "rita's", None, None)
    assert "record" not in again
    assert "ana's" not in str(again)


async def test_the_mutations_of_a_push_are_one_unit_and_two_pushes_are_two(api: Api, tenant: Tenant) -> None:
    ana, repeated = api.client(tenant), mutation("insert", new_id(), fields={"name": "A"})
    page = (await ana.get("/api/leads?limit=1")).json()
    await push(ana, repeated, mutation("insert", new_id(), fields={"name": "B"}))
    await push(ana, repeated, mutation("insert", new_id(), fields={"name": "C"}))
    since = {"topic": "leads", "epoch": page["epoch"], "offset": page["offset"]}
    changes = (await ana.get("/api/changes", params=since)).json()["changes"]
    units = [change["transaction"] for change in changes]
    assert units[0] == units[1] != units[2]


async def test_an_ended_session_pushes_nothing(api: Api, tenant: Tenant, owner: Connection) -> None:
    ana = api.client(tenant)
    await owner.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", tenant.sessions["ana"])
    body = {"client_id": CLIENT, "now_ms": now_ms(), "mutations": [mutation("insert", new_id(), fields={})]}
    problem(await ana.post("/api/sync", json=body), 401, "session_ended")
    assert await owner.fetchval("SELECT count(*) FROM leads WHERE organization_id = $1", tenant.id) == 0


async def test_a_viewer_is_refused_mutation_by_mutation(api: Api, tenant: Tenant) -> None:
    [result] = await push(api.client(tenant, "vera"), mutation("insert", new_id(), fields={"name": "A"}))
    assert (result["status"], result["code"]) == ("rejected", "forbidden")

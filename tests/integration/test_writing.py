"""write_mutations: merge by field, rights in the statement, repeats, and bad mutations that stand alone."""

import asyncio

import asyncpg
import orjson
import pytest

from tests.integration.conftest import Connect
from tests.tenants import Connection, Tenant, create_tenant, log_of, new_id, write

LATER = "9000000000000-0000-00000000-0000-4000-8000-00000000000a"
ROWS_INSERTED = "SELECT n_tup_ins FROM pg_stat_xact_user_tables WHERE relname = 'leads'"
"""In this transaction, also those that were undone."""
EARLIER = "1000000000000-0000-00000000-0000-4000-8000-00000000000b"


async def make_lead(api: Connection, tenant: Tenant, person: str = "ana", **fields: object) -> str:
    lead = new_id()
    [result] = await write(
        api, tenant.mutation(person, "insert", "leads", lead, fields={"name": "L", **fields})
    )
    assert result["status"] == "applied", result
    return lead


async def test_an_insert_answers_with_the_record_and_its_defaults(api: Connection, tenant: Tenant) -> None:
    [result] = await write(api, tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "Émile"}))
    record = result["record"]
    assert (result["status"], result["version"], record["version"]) == ("applied", 1, 1)
    assert (record["status"], record["currency"], record["branch_id"]) == ("new", "EUR", None)
    assert record["updated_by"] == tenant.people["ana"]


async def test_the_branch_of_a_new_record_is_its_writers_if_there_is_just_one(
    api: Connection, tenant: Tenant
) -> None:
    [result] = await write(api, tenant.mutation("ben", "insert", "leads", new_id(), fields={"name": "L"}))
    assert result["record"]["branch_id"] == tenant.branches["north"]


async def test_an_id_that_exists_is_taken(api: Connection, tenant: Tenant) -> None:
    lead = await make_lead(api, tenant)
    [result] = await write(api, tenant.mutation("ana", "insert", "leads", lead, fields={"name": "M"}))
    assert (result["status"], result["code"]) == ("rejected", "id_taken")


async def test_two_writers_of_different_fields_both_keep_their_work(api: Connection, tenant: Tenant) -> None:
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}, clock=LATER))
    [result] = await write(
        api, tenant.mutation("ben", "update", "leads", lead, fields={"company": "C"}, clock=LATER[:-1] + "b")
    )
    assert result["code"] == "forbidden"  # Ben is of north; the record is of no branch
    await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"company": "C"}, clock=LATER))
    [result] = await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"email": "e"}))
    assert (result["record"]["phone"], result["record"]["company"], result["record"]["email"]) == (
        "1",
        "C",
        "e",
    )


async def test_an_older_write_of_a_field_loses_and_is_told_to_whom(api: Connection, tenant: Tenant) -> None:
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "new"}, clock=LATER))
    [result] = await write(
        api,
        tenant.mutation("ana", "update", "leads", lead, fields={"phone": "old", "email": "e"}, clock=EARLIER),
    )
    assert result["status"] == "merged"
    assert [entry["field"] for entry in result["lost"]] == ["email", "phone"]
    phone = result["lost"][1]
    assert (phone["mine"], phone["theirs"], phone["by"]) == ("old", "new", tenant.people["ana"])
    assert phone["at_ms"] == int(LATER[:13])
    assert result["version"] == 2


async def test_a_stamp_by_the_server_beats_a_clock_that_is_far_ahead(api: Connection, tenant: Tenant) -> None:
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "ahead"}, clock=LATER))
    [result] = await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "now"}))
    assert (result["status"], result["record"]["phone"]) == ("applied", "now")
    assert result["clock"] > LATER


async def test_a_concurrent_overwrite_is_in_the_change_with_the_value_and_its_author(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "ana's"}, base_version=1)
    )
    await owner.execute(
        "UPDATE organization_members SET role = 'manager', branch_ids = NULL WHERE user_id = $1",
        tenant.people["ben"],
    )
    await write(
        api, tenant.mutation("ben", "update", "leads", lead, fields={"phone": "ben's"}, base_version=1)
    )
    [entry] = (await log_of(owner, tenant))[-1]["overwrote"]
    assert (entry["field"], entry["value"], entry["by"]) == ("phone", "ana's", tenant.people["ana"])
    await write(
        api, tenant.mutation("ben", "update", "leads", lead, fields={"phone": "again"}, base_version=3)
    )
    assert (await log_of(owner, tenant))[-1]["overwrote"] is None


async def test_a_strict_write_to_another_version_is_refused_with_the_current_record(
    api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}))
    [result] = await write(
        api,
        tenant.mutation("ana", "update", "leads", lead, fields={"phone": "2"}, mode="strict", base_version=1),
    )
    assert (result["status"], result["code"], result["record"]["phone"]) == (
        "rejected",
        "version_mismatch",
        "1",
    )
    [result] = await write(
        api, tenant.mutation("ana", "delete", "leads", lead, mode="strict", base_version=1)
    )
    assert (result["status"], result["code"]) == ("rejected", "version_mismatch")


async def test_the_same_mutation_takes_effect_once_and_is_answered_with_its_first_result(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    mutation = tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "L"})
    [first] = await write(api, mutation)
    before = len(await log_of(owner, tenant))
    [second] = await write(api, mutation)
    assert (second["status"], second["first"]["status"], second["first"]["version"]) == (
        "duplicate",
        "applied",
        1,
    )
    assert len(await log_of(owner, tenant)) == before
    [other] = await write(api, {**mutation, "fingerprint": "something else"})
    assert (other["status"], other["code"]) == ("rejected", "id_reused")
    assert first["status"] == "applied"


async def test_the_same_id_from_somebody_else_is_another_mutation(api: Connection, tenant: Tenant) -> None:
    mutation = tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "L"})
    await write(api, mutation)
    [result] = await write(
        api, {**mutation, "user_id": tenant.people["ben"], "id": new_id(), "fields": {"name": "mine"}}
    )
    assert (result["status"], result["first"]) == ("applied", None)


async def test_the_id_of_somebody_elses_last_write_changes_nothing_about_ones_own(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """Ids of mutations are seen in deltas. The write keeps its clock (I7), its person and its id."""
    await owner.execute("UPDATE organization_members SET role = 'manager', branch_ids = NULL")
    lead = await make_lead(api, tenant)
    first = tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}, clock=LATER)
    await write(api, first)
    clock = LATER[:-1] + "b"
    [result] = await write(
        api, {**first, "user_id": tenant.people["ben"], "fields": {"phone": "2"}, "clock": clock}
    )
    assert (result["status"], result["clock"]) == ("applied", clock)
    change = (await log_of(owner, tenant))[-1]
    assert (change["clock"], str(change["mutation_id"])) == (clock, first["mutation_id"])
    assert str(change["actor_id"]) == tenant.people["ben"]


async def test_two_writes_of_one_client_with_one_clock_are_two_writes(
    api: Connection, tenant: Tenant
) -> None:
    """I9: the way of two requests may take differently long, and their clocks count as the same moment then."""
    lead = await make_lead(api, tenant)
    await write(api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}, clock=LATER))
    [result] = await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "2"}, clock=LATER)
    )
    assert (result["status"], result["record"]["phone"]) == ("applied", "2")
    assert result["clock"] == LATER.replace("-0000-", "-0001-", 1)


async def test_the_same_mutation_from_two_processes_at_once_takes_effect_once(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    mutation = tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "L"})
    a, b = await connect("branchline_api"), await connect("branchline_api")
    results = await asyncio.gather(write(a, mutation), write(b, mutation), return_exceptions=True)
    answered = [r[0]["status"] for r in results if isinstance(r, list)]
    assert "applied" in answered
    for result in results:
        assert isinstance(result, list | asyncpg.UniqueViolationError)
    assert sum(c["collection"] == "leads" for c in await log_of(owner, tenant)) == 1


async def test_bad_mutations_stand_alone(owner: Connection, api: Connection, tenant: Tenant) -> None:
    batch = [tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": f"L{n}"}) for n in range(20)]
    batch[3]["fields"]["score"] = 101
    batch[7]["fields"]["client_id"] = new_id()
    batch[11]["fields"]["name"] = None
    batch[15]["fields"]["estimated_value"] = "-1"
    results = await write(api, *batch)
    assert {n: r["code"] for n, r in enumerate(results) if r["status"] == "rejected"} == {
        3: "invalid",
        7: "foreign_key",
        11: "invalid",
        15: "invalid",
    }
    assert sum(c["collection"] == "leads" for c in await log_of(owner, tenant)) == 16
    [again] = await write(api, {**batch[3], "fields": {"name": "better"}})
    assert again["status"] == "applied", "a rejection is not remembered"


async def test_who_refers_to_nothing_stands_alone_and_who_refers_to_a_neighbour_does_not(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """Deals are written before leads; a deal for a lead that came before it is good all the same."""
    lead, nothing = new_id(), new_id()
    batch = [
        tenant.mutation("ana", "insert", "leads", lead, fields={"name": "good"}),
        tenant.mutation("ana", "insert", "deals", new_id(), fields={"name": "bad", "lead_id": nothing}),
        tenant.mutation("ana", "insert", "deals", new_id(), fields={"name": "good", "lead_id": lead}),
        tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "bad", "client_id": nothing}),
        tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "bad", "owner_id": nothing}),
        tenant.mutation("vera", "insert", "leads", new_id(), fields={"name": "no", "client_id": nothing}),
        tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}),
        tenant.mutation("ana", "update", "leads", lead, fields={"client_id": nothing}),
        *(tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": str(n)}) for n in range(5)),
    ]
    results = await write(api, *batch)
    assert {n: r["code"] for n, r in enumerate(results) if r["status"] == "rejected"} == {
        1: "foreign_key",
        3: "foreign_key",
        4: "foreign_key",
        5: "forbidden",
        7: "foreign_key",
    }
    numbered = [{**each, "ordinal": n} for n, each in enumerate(batch)]
    async with owner.transaction():
        await owner.execute("SELECT set_config('branchline.organization_id', $1, true)", tenant.id)
        orphans = await owner.fetchval(
            "SELECT orphans($1::jsonb, oid) FROM pg_constraint WHERE conname = 'leads_organization_id_client_id_fkey'",
            orjson.dumps(numbered).decode(),
        )
    assert sorted(orphans) == [3, 5, 7]


async def test_a_batch_after_one_with_a_reference_to_nothing_is_not_written_twice_over(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """What else is bad in it, and a reference to what comes with it, fares as ever."""

    async def inserted_by(batch: list[dict[str, object]], bad: dict[int, str]) -> int:
        await api.execute("SELECT pg_stat_force_next_flush()")
        async with api.transaction():
            results = await write(api, *batch)
            assert {n: r["code"] for n, r in enumerate(results) if r["status"] == "rejected"} == bad
            return int(await api.fetchval(ROWS_INSERTED))

    def leads(count: int, **fields: object) -> list[dict[str, object]]:
        return [
            tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "L", **fields})
            for _ in range(count)
        ]

    bad = leads(1, client_id=new_id())
    assert await inserted_by([*leads(9), *bad, *leads(10)], {9: "foreign_key"}) == 20 + 19 + 1
    assert await inserted_by([*leads(9), *bad, *leads(10)], {9: "foreign_key"}) == 19 + 1
    client = new_id()
    with_parent = [
        *leads(1, client_id=client),
        tenant.mutation("ana", "insert", "clients", client, fields={"name": "C"}),
    ]
    assert await inserted_by([*with_parent, *leads(1)], {}) == 2
    results = await write(api, *leads(1, score=101), *bad, *leads(2))
    assert [r["code"] for r in results] == ["invalid", "foreign_key", None, None]
    # The foreign key is gone: nobody refers to nothing by it any more.
    name = await owner.fetchval(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'leads'::regclass AND confrelid = 'clients'::regclass"
    )
    await owner.execute(f'ALTER TABLE leads DROP CONSTRAINT "{name}"')
    assert await inserted_by([*bad, *leads(1)], {}) == 2


async def test_two_batches_of_the_same_deleted_records_wait_for_each_other_and_do_not_deadlock(
    connect: Connect, tenant: Tenant
) -> None:
    """One updates what the other deletes once more, and the other way about; each twice, so that there are waves."""
    a, b = await connect("branchline_api"), await connect("branchline_api")
    leads = sorted(new_id() for _ in range(60))
    await write(a, *(tenant.mutation("ana", "insert", "leads", each, fields={"name": "L"}) for each in leads))
    await write(a, *(tenant.mutation("ana", "delete", "leads", each, clock=LATER) for each in leads))

    def updates(some: list[str]) -> list[dict[str, object]]:
        return [
            tenant.mutation("ana", "update", "leads", each, fields={"phone": "1"}, clock=EARLIER)
            for each in some
        ]

    def deletes(some: list[str]) -> list[dict[str, object]]:
        return [tenant.mutation("ana", "delete", "leads", each, clock=EARLIER) for each in some]

    low, high = leads[:30], leads[30:]
    for _ in range(5):
        one = [*updates(high), *deletes(low), *updates(low)]
        other = [*updates(low), *deletes(high), *updates(high)]
        results = await asyncio.gather(write(a, *one), write(b, *other))
        assert {each["status"] for result in results for each in result} <= {"merged", "applied"}


@pytest.mark.parametrize(
    "bad", [{"score": 101}, {"client_id": "01a1fff9-d67e-70dd-801f-3c5040dfa20d"}], ids=["value", "reference"]
)
async def test_two_batches_with_something_bad_in_them_do_not_deadlock_over_the_same_records(
    connect: Connect, tenant: Tenant, bad: dict[str, object]
) -> None:
    a, b = await connect("branchline_api"), await connect("branchline_api")
    leads = sorted(new_id() for _ in range(60))
    await write(a, *(tenant.mutation("ana", "insert", "leads", each, fields={"name": "L"}) for each in leads))
    low, high = leads[:30], leads[30:]

    def batch(some: list[str]) -> list[dict[str, object]]:
        return [
            tenant.mutation(
                "ana", "update", "leads", each, fields=bad if number in (0, 40) else {"phone": f"{number}"}
            )
            for number, each in enumerate(some)
        ]

    for _ in range(5):
        results = await asyncio.gather(write(a, *batch(low + high)), write(b, *batch(high + low)))
        for result in results:
            assert [each["ordinal"] for each in result if each["status"] == "rejected"] == [0, 40]


async def test_mutations_of_one_record_in_one_batch_follow_each_other(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    lead = new_id()
    results = await write(
        api,
        tenant.mutation("ana", "insert", "leads", lead, fields={"name": "1"}),
        tenant.mutation("ana", "update", "leads", lead, fields={"name": "2"}),
        tenant.mutation("ana", "delete", "leads", lead),
        tenant.mutation("ana", "insert", "leads", lead, fields={"name": "3"}),
    )
    assert [r["version"] for r in results] == [1, 2, 3, 4]
    assert [c["operation"] for c in (await log_of(owner, tenant))[-4:]] == [
        "insert",
        "update",
        "delete",
        "insert",
    ]


async def test_a_batch_of_several_organisations_and_people_keeps_them_apart(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    other = await create_tenant(owner, "other")
    mine, theirs = new_id(), new_id()
    results = await write(
        api,
        other.mutation("ana", "insert", "leads", theirs, fields={"name": "theirs"}),
        tenant.mutation("ana", "insert", "leads", mine, fields={"name": "mine"}),
        tenant.mutation("ana", "update", "leads", theirs, fields={"name": "stolen"}),
        {
            **tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "x"}),
            "user_id": other.people["ana"],
        },
    )
    assert [r["status"] for r in results] == ["applied", "applied", "rejected", "rejected"]
    assert [r["code"] for r in results] == [None, None, "not_found", "forbidden"]
    change = (await log_of(owner, other))[-1]
    assert str(change["actor_id"]) == other.people["ana"]
    assert await owner.fetchval("SELECT name FROM leads WHERE id = $1", theirs) == "theirs"


@pytest.mark.parametrize(
    ("person", "operation", "code"),
    [
        ("vera", "update", "forbidden"),
        ("vera", "delete", "forbidden"),
        ("carla", "update", "forbidden"),
        ("carla", "delete", "forbidden"),
        ("rita", "update", "not_found"),
        ("rita", "delete", "not_found"),
        ("ben", "update", None),
        ("ana", "delete", None),
    ],
)
async def test_rights_by_branch_are_part_of_the_statement(
    api: Connection, tenant: Tenant, person: str, operation: str, code: str | None
) -> None:
    lead = await make_lead(api, tenant, branch_id=tenant.branches["north"])
    fields = {"phone": "1"} if operation == "update" else {}
    [result] = await write(api, tenant.mutation(person, operation, "leads", lead, fields=fields))
    assert result["code"] == code


@pytest.mark.parametrize(("person", "code"), [("rita", "not_found"), ("carla", "forbidden")])
async def test_a_refusal_says_nothing_of_the_record(
    api: Connection, tenant: Tenant, person: str, code: str
) -> None:
    """I8: a write with an old clock would lose to values that its writer may not read."""
    lead = await make_lead(api, tenant, phone="secret", branch_id=tenant.branches["north"])
    for clock in (EARLIER, None):
        [result] = await write(
            api, tenant.mutation(person, "update", "leads", lead, fields={"phone": "?"}, clock=clock)
        )
        assert (result["status"], result["code"]) == ("rejected", code)
        assert [result[name] for name in ("version", "record", "lost", "overwrote")] == [None] * 4
        assert result["clock"] == clock


async def test_a_strict_write_that_is_refused_has_lost_nothing(api: Connection, tenant: Tenant) -> None:
    lead = await make_lead(api, tenant)
    strict = {"mode": "strict", "base_version": 7, "clock": EARLIER}
    [result] = await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "?"}, **strict)
    )
    assert (result["code"], result["lost"], result["version"]) == ("version_mismatch", None, 1)


async def test_an_agent_cannot_move_a_record_to_a_branch_that_is_not_theirs(
    api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant, "ben")
    for branch in (tenant.branches["south"], None):
        [result] = await write(
            api, tenant.mutation("ben", "update", "leads", lead, fields={"branch_id": branch})
        )
        assert result["code"] == "forbidden"
    [result] = await write(
        api,
        tenant.mutation(
            "ben", "insert", "leads", new_id(), fields={"name": "x", "branch_id": tenant.branches["south"]}
        ),
    )
    assert result["code"] == "forbidden"


async def test_a_membership_that_was_disabled_writes_nothing(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    await owner.execute(
        "UPDATE organization_members SET disabled_at = now() WHERE user_id = $1", tenant.people["ana"]
    )
    [result] = await write(api, tenant.mutation("ana", "insert", "leads", new_id(), fields={"name": "x"}))
    assert result["code"] == "forbidden"


async def test_a_delete_carries_its_person_and_mutation_and_its_cascades_only_the_person(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    client = new_id()
    await write(api, tenant.mutation("ana", "insert", "clients", client, fields={"name": "C"}))
    await write(
        api, tenant.mutation("ana", "insert", "deals", new_id(), fields={"name": "D", "client_id": client})
    )
    mutation = tenant.mutation("ana", "delete", "clients", client, unit="the request")
    await write(api, mutation)
    deal, gone = sorted((await log_of(owner, tenant))[-2:], key=lambda c: c["operation"] == "delete")
    assert str(gone["mutation_id"]) == mutation["mutation_id"]
    assert (str(gone["actor_id"]), str(deal["actor_id"])) == (tenant.people["ana"],) * 2
    assert (gone["unit"], deal["unit"], deal["mutation_id"]) == ("the request", "the request", None)


async def test_a_later_update_revives_a_deleted_record_and_an_earlier_one_does_not(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    lead = await make_lead(api, tenant, phone="1")
    await write(api, tenant.mutation("ana", "delete", "leads", lead))
    [early] = await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"email": "e"}, clock=EARLIER)
    )
    assert (early["status"], [x["field"] for x in early["lost"]]) == ("merged", ["email"])
    [late] = await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"email": "f"}, clock=LATER)
    )
    assert (late["status"], late["record"]["phone"], late["record"]["email"]) == ("applied", "1", "f")
    assert (await log_of(owner, tenant))[-1]["operation"] == "insert"


async def test_a_delete_that_is_older_than_the_newest_field_loses(api: Connection, tenant: Tenant) -> None:
    lead = await make_lead(api, tenant)
    [result] = await write(api, tenant.mutation("ana", "delete", "leads", lead, clock=EARLIER))
    assert (result["status"], result["lost"][0]["field"]) == ("merged", "*")


async def test_the_write_function_runs_once_a_transaction(api: Connection, tenant: Tenant) -> None:
    await api.execute("BEGIN")
    await make_lead(api, tenant)
    with pytest.raises(asyncpg.PostgresError, match="runs once"):
        await make_lead(api, tenant)


async def test_batches_of_two_processes_over_the_same_records_do_not_deadlock(
    owner: Connection, connect: Connect, tenant: Tenant
) -> None:
    api = await connect("branchline_api")
    leads = [await make_lead(api, tenant) for _ in range(20)]
    writers = [await connect("branchline_api") for _ in range(4)]

    async def storm(writer: Connection, order: list[str]) -> None:
        for _ in range(10):
            results = await write(
                writer,
                *(tenant.mutation("ana", "update", "leads", lead, fields={"phone": "1"}) for lead in order),
            )
            assert {r["status"] for r in results} <= {"applied", "merged"}

    await asyncio.gather(*(storm(w, leads if n % 2 else leads[::-1]) for n, w in enumerate(writers)))
    assert (
        await owner.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    )


async def test_what_was_overwritten_is_kept_for_its_author_until_seen(
    owner: Connection, api: Connection, tenant: Tenant
) -> None:
    """I9: also if they were away, and also if the record was deleted over their heads."""
    await owner.execute("UPDATE organization_members SET role = 'manager', branch_ids = NULL")
    lead = await make_lead(api, tenant, phone="0")
    await write(
        api, tenant.mutation("ana", "update", "leads", lead, fields={"phone": "ana's"}, base_version=1)
    )
    [result] = await write(
        api, tenant.mutation("ben", "update", "leads", lead, fields={"phone": "ben's"}, base_version=1)
    )
    assert result["overwrote"] is not None
    [gone] = await write(api, tenant.mutation("carla", "delete", "leads", lead, base_version=2))
    assert gone["status"] == "applied"
    kept = await owner.fetch(
        "SELECT user_id, field, value::text AS value, overwritten_by, version FROM overwritten_values ORDER BY version"
    )
    assert [
        (str(k["user_id"]), k["field"], k["value"], str(k["overwritten_by"]), k["version"]) for k in kept
    ] == [
        (tenant.people["ana"], "phone", '"ana\'s"', tenant.people["ben"], 3),
        (tenant.people["ben"], "phone", '"ben\'s"', tenant.people["carla"], 4),
    ]
    assert [e["value"] for e in (await log_of(owner, tenant))[-1]["overwrote"]] == ["ben's"]

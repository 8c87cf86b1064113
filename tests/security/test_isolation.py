"""Organisations are apart: thousands of hostile requests and frames, and no canary of another one in any answer.

Branches are apart for those who may not read all of them, also what was deleted in them.
"""

import asyncio
import random
import string
from typing import Any

import httpx
import orjson
import pytest

from core.protocol.collection import Collection
from tests.gateways import Socket, run_gateway, wait_until
from tests.integration.api.conftest import Api, create, problem
from tests.integration.api.pushing import clock, mutation, now_ms, push
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, create_tenant, new_id

COLLECTIONS = ("leads", "clients", "contacts", "deals", "tasks", "activity_events", "teams")
NAME = {"contacts": "last_name", "tasks": "title", "activity_events": "subject"}
DOCUMENTED = {200, 201, 204, 304, 400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 422}


class Victim:
    """An organisation with a canary in every field that takes one."""

    def __init__(self, tenant: Tenant, canary: str) -> None:
        self.tenant = tenant
        self.canary = canary
        self.records: list[tuple[str, str]] = []
        self.cursors: list[tuple[str, str]] = []
        self.mutations: list[dict[str, Any]] = []
        self.portal_token = ""
        self.invitation = ""

    async def furnish(self, api: Api) -> None:
        client = api.client(self.tenant)
        for collection in COLLECTIONS:
            for _ in range(2):
                fields = self.fields_of(api.services.watcher.current.collections[collection])
                fields |= {NAME.get(collection, "name"): f"{self.canary} {new_id()}"}
                record = await create(client, collection, **fields)
                assert str(record).count(self.canary) == len(fields)
                self.records.append((collection, record["id"]))
            page = (await client.get(f"/api/{collection}?limit=1")).json()
            self.cursors.append((collection, page["next_cursor"]))
        page = (await client.get("/api/people?limit=1")).json()
        self.cursors.append(("people", page["next_cursor"]))
        mutation = {
            "mutation_id": new_id(),
            "collection": "leads",
            "id": new_id(),
            "operation": "insert",
            "fields": {"name": "what the attacker knows and sends again"},
        }
        body = {"client_id": new_id(), "now_ms": 1, "mutations": [mutation]}
        assert (await client.post("/api/sync", json=body)).status_code == 200
        self.mutations.append(mutation)
        contact = next(record for collection, record in self.records if collection == "contacts")
        access = await client.post(f"/api/contacts/{contact}/portal-access")
        self.portal_token = access.json()["token"]
        invited = await client.post(
            "/api/auth/invitations", json={"email": f"{self.canary}@victim.test", "role": "agent"}
        )
        self.invitation = invited.json()["id"]

    def fields_of(self, collection: Collection) -> dict[str, str]:
        """The canary in every field that takes one."""
        return {
            field.name: self.canary
            for field in collection.fields.values()
            if field.type == "text"
            and field.writable
            and (field.max_length is None or field.max_length >= len(self.canary))
        }


class Attacker:
    """Sends what somebody would who wants another organisation's data; a seed says what."""

    def __init__(self, tenant: Tenant, victims: list[Victim], seed: int) -> None:
        self.tenant = tenant
        self.victims = victims
        self.chance = random.Random(seed)

    def request(self) -> dict[str, Any]:
        """Arguments of one request."""
        chance, victim = self.chance, self.chance.choice(self.victims)
        collection, record = chance.choice(victim.records)
        forged = {"organization_id": victim.tenant.id, NAME.get(collection, "name"): "x"}
        path = f"/api/{collection}/{record}"
        others_branch = victim.tenant.branches["north"]
        cursor_collection, cursor = chance.choice(victim.cursors)
        choices: list[dict[str, Any]] = [
            {"method": "GET", "url": path},
            {"method": "GET", "url": f"{path}/history"},
            {"method": "PATCH", "url": path, "json": {"notes": "taken"}},
            {"method": "PATCH", "url": path, "json": forged, "headers": {"if-match": '"1"'}},
            {"method": "PUT", "url": path, "json": {NAME.get(collection, "name"): "taken"}},
            {"method": "DELETE", "url": path},
            {"method": "POST", "url": f"{path}/restore", "json": {"version": 1}},
            {"method": "POST", "url": f"/api/{collection}", "json": forged},
            {"method": "POST", "url": f"/api/{collection}", "json": {**forged, "id": record}},
            {
                "method": "POST",
                "url": "/api/deals",
                "json": {"name": "x", "branch_id": others_branch, "client_id": record},
            },
            {"method": "GET", "url": f"/api/{cursor_collection}", "params": {"cursor": cursor, "limit": 1}},
            {"method": "GET", "url": f"/api/{collection}", "params": {"limit": 10**9}},
            {"method": "GET", "url": f"/api/{collection}", "params": {"organization_id": victim.tenant.id}},
            {"method": "GET", "url": f"/api/{collection}", "params": {"branch_id": others_branch}},
            {"method": "GET", "url": "/api/changes", "params": self.position(collection, record)},
            {"method": "POST", "url": "/api/sync", "json": self.push(victim, collection, record)},
            {"method": "POST", "url": "/api/overwritten/seen", "json": {"ids": [record]}},
            {"method": "DELETE", "url": f"/api/auth/sessions/{victim.tenant.sessions['ana']}"},
            {"method": "GET", "url": f"/api/clients/{record}/tax-id"},
            {"method": "POST", "url": f"/api/contacts/{record}/portal-access"},
            {"method": "DELETE", "url": f"/api/auth/invitations/{victim.invitation}"},
            {"method": "GET", "url": "/api/auth/invitations"},
            {"method": "GET", "url": "/api/people"},
            {"method": "GET", "url": "/api/people", "params": {"organization_id": victim.tenant.id}},
            {"method": "GET", "url": "/api/auth/sessions"},
            {"method": "GET", "url": "/api/auth/security-events", "params": {"before": record}},
            {"method": "GET", "url": "/api/organization_members"},
            {"method": "POST", "url": "/api/teams", "json": {"name": new_id(), "organization_id": record}},
            {
                "method": "POST",
                "url": "/api/team_members",
                "json": {"team_id": record, "user_id": victim.tenant.people["ana"]},
            },
            {
                "method": "GET",
                "url": "/api/portal",
                "headers": {"authorization": f"Bearer {self.forged(victim.portal_token)}"},
            },
            {"method": "GET", "url": f"/api/{self.noise()}"},
            {"method": "GET", "url": f"/api/{collection}/{self.noise()}"},
        ]
        return chance.choice(choices)

    def forged(self, portal_token: str) -> str:
        """A portal's token with another random part: what it names is there."""
        return portal_token[:50] + "".join(
            self.chance.choices(string.ascii_letters, k=len(portal_token) - 50)
        )

    def position(self, collection: str, record: str) -> dict[str, Any]:
        topic = self.chance.choice(["*", collection, f"{collection}/{record}"])
        return {"topic": topic, "epoch": self.noise(), "offset": self.chance.randrange(50), "limit": 5_000}

    def push(self, victim: Victim, collection: str, record: str) -> dict[str, Any]:
        mutation = {
            "mutation_id": new_id(),
            "collection": collection,
            "id": record,
            "operation": self.chance.choice(["insert", "update", "delete"]),
            "fields": {NAME.get(collection, "name"): "taken"},
        }
        if mutation["operation"] == "delete":
            mutation["fields"] = {}
        replayed = self.chance.choice(victim.mutations)
        return {"client_id": new_id(), "now_ms": 1, "mutations": [mutation, replayed]}

    def frame(self) -> dict[str, Any]:
        """One message to a gateway."""
        victim = self.chance.choice(self.victims)
        collection, record = self.chance.choice(victim.records)
        topic = self.chance.choice(
            [
                f"{collection}/{record}",
                f"{collection}?branch_id={victim.tenant.branches['north']}",
                f"leads?organization_id={victim.tenant.id}",
                f"organizations/{victim.tenant.id}",
                "*",
                self.noise(),
            ]
        )
        since = self.chance.choice([None, "now", {"epoch": self.noise(), "offset": 1, "view": "v"}])
        return self.chance.choice(
            [
                {"type": "subscribe", "id": 1, "topic": topic, "presence": True}
                | ({"since": since} if since else {}),
                {"type": "announce", "topic": topic, "state": {"record": record, "field": "name"}},
                {
                    "type": "signal",
                    "topic": topic,
                    "event": "x",
                    "payload": {"organization_id": victim.tenant.id},
                },
                {"type": "unsubscribe", "id": 2, "topic": topic},
                {"type": "purged", "topics": [topic]},
            ]
        )

    def noise(self) -> str:
        letters = string.ascii_lowercase + string.digits + "-_~.'"
        return "".join(self.chance.choices(letters, k=self.chance.randrange(1, 40)))


async def attack(
    api: Api,
    owner: Connection,
    database: Database,
    servers: Servers,
    logged: pytest.CaptureFixture[str],
    *,
    organizations: int,
    operations: int,
    seed: int,
) -> None:
    print(f"seed {seed}")
    tenants = [await create_tenant(owner, f"org-{new_id()}") for _ in range(organizations)]
    mine, *others = tenants
    victims = [Victim(tenant, f"canary-{new_id()}") for tenant in others]
    await owner.execute("UPDATE organization_members SET role = 'owner' WHERE role = 'manager'")
    for victim in victims:
        await victim.furnish(api)
    canaries = [victim.canary for victim in victims]
    for victim in victims:
        # Names of people, branches and the organisation as well, and e-mail addresses.
        for table in ("organizations", "branches"):
            key = "id" if table == "organizations" else "organization_id"
            await owner.execute(
                f"UPDATE {table} SET name = $2 WHERE {key} = $1", victim.tenant.id, victim.canary
            )
        people = list(victim.tenant.people.values())
        await owner.execute(
            "UPDATE users SET name = $2::text, email = id || $2::text || '@victim.test' WHERE id = ANY ($1::uuid[])",
            people,
            victim.canary,
        )
    before = await state_of(owner, [tenant.id for tenant in others])
    attacker = Attacker(mine, victims, seed)
    client = api.client(mine)
    await owner.execute(
        "UPDATE organization_members SET role = 'owner' WHERE user_id = $1", mine.people["ana"]
    )

    def demand_silence(text: str, of: object) -> None:
        assert not [canary for canary in canaries if canary in text], of

    for _ in range(operations * 4 // 5):
        request = attacker.request()
        answer = await client.request(**request)
        assert answer.status_code in DOCUMENTED, (request, answer.text)
        demand_silence(answer.text + str(answer.headers), request)
    async with run_gateway(database, servers.redis_url) as gateway:
        async with Socket.open(gateway.url) as socket:
            token = gateway.tokens.issue(mine.people["ana"], mine.id, mine.sessions["ana"])
            await socket.authenticate(token)
            for number in range(operations // 5):
                await socket.send(**attacker.frame())
                if number % 50 == 0:
                    for victim in victims[:3]:
                        await create(api.client(victim.tenant), "leads", name=victim.canary)
                        await gateway.relay.publish(victim.tenant)
            await socket.send(type="ping", sent_at_ms=4711)
            await wait_until(lambda: any(each.get("sent_at_ms") == 4711 for each in socket.messages), 60)
            demand_silence(orjson.dumps(socket.messages).decode(), "frames")
    after = await state_of(owner, [tenant.id for tenant in others])
    assert before.keys() <= after.keys()
    assert {key: after[key] for key in before} == before
    demand_silence("".join(logged.readouterr()), "logs")


async def state_of(owner: Connection, organizations: list[str]) -> dict[str, int]:
    """The version of every record of these organisations."""
    found: dict[str, int] = {}
    for collection in COLLECTIONS:
        rows = await owner.fetch(
            f"SELECT id, version FROM {collection} WHERE organization_id = ANY ($1::uuid[])", organizations
        )
        found |= {f"{collection} {row['id']}": row["version"] for row in rows}
    return found


async def test_no_hostile_operation_brings_or_changes_a_byte_of_another_organisation(
    api: Api,
    owner: Connection,
    module_database: Database,
    servers: Servers,
    capfd: pytest.CaptureFixture[str],
) -> None:
    await attack(
        api,
        owner,
        module_database,
        servers,
        capfd,
        organizations=8,
        operations=1_000,
        seed=random.randrange(2**32),
    )


@pytest.mark.long
async def test_ten_thousand_hostile_operations_between_fifty_organisations(
    api: Api,
    owner: Connection,
    module_database: Database,
    servers: Servers,
    capfd: pytest.CaptureFixture[str],
) -> None:
    await attack(
        api,
        owner,
        module_database,
        servers,
        capfd,
        organizations=50,
        operations=10_000,
        seed=random.randrange(2**32),
    )


async def test_a_foreign_cursor_is_refused_and_not_an_empty_page(
    api: Api, tenant: Tenant, other: Tenant, ana: httpx.AsyncClient
) -> None:
    theirs = api.client(other)
    for _ in range(2):
        await create(theirs, "leads", name="x")
    cursor = (await theirs.get("/api/leads?limit=1")).json()["next_cursor"]
    problem(await ana.get("/api/leads", params={"limit": 1, "cursor": cursor}), 403, "cursor_foreign")


@pytest.mark.parametrize("person", ["rita", "carla"])
async def test_a_deleted_record_of_another_branch_is_neither_read_nor_taken_over(
    api: Api, tenant: Tenant, ana: httpx.AsyncClient, person: str
) -> None:
    """By its id, which stands in other records, and with a clock between its creation and its delete."""
    north, south = tenant.branches["north"], tenant.branches["south"]
    colleague = api.client(tenant, person)
    deal = await create(ana, "deals", name="North's deal", branch_id=north)
    await create(colleague, "tasks", title="t", branch_id=south, deal_id=deal["id"])
    between = now_ms() + 1
    await asyncio.sleep(0.05)
    address = f"/api/deals/{deal['id']}"
    await ana.patch(address, json={"amount": "123456.00", "notes": "NORTH ONLY"})
    assert (await ana.delete(address)).status_code == 204
    status, code = (409, "id_taken") if person == "rita" else (403, "forbidden")
    fields = {"name": "mine", "branch_id": south}
    for moment in (between, now_ms()):
        insert = mutation("insert", deal["id"], "deals", fields=fields, clock=clock(moment))
        [result] = await push(colleague, insert)
        assert (result["status"], result["code"]) == ("rejected", code)
    problem(await colleague.post("/api/deals", json={"id": deal["id"], **fields}), status, code)
    update = mutation("update", deal["id"], "deals", fields={"probability": 5}, clock=clock(now_ms()))
    [result] = await push(colleague, update)
    assert result["status"] == "rejected"
    assert "record" not in result
    for version in (1, 2):
        restored = await colleague.post(f"{address}/restore", json={"version": version})
        assert restored.status_code == (404 if person == "rita" else 403)
    # It is still north's.
    assert (await ana.post(f"{address}/restore", json={"version": 2})).json()["branch_id"] == north


async def test_a_record_that_was_deleted_in_another_branch_is_not_theirs_for_an_earlier_delete(
    api: Api, tenant: Tenant, ana: httpx.AsyncClient
) -> None:
    """South's record, deleted and brought back in the north, is north's, also after a second delete."""
    rita = api.client(tenant, "rita")
    lead = await create(ana, "leads", name="South's", branch_id=tenant.branches["south"])
    address = f"/api/leads/{lead['id']}"
    await ana.delete(address)
    assert (await rita.get(f"{address}/history")).status_code == 200
    await create(ana, "leads", id=lead["id"], name="North's", branch_id=tenant.branches["north"])
    await ana.delete(address)
    problem(await rita.get(f"{address}/history"), 404, "not_found")
    problem(await rita.post(f"{address}/restore", json={"version": 1}), 404, "not_found")

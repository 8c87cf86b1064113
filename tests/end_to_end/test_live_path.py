"""A write at one branch is on another branch's screen: the whole way, through every process."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
import pytest

from tests.mirror import Mirror, RefusedError, open_mirror
from tests.stack import Stack
from tests.tenants import Connection, new_id

ANA, BEN, CARLA, RITA, OLGA = (
    "ana@demo.test",
    "ben@demo.test",
    "carla@demo.test",
    "rita@demo.test",
    "olga@other.test",
)


HEAD_OF_DEMO = """SELECT max(first_offset + size - 1) FROM commits
WHERE organization_id = (SELECT id FROM organizations WHERE slug = 'demo')"""


async def records_in_database(owner: Connection, table: str) -> dict[str, dict[str, object]]:
    rows = await owner.fetch(
        f"SELECT encode_record(t)::text AS record FROM {table} t JOIN organizations o ON o.id = t.organization_id"
        " WHERE o.slug = 'demo'"
    )
    records = [json.loads(row["record"]) for row in rows]
    return {r["id"]: r for r in records}


async def marker(system: Stack) -> str:
    """Write a record that every reader of leads sees; a mirror that holds it has all that was before it."""
    with system.http(ANA) as http:
        return str(http.post("/api/leads", json={"name": "marker"}).json()["id"])


async def test_a_write_over_http_is_a_delta_at_another_branchs_socket(system: Stack) -> None:
    async with open_mirror(system.gateway_url, system.token(CARLA), "leads", since="now") as carla:
        with system.http(BEN) as ben:
            answer = ben.post("/api/leads", json={"name": "Müller GmbH", "estimated_value": "12.50"})
            assert answer.status_code == 201
            record = answer.json()
            await carla.until(lambda m: record["id"] in m.records)
            assert carla.records[record["id"]] == record

            patched = ben.patch(f"/api/leads/{record['id']}", json={"status": "contacted"}).json()
            await carla.until(lambda m: m.records[record["id"]]["version"] == 2)
            assert carla.records[record["id"]] == patched
            change = carla.changes[-1]
            assert set(change["fields"]) == {"status", "updated_at", "updated_by"}
            assert (change["operation"], change["actor"]["name"][:4]) == ("update", "Ben ")
            assert change["mutation_id"] is not None

            assert ben.delete(f"/api/leads/{record['id']}").status_code == 204
            await carla.until(lambda m: record["id"] not in m.records)
            assert (carla.changes[-1]["operation"], carla.changes[-1]["fields"]) == ("delete", {})


async def test_an_update_in_psql_is_a_delta_as_well(system: Stack) -> None:
    lead = await marker(system)
    async with open_mirror(system.gateway_url, system.token(CARLA), "leads") as carla:
        system.psql(f"SET timezone = 'Asia/Tokyo'; UPDATE leads SET company = 'By hand' WHERE id = '{lead}'")
        await carla.until(lambda m: m.records[lead]["company"] == "By hand")
        with system.http(ANA) as http:
            assert carla.records[lead] == http.get(f"/api/leads/{lead}").json()
        assert carla.changes[-1]["actor"] is None


async def test_a_rollback_sends_nothing(system: Stack) -> None:
    async with open_mirror(system.gateway_url, system.token(ANA), "*", since="now") as ana:
        before = ana.position
        system.psql(
            "BEGIN; INSERT INTO leads (organization_id, name)"
            " SELECT id, 'never' FROM organizations WHERE slug = 'demo'; ROLLBACK"
        )
        written = await marker(system)
        await ana.until(lambda m: written in m.records)
        assert ana.applied == [before + 1]


async def test_who_reads_their_own_branch_only_and_who_is_elsewhere_get_nothing_of_the_rest(
    system: Stack,
) -> None:
    async with (
        open_mirror(system.gateway_url, system.token(RITA), "leads") as rita,
        open_mirror(system.gateway_url, system.token(OLGA), "leads") as olga,
    ):
        south = rita.ready["principal"]["branch_ids"]
        assert rita.ready["principal"]["reads"] == "own"
        assert {r["branch_id"] for r in rita.records.values()} <= {*south, None}
        theirs = set(olga.records)
        with system.http(BEN) as ben:
            north = ben.post("/api/leads", json={"name": "of north"}).json()
        written = await marker(system)
        await rita.until(lambda m: written in m.records)
        assert north["id"] not in rita.records

        with system.http(ANA) as ana, system.http(RITA) as hers, system.http(OLGA) as others:
            assert hers.get(f"/api/leads/{north['id']}").status_code == 404
            assert others.get(f"/api/leads/{north['id']}").status_code == 404
            # It moves into her branch, and out again.
            ana.patch(f"/api/leads/{north['id']}", json={"branch_id": south[0]})
            await rita.until(lambda m: north["id"] in m.records)
            assert rita.changes[-1]["operation"] == "enter"
            assert rita.records[north["id"]] == hers.get(f"/api/leads/{north['id']}").json()
            ana.patch(f"/api/leads/{north['id']}", json={"branch_id": north["branch_id"]})
            await rita.until(lambda m: north["id"] not in m.records)
            assert (rita.changes[-1]["operation"], rita.changes[-1]["fields"]) == ("leave", {})
        assert set(olga.records) == theirs
        assert olga.applied == []


async def test_a_table_that_is_tracked_on_the_running_system_is_a_collection_within_seconds(
    system: Stack,
) -> None:
    system.psql(
        "CREATE TABLE vehicles (organization_id uuid NOT NULL, id uuid NOT NULL, plate text NOT NULL, branch_id uuid);"
        "COMMENT ON COLUMN vehicles.plate IS 'On the back. @filterable'; SELECT track('vehicles')"
    )
    deadline = time.monotonic() + 5
    with system.http(ANA) as http:
        while (answer := http.get("/api/vehicles")).status_code == 404:
            assert time.monotonic() < deadline, answer.text
        assert answer.json()["items"] == []
        while "/api/vehicles" not in http.get("/openapi.json").json()["paths"]:
            assert time.monotonic() < deadline
        created = http.post("/api/vehicles", json={"plate": "B 1"}).json()
        async with _subscribed(system, "vehicles?plate=B%201", deadline) as carla:
            assert carla.records[created["id"]] == created
            http.delete(f"/api/vehicles/{created['id']}")
            await carla.until(lambda m: created["id"] not in m.records)
        created = http.post("/api/vehicles", json={"plate": "B 2"}).json()
        system.psql("ALTER TABLE vehicles ADD COLUMN colour text")
        while (
            patched := http.patch(f"/api/vehicles/{created['id']}", json={"colour": "red"})
        ).status_code == 422:
            assert time.monotonic() < deadline + 5
        assert patched.status_code == 200, patched.text
        assert patched.json().get("colour") == "red", patched.text


@asynccontextmanager
async def _subscribed(system: Stack, topic: str, deadline: float) -> AsyncIterator[Mirror]:
    """Subscribe as soon as the gateway that answers knows the collection: two share the port, each looks by itself."""
    async with AsyncExitStack() as stack:
        mirror = None
        while mirror is None:
            assert time.monotonic() < deadline
            with suppress(RefusedError):
                opening = open_mirror(system.gateway_url, system.token(CARLA), topic)
                mirror = await stack.enter_async_context(opening)
        yield mirror


class Storm:
    """Writers that insert, update and delete leads; `done` counts what was acknowledged."""

    def __init__(self, system: Stack, writes: int) -> None:
        self._system = system
        self._left = writes
        self.done = 0
        self._moved = asyncio.Event()

    async def write(self, seed: int) -> None:
        chance = random.Random(seed)
        headers = {"Authorization": f"Bearer {self._system.token(ANA)}"}
        async with httpx.AsyncClient(base_url=self._system.api_url, headers=headers, timeout=30) as http:
            mine: list[str] = []
            while self._left > 0:
                self._left -= 1
                kind = chance.random()
                if kind < 0.5 or not mine:
                    answer = await http.post("/api/leads", json={"name": "storm", "id": (record := new_id())})
                    mine.append(record)
                elif kind < 0.9:
                    answer = await http.patch(
                        f"/api/leads/{chance.choice(mine)}", json={"score": chance.randrange(100)}
                    )
                else:
                    answer = await http.delete(f"/api/leads/{mine.pop(chance.randrange(len(mine)))}")
                assert answer.is_success, answer.text
                self.done += 1
                self._moved.set()

    async def reaches(self, writes: int) -> None:
        while self.done < writes:
            self._moved.clear()
            await self._moved.wait()


async def test_a_snapshot_during_a_storm_of_writes_and_the_deltas_after_it_add_up_to_postgresql(
    system: Stack, owner: Connection
) -> None:
    """I4: whatever slips between the two would be missing here."""
    storm = Storm(system, writes=400)

    async def watch(begin: int) -> Mirror:
        await storm.reaches(begin)
        async with open_mirror(system.gateway_url, system.token(ANA), "leads") as mirror:
            last = await finished
            await mirror.until(lambda m: last in m.records)
        return mirror

    async def rage() -> str:
        await asyncio.gather(*(storm.write(seed) for seed in range(4)))
        return await marker(system)

    async with asyncio.TaskGroup() as tasks:
        finished = tasks.create_task(rage())
        watching = [tasks.create_task(watch(begin)) for begin in range(10, 300, 40)]
    truth = await records_in_database(owner, "leads")
    for mirror in (task.result() for task in watching):
        assert mirror.applied == sorted(set(mirror.applied))
        assert mirror.records == truth


async def test_a_client_that_missed_five_hundred_changes_gets_exactly_those(
    system: Stack, owner: Connection
) -> None:
    lead = await marker(system)
    async with open_mirror(system.gateway_url, system.token(CARLA), "leads") as before:
        # A snapshot may hold what is after its position: the lead alone is no sign that all before it has come.
        head = await owner.fetchval(HEAD_OF_DEMO)
        await before.until(lambda m: m.position >= head)
    position = before.position
    assert position == head
    # One statement a change: five hundred transactions.
    for _ in range(500):
        await owner.execute("UPDATE leads SET score = coalesce(score, 0) % 100 + 1 WHERE id = $1", lead)
    before.applied.clear()
    async with open_mirror(system.gateway_url, system.token(CARLA), "leads", held=before) as after:
        assert after.mode == "replay"
        await after.until(lambda m: m.position >= position + 500)
        assert after.applied == list(range(position + 1, position + 501))
        truth = await records_in_database(owner, "leads")
        assert after.records == truth


@pytest.mark.parametrize("topic", ["leads", "*"])
async def test_a_position_of_another_epoch_gets_a_snapshot_and_says_so(system: Stack, topic: str) -> None:
    since = {"epoch": "another", "offset": 3, "view": topic}
    async with open_mirror(system.gateway_url, system.token(ANA), topic, since=since) as mirror:
        assert mirror.mode == "snapshot"

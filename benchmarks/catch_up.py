"""Clients that come back: 10,000 changes behind until live again, and a snapshot of 100,000 records.

Each is measured at a bare socket and with the Python client, and each replica is compared with PostgreSQL. What was
missed is many small transactions, written while no gateway held the organisation, so that the first to come back has
the log read from PostgreSQL; the second finds it in the gateway's memory.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from benchmarks.harness.accounting import list_processes, read_memory
from benchmarks.harness.people import Connection, Organization, create_organization
from benchmarks.harness.report import Report
from benchmarks.harness.stack import Stack
from branchline_client import connect as connect_client
from branchline_client.errors import BranchlineError
from core.queries import load

BEHIND_SECONDS, SNAPSHOT_SECONDS, SNAPSHOT_BYTES = 1.0, 10.0, 50 * 1024 * 1024
LEADS = 1_000
WRITERS = 4
LEADS_AT_ONCE = 10_000
PATIENCE_SECONDS = 120.0
SAMPLE_SECONDS = 0.1

_queries = load("benchmarks", "catch_up.sql")


class FaultError(Exception):
    """What came is not what the protocol promises."""


@dataclass(slots=True)
class Replica:
    """What a socket has been told of the leads, and up to where."""

    records: dict[str, Any] = field(default_factory=dict)
    offset: int = -1
    received_bytes: int = 0
    changes: int = 0

    def take(self, text: bytes, target: int) -> bool:
        """Take a message; whether everything up to `target` is here. Raises FaultError."""
        self.received_bytes += len(text)
        message = orjson.loads(text)
        match message["type"]:
            case "snapshot":
                self.records.update((each["id"], each) for each in message["records"])
                if message["last"]:
                    self.offset = message["offset"]
            case "delta":
                self._advance(message)
            case "rejected":
                raise FaultError(f"the gateway refused the topic: {message['code']}")
        return self.offset >= target

    def _advance(self, delta: dict[str, Any]) -> None:
        if delta["from"] > self.offset:
            raise FaultError(f"a delta from {delta['from']} came at offset {self.offset} (I5)")
        for change in delta["changes"]:
            held = self.records.get(change["id"])
            if held is None:
                raise FaultError(f"a change of {change['id']} came, which the snapshot had not")
            if change["version"] > held["version"]:
                held |= change["fields"] | {"version": change["version"]}
            self.changes += 1
        if not delta.get("more"):
            self.offset = max(self.offset, delta["to"])


@dataclass(slots=True)
class Arrival:
    """One client's way to live. `gateway_bytes`: what its gateway grew by meanwhile, at most."""

    who: str
    seconds: float
    gateway_bytes: int
    changes: int | None = None
    received_bytes: int | None = None

    def __str__(self) -> str:
        received = "" if self.received_bytes is None else f", {self.received_bytes / 1e6:.1f} MB received"
        return f"  {self.who}: live after {self.seconds:.2f} s; gateway + {self.gateway_bytes / 2**20:.1f} MB{received}"


@dataclass(slots=True)
class Bench:
    """The stack under measurement, its owner's connection, and what goes into the report."""

    stack: Stack
    owner: Connection
    report: Report
    gateways: list[int]

    async def organization(self, leads: int) -> Organization:
        """Make an organisation with so many leads, of which no gateway has heard."""
        organization = await create_organization(self.owner, self.stack.signing_key, people=1)
        for _ in range(0, leads, LEADS_AT_ONCE):
            await self.owner.execute(_queries.create_leads, organization.id, min(leads, LEADS_AT_ONCE))
        return organization

    async def records(self, organization: Organization) -> dict[str, Any]:
        """What PostgreSQL has."""
        rows = await self.owner.fetch(_queries.fetch_records, organization.id)
        return {row["id"]: orjson.loads(row["record"]) for row in rows}

    async def position(self, organization: Organization) -> dict[str, Any]:
        """Where the log ends, by the API: no gateway hears of it."""
        headers = {"authorization": f"Bearer {organization.people[0].token}"}
        async with httpx.AsyncClient(base_url=self.stack.api_url, headers=headers, timeout=30) as api:
            answer = (await api.get("/api/changes", params={"topic": "leads"})).raise_for_status().json()
        return {"epoch": answer["epoch"], "offset": answer["to"], "view": answer["view"]}

    @asynccontextmanager
    async def weighed(self) -> AsyncIterator[list[int]]:
        """A list that has, afterwards, the most that the gateways grew by at once."""
        before = _memory(self.gateways)
        growth = [0]

        async def watch() -> None:
            while True:
                await asyncio.sleep(SAMPLE_SECONDS)
                growth[0] = max(growth[0], _memory(self.gateways) - before)

        task = asyncio.create_task(watch())
        try:
            yield growth
        finally:
            task.cancel()
            growth[0] = max(growth[0], _memory(self.gateways) - before)

    async def by_socket(
        self, who: str, organization: Organization, since: dict[str, Any] | None, records: dict[str, Any]
    ) -> Arrival:
        """Connect, sign in, subscribe and read until nothing is missing; the messages are decoded as they come."""
        expected = await self.records(organization)
        target = (await self.position(organization))["offset"]
        replica = Replica(records, -1 if since is None else since["offset"])
        async with self.weighed() as growth:
            begun = time.perf_counter()
            async with connect(
                self.stack.gateway_url,
                subprotocols=[Subprotocol("branchline.v1")],
                max_size=None,
                compression=None,
            ) as socket:
                await _follow(socket, organization.people[0].token, since, replica, target)
                seconds = time.perf_counter() - begun
        self.compare(who, replica.records, expected)
        return Arrival(who, seconds, growth[0], replica.changes, replica.received_bytes)

    async def by_client(self, who: str, organization: Organization, folder: Path | None) -> Arrival:
        """The same by the Python client, which also keeps what it has been told where it has a folder."""
        expected = await self.records(organization)
        target = (await self.position(organization))["offset"]
        async with self.weighed() as growth:
            begun = time.perf_counter()
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                connect_client(
                    self.stack.api_url,
                    organization.people[0].token,
                    store=folder,
                    gateway_url=self.stack.gateway_url,
                ) as client,
                client.live("leads") as leads,
            ):
                await leads.wait_live()
                seconds = time.perf_counter() - begun
                at = leads.position
                if at is None or at.offset < target:
                    raise FaultError(f"the client says live at {at}, and the head is {target}")
                self.compare(who, {each["id"]: each for each in leads.records}, expected)
        return Arrival(who, seconds, growth[0])

    def compare(self, who: str, held: dict[str, Any], expected: dict[str, Any]) -> None:
        """A replica that is not what PostgreSQL has makes the run invalid."""
        if held != expected:
            wrong = sum(held.get(key) != record for key, record in expected.items())
            self.report.invalid.append(
                f"{who}: {wrong} of {len(expected)} records differ, {len(held.keys() - expected.keys())} are too many"
            )


def run(stack: Stack, *, changes: int, records: int, repeats: int) -> int:
    """Measure both; print, keep, judge. The exit status."""
    return asyncio.run(_run(stack, changes, records, repeats))


async def _run(stack: Stack, changes: int, records: int, repeats: int) -> int:
    report = Report("catch_up")
    await report.introduce(stack)
    processes = list_processes(stack.home, stack.up_pid)
    gateways = [pid for name, pid in processes.items() if name.startswith("gateway")]
    owner: Connection = await asyncpg.connect(stack.owner_database_url)
    try:
        bench = Bench(stack, owner, report, gateways)
        await _behind(bench, changes, repeats)
        await _snapshots(bench, records, repeats)
    except (FaultError, BranchlineError, WebSocketException, TimeoutError) as error:
        report.invalid.append(f"{type(error).__name__}: {error}")
    finally:
        await owner.close()
    for fault in report.invalid:
        report.say(f"  INVALID: {fault}")
    return report.finish()


async def _behind(bench: Bench, changes: int, repeats: int) -> None:
    arrivals: list[Arrival] = []
    for _ in range(repeats):
        organization = await bench.organization(LEADS)
        since, held = await bench.position(organization), await bench.records(organization)
        with tempfile.TemporaryDirectory(prefix="branchline-bench-") as folder:
            await _leave_behind(bench.stack, organization, Path(folder))
            await _write(bench.stack, organization, list(held), changes)
            arrivals += [
                await bench.by_socket("a socket, from the log", organization, since, _copied(held)),
                await bench.by_socket("a socket, from memory", organization, since, _copied(held)),
                await bench.by_client("the Python client", organization, Path(folder)),
            ]
    _conclude(bench.report, f"{changes:,} changes behind", arrivals, BEHIND_SECONDS, None)


async def _snapshots(bench: Bench, records: int, repeats: int) -> None:
    arrivals: list[Arrival] = []
    for _ in range(repeats):
        organization = await bench.organization(records)
        arrivals += [
            await bench.by_socket("a socket", organization, None, {}),
            await bench.by_client("the Python client", organization, None),
        ]
    _conclude(bench.report, f"snapshot of {records:,} records", arrivals, SNAPSHOT_SECONDS, SNAPSHOT_BYTES)


def _conclude(
    report: Report, what: str, arrivals: list[Arrival], most_seconds: float, most_bytes: int | None
) -> None:
    """Print and keep the runs; the slowest and the largest are judged."""
    report.say(f"{what}:")
    for arrival in arrivals:
        report.say(str(arrival))
    report.runs[what] = [asdict(each) for each in arrivals]
    slowest = max(arrivals, key=lambda each: each.seconds)
    largest = max(each.gateway_bytes for each in arrivals)
    met = slowest.seconds <= most_seconds and (most_bytes is None or largest <= most_bytes)
    figures = f"{slowest.seconds:.2f} s at most, by {slowest.who} (at most {most_seconds:g})"
    if most_bytes is not None:
        figures += f"; gateway + {largest / 2**20:.1f} MB (at most {most_bytes / 2**20:.0f})"
    report.judge(what, met, figures)


async def _follow(
    socket: ClientConnection, token: str, since: dict[str, Any] | None, replica: Replica, target: int
) -> None:
    """Subscribe to the leads and read up to `target`."""
    await socket.send(
        orjson.dumps({"type": "authenticate", "token": token, "client_id": str(uuid.uuid4())}).decode()
    )
    subscribe = {"type": "subscribe", "id": 1, "topic": "leads"} | ({} if since is None else {"since": since})
    await socket.send(orjson.dumps(subscribe).decode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not replica.take(await socket.recv(decode=False), target):
            pass


async def _leave_behind(stack: Stack, organization: Organization, folder: Path) -> None:
    """Have a client learn everything by HTTP, and keep it: no gateway hears of it."""
    token = organization.people[0].token
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        connect_client(stack.api_url, token, store=folder, sockets=False) as client,
        client.live("leads") as leads,
    ):
        await leads.wait_live()


async def _write(stack: Stack, organization: Organization, ids: list[str], changes: int) -> None:
    """So many transactions of one change each."""
    pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
        stack.owner_database_url, min_size=WRITERS, max_size=WRITERS
    )
    numbers = iter(range(changes))

    async def write() -> None:
        for number in numbers:
            notes = f"{number} " + "c" * 256
            await pool.execute(_queries.update_lead, organization.id, ids[number % len(ids)], notes)

    try:
        await asyncio.gather(*[write() for _ in range(WRITERS)])
    finally:
        pool.terminate()


def _copied(records: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(record) for key, record in records.items()}


def _memory(pids: list[int]) -> int:
    return sum(map(read_memory, pids))

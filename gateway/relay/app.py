"""The relay's composition root: reads the settings, opens the connections, runs the parts until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import structlog
from redis.asyncio import Redis

from core.database import Pool, create_pool
from core.lifecycle import StartupError, run_until_stopped, settle_garbage
from core.queries import load
from core.settings import Settings
from core.status_server import StatusServer
from core.telemetry import configure_logging
from gateway.relay.held import DATABASE_ERRORS, HeldConnection
from gateway.relay.leadership import STATEMENT_SECONDS as LEASE_STATEMENT_SECONDS
from gateway.relay.leadership import Leadership, LeaseRow
from gateway.relay.listener import PROBE_DEADLINE_SECONDS, Listener, ListenRefusedError
from gateway.relay.maintenance import Maintenance
from gateway.relay.outbox import Outbox
from gateway.relay.publisher import PUBLISH_ERRORS, Publisher, connect
from gateway.relay.relay import Relay
from gateway.relay.status import Status
from gateway.relay.wake import Wake

SHARD = 0
"""Which organisations this relay is for: all of them, until there are more shards."""

APPLICATION_NAME = "branchline relay"
PLANNER_SETTINGS = {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan", "jit": "off"}
"""The relay's statements all go by an index, in one plan made once: what is asked for is always the newest, and an
estimate that is out of date must not turn a look at it into a reading of the whole table."""


MEND_LISTENING = (
    "Set BRANCHLINE_LISTEN_DATABASE_URL to a direct connection to the database that DATABASE_URL leads to."
)

_queries = load("gateway.relay")
log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """Relay until SIGINT or SIGTERM; give the process's exit status.

    2, with one line that says what and how to mend it, if the database, the LISTEN address or Redis cannot be used.
    """
    configure_logging("relay", settings.log_level)
    return run_until_stopped(lambda stopping: run(settings, stopping))


class _Leases:
    """The lease in the database, on a connection of its own that nothing else can delay."""

    def __init__(self, connection: HeldConnection) -> None:
        self._connection = connection

    async def take(self, shard: int, holder: UUID, seconds: float) -> LeaseRow:
        rows = await self._connection.fetch(
            _queries.take_lease, shard, holder, seconds, deadline_seconds=LEASE_STATEMENT_SECONDS
        )
        return LeaseRow(rows[0]["holder"], rows[0]["term"], rows[0]["seconds_left"])

    async def release(self, shard: int, holder: UUID) -> None:
        await self._connection.fetch(
            _queries.release_lease, shard, holder, deadline_seconds=LEASE_STATEMENT_SECONDS
        )


async def run(settings: Settings, stopping: asyncio.Event) -> None:
    """Relay until `stopping` is set. Raises StartupError if something outside has to be mended first."""
    settings.require("database_url", "redis_url")
    wake = Wake()
    async with _database(settings) as pool, _redis(settings) as redis, _listener(settings, wake) as listener:
        leases, reader, writer = (HeldConnection(pool.acquire) for _ in range(3))
        holder = uuid4()
        leadership = Leadership(_Leases(leases), shard=SHARD, holder=holder)
        outbox = Outbox(reader, writer, shard=SHARD, holder=holder)
        relay = Relay(outbox, Publisher(redis), leadership, wake)
        maintenance = _maintenance(settings, relay)
        status = Status(leadership, relay, listener, maintenance)
        async with StatusServer(
            settings.host, settings.relay_port, role="relay", readiness=status.readiness
        ) as server:
            settle_garbage()
            log.info("relay_started", holder=str(holder), port=server.port)
            await _run_parts(leadership, listener, relay, maintenance, stopping)


async def _run_parts(
    leadership: Leadership,
    listener: Listener,
    relay: Relay,
    maintenance: Maintenance | None,
    stopping: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        election = tasks.create_task(leadership.run(), name="election")
        running = [
            tasks.create_task(relay.run(), name="relay"),
            tasks.create_task(listener.run(), name="listener"),
        ]
        if maintenance is not None:
            running.append(tasks.create_task(maintenance.run(leadership.wait_elected), name="maintenance"))
        await stopping.wait()
        for task in running:
            task.cancel()
        # The lease is given back last: the next leader begins when this one has stopped.
        await asyncio.wait(running)
        election.cancel()
        await leadership.release()
    log.info("relay_stopped")


@asynccontextmanager
async def _listener(settings: Settings, wake: Wake) -> AsyncIterator[Listener]:
    """The listener, on a direct connection; its probe is sent the way that the writers' notifications take."""

    async def connect(url: str, name: str) -> Any:
        return await asyncpg.connect(
            url, statement_cache_size=0, server_settings={"application_name": f"{APPLICATION_NAME} {name}"}
        )

    prober = HeldConnection(lambda: connect(settings.database_url, "probe"))

    async def notify(channel: str) -> None:
        # Nobody waits until a probe is on disk.
        script = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {channel}; COMMIT"
        await prober.execute(script, deadline_seconds=PROBE_DEADLINE_SECONDS)

    listener = Listener(lambda: connect(settings.listen_database_url, "listener"), notify, wake)
    try:
        await _prove_listening(listener)
        yield listener
    finally:
        prober.cut()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Pool]:
    """A pool of direct connections: three that are kept, so that a pooler would save nothing and is a way to fail."""
    try:
        pool = await create_pool(
            settings.listen_database_url,
            role="branchline_relay",
            application_name=APPLICATION_NAME,
            min_size=1,
            max_size=3,
            settings=PLANNER_SETTINGS,
        )
    except asyncpg.ProtocolViolationError as error:
        raise StartupError(
            f"listen_refused: a pooler answers in place of PostgreSQL ({_describe(error)}). {MEND_LISTENING}"
        ) from None
    except DATABASE_ERRORS as error:
        raise StartupError(
            f"the relay cannot use PostgreSQL ({_describe(error)}): check DATABASE_URL, or "
            "BRANCHLINE_LISTEN_DATABASE_URL if that is set, and that the server runs."
        ) from None
    try:
        await _prove_schema(pool)
        yield pool
    finally:
        pool.terminate()


async def _prove_schema(pool: Pool) -> None:
    try:
        await pool.fetch(_queries.fetch_standing, SHARD)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError):
        raise StartupError(
            "the database has no schema of this version: run `branchline migrate` first."
        ) from None


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[Redis]:
    redis = connect(settings.redis_url)
    try:
        try:
            await Publisher(redis).ping()
        except PUBLISH_ERRORS as error:
            raise StartupError(
                f"the relay cannot use Redis ({_describe(error)}): check REDIS_URL and that the server runs."
            ) from None
        yield redis
    finally:
        await redis.aclose()


async def _prove_listening(listener: Listener) -> None:
    try:
        await listener.self_test()
    except ListenRefusedError as error:
        raise StartupError(f"listen_refused: {error}. {MEND_LISTENING}") from None
    except DATABASE_ERRORS as error:
        raise StartupError(
            f"the relay cannot notify and listen ({_describe(error)}): check DATABASE_URL and "
            "BRANCHLINE_LISTEN_DATABASE_URL."
        ) from None


def _maintenance(settings: Settings, relay: Relay) -> Maintenance | None:
    if not settings.owner_database_url:
        log.warning("maintenance_off", reason="BRANCHLINE_OWNER_DATABASE_URL is not set")
        return None

    async def connect_as_owner() -> Any:
        return await asyncpg.connect(
            settings.owner_database_url,
            server_settings={"application_name": f"{APPLICATION_NAME} maintenance"},
        )

    # What is not published yet must still be in the log.
    return Maintenance(connect_as_owner, may_prune=lambda: relay.state.backlog.lag() == 0)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""The gateway's composition root: reads the settings, opens the connections, runs until it is told to stop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog
from redis.asyncio import Redis

from core.addresses import parse_networks
from core.database import Pool, create_pool
from core.jwks import Jwks
from core.lifecycle import StartupError, run_until_stopped, settle_garbage
from core.settings import Settings
from core.status_server import StatusServer
from core.telemetry import configure_logging
from core.tls import server_context
from core.tokens import Tokens
from gateway.broker import BROKER_ERRORS, connect
from gateway.gateway import Gateway
from gateway.log_reader import READ_ERRORS
from gateway.metrics import GatewayCollector
from gateway.options import Options

BACKLOG = 4096

_log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """Hold sockets until SIGINT or SIGTERM; give the process's exit status.

    2, with one line that says what and how to mend it, if the database or Redis cannot be used or a port is taken.
    """
    configure_logging("gateway", settings.log_level)
    return run_until_stopped(lambda stopping: _serve(settings, stopping))


def options_of(settings: Settings) -> Options:
    """Give the gateway's options as the settings have them."""
    return Options(
        allowed_origins=settings.allowed_origins,
        allow_local_origins=not settings.production,
        trusted_proxies=parse_networks(settings.trusted_proxies),
        connections_per_user=settings.connections_per_user,
        connections_per_organization=settings.connections_per_organization,
        connections_per_address=settings.connections_per_address,
        messages_per_second_per_user=settings.messages_per_second_per_user,
        views_per_user=settings.views_per_user,
    )


async def _serve(settings: Settings, stopping: asyncio.Event) -> None:
    settings.require("database_url", "redis_url")
    if not settings.token_key and not settings.jwks_url:
        raise StartupError(
            "no key to check tokens with: set BRANCHLINE_SECRET, or in production BRANCHLINE_SIGNING_KEY or "
            "BRANCHLINE_JWKS_URL."
        )
    options = options_of(settings)
    tls = server_context(settings.tls_cert, settings.tls_key)
    async with _database(settings) as pool, _replica(settings) as replica, _redis(settings) as redis:
        jwks = None if settings.token_key else Jwks(settings.jwks_url)
        tokens = Tokens(settings.token_key) if jwks is None else await jwks.start()
        gateway = Gateway(pool, redis, tokens, options, replica=replica)
        await _start(gateway)
        GatewayCollector(gateway.metrics, gateway.gauges)
        status = StatusServer(
            settings.host,
            settings.gateway_port + settings.gateway_index,
            role="gateway",
            readiness=gateway.readiness,
        )
        with _listening_socket(settings, options) as listening:
            async with status, asyncio.TaskGroup() as group:
                running = group.create_task(gateway.run(), name="gateway")
                following = None if jwks is None else group.create_task(jwks.run(), name="keys")
                loop = asyncio.get_running_loop()
                server = await loop.create_server(
                    gateway.connection,
                    sock=listening,
                    backlog=BACKLOG,
                    ssl=tls,
                    ssl_handshake_timeout=None if tls is None else options.handshake_seconds,
                )
                settle_garbage()
                _log.info("gateway.started", port=settings.gateway_port, index=settings.gateway_index)
                await stopping.wait()
                server.close()
                await gateway.leave()
                running.cancel()
                if following is not None:
                    following.cancel()
    _log.info("gateway.stopped")


def _listening_socket(settings: Settings, options: Options) -> socket.socket:
    """Open the port, which other gateways of this machine may share. Raises StartupError if it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit it.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.socket_buffer_bytes)
        listening.setblocking(False)
        listening.bind((settings.host, settings.gateway_port))
    except OSError as error:
        listening.close()
        raise StartupError(
            f"the gateway cannot listen on {settings.host}:{settings.gateway_port} ({error.strerror or error}): "
            "free the port or set BRANCHLINE_GATEWAY_PORT."
        ) from None
    return listening


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Pool]:
    try:
        pool = await create_pool(
            settings.database_url,
            role="branchline_gateway",
            application_name=f"branchline gateway {settings.gateway_index}",
            min_size=2,
            max_size=settings.database_pool_size,
        )
    except READ_ERRORS as error:
        raise StartupError(
            f"the gateway cannot use PostgreSQL ({_describe(error)}): check DATABASE_URL and that the server runs."
        ) from None
    try:
        yield pool
    finally:
        pool.terminate()


@asynccontextmanager
async def _replica(settings: Settings) -> AsyncIterator["Pool | None"]:
    """A pool of the read replica, if there is one. It may be away: the primary has all that it has."""
    if settings.replica_database_url == settings.database_url:
        yield None
        return
    pool = await create_pool(
        settings.replica_database_url,
        role="branchline_gateway",
        application_name=f"branchline gateway {settings.gateway_index} catch-up",
        min_size=0,
        max_size=settings.database_pool_size,
    )
    try:
        yield pool
    finally:
        pool.terminate()


async def _start(gateway: Gateway) -> None:
    try:
        await gateway.start()
    except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError):
        raise StartupError(
            "the database has no schema of this version: run `branchline migrate` first."
        ) from None


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[Redis]:
    redis = connect(settings.redis_url)
    try:
        try:
            await redis.ping()
        except BROKER_ERRORS as error:
            raise StartupError(
                f"the gateway cannot use Redis ({_describe(error)}): check REDIS_URL and that the server runs."
            ) from None
        yield redis
    finally:
        await redis.aclose()


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

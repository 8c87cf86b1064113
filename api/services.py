"""What routes work with, made once in the composition root and handed to the application."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from redis.asyncio import BlockingConnectionPool, Redis

from api import metrics
from api.commit import PUSH_LANES, Committer
from api.health import Health
from api.limiting import Limiter, Limits
from api.mail import MailSender, mail_sender
from api.openapi import build_document
from api.passwords import Passwords
from api.people import People
from api.principals import Principals
from api.session_use import SessionUse
from api.sessions import Lifetime, Sessions
from api.validation import Validator
from core.catalogue import CatalogueWatcher
from core.database import Pool, create_pool
from core.lifecycle import StartupError
from core.protocol.collection import Catalogue
from core.sealing import Seals, parse_keys
from core.settings import Settings
from core.tokens import Tokens

REDIS_SECONDS = 2.0
REDIS_CONNECTIONS = 32
CLOSE_SECONDS = 3.0
WRITING_CONNECTIONS = 2 + PUSH_LANES
"""One commits single writes, some pushes, and one wakes the relay meanwhile."""


@dataclass(slots=True)
class Described:
    """What follows from one version of the catalogue, made when it is first needed."""

    catalogue: Catalogue
    validators: dict[str, Validator] = field(default_factory=dict)
    document: bytes | None = None

    def validator(self, collection: str) -> Validator:
        """The validator of a collection that the catalogue has."""
        validator = self.validators.get(collection)
        if validator is None:
            validator = self.validators[collection] = Validator(self.catalogue.collections[collection])
        return validator

    def openapi(self, fixed: Mapping[str, Any]) -> bytes:
        """The OpenAPI document as JSON; `fixed` is the part that no collection has a share in."""
        if self.document is None:
            self.document = build_document(self.catalogue, fixed)
        return self.document


@dataclass(slots=True)
class Services:
    """Everything that a request may need."""

    settings: Settings
    pool: Pool
    redis: Redis
    tokens: Tokens
    watcher: CatalogueWatcher
    committer: Committer
    sessions: Sessions
    session_use: SessionUse
    people: People
    principals: Principals
    seals: Seals | None
    health: Health
    limiter: Limiter
    cursor_key: bytes
    _described: Described

    def describe(self) -> Described:
        """What follows from the catalogue as it is now."""
        current = self.watcher.current
        if self._described.catalogue is not current:
            self._described = Described(current)
        return self._described


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect to PostgreSQL and Redis and start the tasks that belong to the API; end all of it on exit.

    Raises StartupError if PostgreSQL cannot be used. Redis may come later.
    """
    settings.require("database_url", "redis_url")
    if not settings.token_key:
        settings.require("signing_key" if settings.production else "secret")
    if settings.production and settings.mail_url:
        # Behind a proxy the API cannot know it, and its own address would be in every mail.
        settings.require("public_url")
    tokens = Tokens(settings.token_key)
    async with AsyncExitStack() as stack:
        # Who comes when all connections are in use waits for one; the usual pool refuses them.
        redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                settings.redis_url,
                max_connections=REDIS_CONNECTIONS,
                timeout=REDIS_SECONDS,
                socket_timeout=REDIS_SECONDS,
                socket_connect_timeout=REDIS_SECONDS,
                health_check_interval=10,
            )
        )
        stack.push_async_callback(redis.aclose)
        limiter = Limiter(settings.redis_url, _limits_of(settings))
        stack.push_async_callback(limiter.close)
        passwords = Passwords()
        stack.push_async_callback(passwords.close)
        pool, writing, watcher = await _open_database(settings, stack)
        committer = Committer(writing, lambda: watcher.current, on_commit=metrics.observe_commit)
        metrics.watch_waiting(lambda: committer.waiting)
        principals = Principals(pool)
        services = Services(
            settings=settings,
            pool=pool,
            redis=redis,
            tokens=tokens,
            watcher=watcher,
            committer=committer,
            sessions=Sessions(
                pool,
                tokens,
                passwords,
                Lifetime(settings.session_idle_seconds, settings.session_seconds, settings.sessions_per_user),
            ),
            people=People(pool, passwords, _mail_of(settings), settings.page_url),
            principals=principals,
            health=Health(pool, redis, watcher, committer),
            session_use=SessionUse(redis, settings.session_idle_seconds),
            limiter=limiter,
            seals=_seals_of(settings, tokens),
            cursor_key=tokens.derive("cursors"),
            _described=Described(watcher.current),
        )
        await services.health.probe()
        async with asyncio.TaskGroup() as tasks:
            beside = (watcher, committer, services.health, services.session_use)
            running = [tasks.create_task(each.run()) for each in beside]
            try:
                yield services
            finally:
                for task in running:
                    task.cancel()
                await principals.close()


def _seals_of(settings: Settings, tokens: Tokens) -> Seals | None:
    if settings.field_keys:
        return Seals(parse_keys(settings.field_keys))
    # A signing key is changed from time to time, and what it has sealed would be lost: not in production.
    return None if settings.production else Seals([tokens.derive("sealed values")])


def _mail_of(settings: Settings) -> MailSender:
    return mail_sender(
        settings.mail_url, settings.mail_from, None if settings.production else settings.home / "mail"
    )


def _limits_of(settings: Settings) -> Limits:
    return Limits(
        writes_per_second_per_user=settings.writes_per_second_per_user,
        writes_per_second_per_address=settings.writes_per_second_per_address,
        logins_per_minute_per_address=settings.logins_per_minute_per_address,
        logins_per_minute_per_account=settings.logins_per_minute_per_account,
        invitations_per_hour_per_organization=settings.invitations_per_hour_per_organization,
    )


async def _open_database(settings: Settings, stack: AsyncExitStack) -> tuple[Pool, Pool, CatalogueWatcher]:
    """A pool for reads, one for the commit path alone, so that a storm of reads delays no write; the
    catalogue.
    """
    try:
        writing = await _open_pool(settings, "branchline api writes", WRITING_CONNECTIONS, stack)
        size = max(1, settings.database_pool_size - WRITING_CONNECTIONS)
        pool = await _open_pool(settings, "branchline api", size, stack)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupError(
            f"the API cannot use PostgreSQL ({type(error).__name__}): check DATABASE_URL and that the server runs."
        ) from error
    watcher = CatalogueWatcher(pool)
    try:
        await watcher.start()
    except asyncpg.UndefinedFunctionError:
        raise StartupError(
            "the database has no schema of this version: run `branchline migrate` first."
        ) from None
    except (OSError, asyncpg.PostgresError) as error:
        raise StartupError(f"the API cannot read the catalogue ({type(error).__name__}).") from error
    return pool, writing, watcher


async def _open_pool(settings: Settings, name: str, max_size: int, stack: AsyncExitStack) -> Pool:
    pool = await create_pool(
        settings.database_url,
        role="branchline_api",
        application_name=name,
        min_size=min(2, max_size),
        max_size=max_size,
    )
    stack.push_async_callback(_close_pool, pool)
    return pool


async def _close_pool(pool: Pool) -> None:
    """Say goodbye to the server, or, when that takes too long, go without."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()

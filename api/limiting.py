"""How often somebody may do something: rates that all API processes share in Redis, with RateLimit headers.

The rates are GCRA's (ATM Forum, "Traffic Management Specification 4.0", the virtual scheduling form of a leaky bucket),
one Lua script of throttled-py a question. A process that asks for a busy key takes a little in advance, so that most
writes ask nobody. While Redis is away each process counts for itself: the limits are then as many times as high.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.types import Scope
from throttled.asyncio import BaseStore, MemoryStore, RedisStore, Throttled
from throttled.asyncio.rate_limiter import Quota, per_hour, per_min, per_sec
from throttled.exceptions import StoreUnavailableError

from api.peer import address_of
from api.problems import ProblemError
from core.addresses import limit_key
from core.tokens import Claims

SCOPE_KEY: Final = "branchline.rate_limit"
"""Where in a request's scope the rim finds the RateLimit headers of its answer."""
_LOGIN_PATH = "/api/auth/login"
MAILS_PER_MINUTE = 1
MAILS_AT_ONCE = 3
"""Invitations from an organisation to one address: nobody fills another's mailbox, and a slip can be mended at once."""
PUSH_MUTATIONS = 20
"""A push of mutations counts as one write, and one more for each so many."""

_REDIS_SECONDS = 0.25
_ALONE_SECONDS = 2.0
_ADVANCE_SECONDS = 1.0
_MOST_ADVANCES = 10_000
_KEYS_ALONE = 10_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """How many in a second, or a minute, as the names say; bursts of twice as many a second. 0 is no limit."""

    writes_per_second_per_user: int = 0
    writes_per_second_per_address: int = 0
    logins_per_minute_per_address: int = 0
    logins_per_minute_per_account: int = 0
    invitations_per_hour_per_organization: int = 0


@dataclass(frozen=True, slots=True)
class _Verdict:
    is_allowed: bool
    remaining: int
    reset_seconds: float
    retry_seconds: float


class Rate:
    """One rate over keys. `advance` is how many a process takes at a time, of a key that is asked for often."""

    def __init__(self, name: str, quota: Quota, store: BaseStore, *, advance: int = 0) -> None:
        self.name = name
        self._shared = Throttled(using="gcra", quota=quota, store=store)
        self._alone = Throttled(
            using="gcra", quota=quota, store=MemoryStore(options={"MAX_SIZE": _KEYS_ALONE})
        )
        self._advance = advance
        self._advances: dict[str, tuple[int, float]] = {}
        self._refused: dict[str, tuple[float, _Verdict]] = {}
        self._alone_until = 0.0
        # A cost above the burst would never be allowed.
        self._most = quota.burst
        self.policy = f'"{name}";q={quota.get_limit()};w={quota.get_period_sec()}'

    async def take(self, key: str, cost: int = 1) -> _Verdict:
        """Take `cost` of a key's rate, or as much as a burst has if that is less."""
        cost = min(cost, self._most)
        now = time.monotonic()
        refused = self.refused(key)
        if refused is not None:
            return refused
        if (taken := self._take_in_advance(key, cost, now)) is not None:
            return taken
        if self._advance and cost + self._advance <= self._most:
            verdict = await self._ask(key, cost + self._advance, now)
            if verdict.is_allowed:
                if len(self._advances) >= _MOST_ADVANCES:
                    self._advances.clear()
                left, until = self._advances.get(key, (0, 0.0))
                kept = left if now < until else 0
                self._advances[key] = (kept + self._advance, now + _ADVANCE_SECONDS)
                return verdict
        verdict = await self._ask(key, cost, now)
        # What is used up may be so because another request has just taken some in advance.
        if not verdict.is_allowed and (taken := self._take_in_advance(key, cost, now)) is not None:
            return taken
        if not verdict.is_allowed and cost == 1:
            if len(self._refused) >= _MOST_ADVANCES:
                self._refused.clear()
            self._refused[key] = (now + verdict.retry_seconds, verdict)
        return verdict

    def _take_in_advance(self, key: str, cost: int, now: float) -> _Verdict | None:
        left, until = self._advances.get(key, (0, 0.0))
        if left < cost or now >= until:
            return None
        self._advances[key] = (left - cost, until)
        return _Verdict(True, left - cost, _ADVANCE_SECONDS, 0.0)

    def refused(self, key: str) -> _Verdict | None:
        """Give the refusal that a key has had, as long as it lasts: a flood asks nobody, and costs next to nothing."""
        until, verdict = self._refused.get(key, (0.0, None))
        if verdict is None:
            return None
        left = until - time.monotonic()
        if left <= 0:
            del self._refused[key]
            return None
        return replace(verdict, retry_seconds=left)

    async def _ask(self, key: str, cost: int, now: float) -> _Verdict:
        if now >= self._alone_until:
            try:
                async with asyncio.timeout(_REDIS_SECONDS):
                    return _verdict(await self._shared.limit(f"branchline:{self.name}:{key}", cost))
            except (StoreUnavailableError, OSError, TimeoutError) as error:
                self._alone_until = now + _ALONE_SECONDS
                _log.warning("limits.alone", rate=self.name, error=type(error).__name__)
        return _verdict(await self._alone.limit(key, cost))


class Limiter:
    """The limits on requests. Each method raises ProblemError 429 for what is too much."""

    def __init__(self, redis_url: str, limits: Limits) -> None:
        options = {"SOCKET_TIMEOUT": _REDIS_SECONDS, "SOCKET_CONNECT_TIMEOUT": _REDIS_SECONDS}
        store = RedisStore(server=redis_url, options=options)
        self._store = store
        self._by_user = _per_second("writes-by-user", limits.writes_per_second_per_user, store)
        self._by_address = _per_second("writes-by-address", limits.writes_per_second_per_address, store)
        self._mails = Rate("invitations-by-address", per_min(MAILS_PER_MINUTE, MAILS_AT_ONCE), store)
        hourly = limits.invitations_per_hour_per_organization
        self._invitations = (
            Rate("invitations-by-organization", per_hour(hourly, hourly), store) if hourly else None
        )
        self._logins = _per_minute("logins-by-address", limits.logins_per_minute_per_address, store)
        self._guesses = _per_minute("logins-by-account", limits.logins_per_minute_per_account, store)

    async def admit_write(self, request: Request, claims: Claims, mutations: int = 0) -> None:
        """Count a write of a person, and of their address; `mutations` are those of a push."""
        cost = 1 + mutations // PUSH_MUTATIONS
        if self._by_address is not None:
            await _admit(request, self._by_address, limit_key(address_of(request)), cost)
        if self._by_user is not None:
            await _admit(request, self._by_user, f"{claims.organization_id}:{claims.user_id}", cost)

    async def admit_login(self, request: Request, account: str | None = None) -> None:
        """Count an attempt to prove who one is, by password or by what came by mail.

        `account` says whose password it is, always in the same words; whether there is such an account does not matter.
        """
        # In this order: who has used up their address is turned away by the head the next time.
        if self._logins is not None:
            await _admit(request, self._logins, limit_key(address_of(request)), 1)
        if self._guesses is not None and account is not None:
            # Redis learns no e-mail address, and nobody fills it with long ones.
            await _admit(request, self._guesses, hashlib.sha256(account.encode()).hexdigest(), 1)

    async def admit_mail(self, request: Request, claims: Claims, to: str) -> None:
        """Count a mail from an organisation to somebody's e-mail address."""
        await _admit(request, self._mails, f"{claims.organization_id}:{to}", 1)
        if self._invitations is not None:
            await _admit(request, self._invitations, claims.organization_id, 1)

    def refuse_guesses(self, request: Request) -> None:
        """Turn away whom `admit_login` has refused just now, before anything is read for them; nothing is counted."""
        problem = self._login_refusal(request.scope)
        if problem is not None:
            raise problem

    def refusal(self, scope: Scope) -> ProblemError | None:
        """The refusal of a sign-in that can be told from its head: before its body is read and anything is decided."""
        return self._login_refusal(scope) if is_login(scope) else None

    def _login_refusal(self, scope: Scope) -> ProblemError | None:
        client = scope.get("client")
        if self._logins is None or client is None:
            return None
        verdict = self._logins.refused(limit_key(client[0]))
        return None if verdict is None else _count(scope, self._logins, verdict)

    async def close(self) -> None:
        """Close the connections to Redis."""
        backend: Any = self._store._backend  # it has no public way to close its client
        closing: Awaitable[None] = backend.get_client().aclose(close_connection_pool=True)
        await closing


def is_login(scope: Scope) -> bool:
    """Whether a request is a sign-in."""
    return (scope["path"], scope["method"]) == (_LOGIN_PATH, "POST")


def _per_second(name: str, limit: int, store: BaseStore) -> Rate | None:
    if not limit:
        return None
    return Rate(name, per_sec(limit, 2 * limit), store, advance=limit // 10)


def _per_minute(name: str, limit: int, store: BaseStore) -> Rate | None:
    return Rate(name, per_min(limit, limit), store) if limit else None


async def _admit(request: Request, rate: Rate, key: str, cost: int) -> None:
    problem = _count(request.scope, rate, await rate.take(key, cost))
    if problem is not None:
        raise problem


def _count(scope: Scope, rate: Rate, verdict: _Verdict) -> ProblemError | None:
    """Have the answer say how much is left; the problem, if it was too much."""
    headers: dict[str, str] = scope.setdefault(SCOPE_KEY, {})
    _add(headers, "ratelimit-policy", rate.policy)
    _add(
        headers,
        "ratelimit",
        f'"{rate.name}";r={verdict.remaining};t={max(0, math.ceil(verdict.reset_seconds))}',
    )
    if verdict.is_allowed:
        return None
    return ProblemError(
        "rate_exceeded",
        f"more of {rate.name.replace('-', ' ')} than {rate.policy}",
        headers={"retry-after": str(max(1, math.ceil(verdict.retry_seconds)))},
    )


def _add(headers: dict[str, str], name: str, value: str) -> None:
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


def _verdict(result: Any) -> _Verdict:
    state = result.state
    return _Verdict(not result.limited, int(state.remaining), state.reset_after, state.retry_after)


def rate_headers(scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Give the RateLimit headers of a request's answer (draft-ietf-httpapi-ratelimit-headers), if it was counted."""
    counted: Mapping[str, str] = scope.get(SCOPE_KEY, {})
    return [(name.encode(), value.encode()) for name, value in counted.items()]

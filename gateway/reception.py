"""Who sits where: signs people in, takes fresh tokens, and follows changes of their rights.

A token names a person, an organisation and a session; who that is today is read from the database, after the seat is
known to the organisation's feed, so that a change of rights in between reaches it too (I4, I8).
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from core.cancellation import raise_if_cancelled
from core.database import Pool, fetch_principal, scoped
from core.principal import Principal
from core.protocol import downstream
from core.protocol.codes import CloseCode
from core.tokens import Claims, TokenError, Tokens
from gateway.connection import Stage
from gateway.conversation import Effect
from gateway.intake import Intake
from gateway.jobs import Jobs
from gateway.limits import Counts
from gateway.log_reader import READ_ERRORS
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.organization import Organization
from gateway.seat import Seat

REVIEW_SECONDS = 10.0
"""Time in which rights that have changed must be read again, or the socket is closed."""
RETRY_SECONDS = 0.25
PURGE_SECONDS = 0.5
"""Time in which a client whose access has ended may say that it has purged what it kept: within a second it is out."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Review:
    """Rights that are being read again. `again`: a reason came meanwhile. `welcome`: `ready` is owed for it."""

    again: bool = False
    welcome: bool = False


class Reception:
    """Signs people in and out. `perform` carries out what a conversation asks for once its sign-in is done."""

    def __init__(
        self,
        pool: Pool,
        tokens: Tokens,
        intake: Intake,
        jobs: Jobs,
        options: Options,
        metrics: Metrics,
        *,
        perform: Callable[[Seat, list[Effect]], None],
        rights_changed: Callable[[Seat], None],
    ) -> None:
        self._pool = pool
        self._tokens = tokens
        self._intake = intake
        self._jobs = jobs
        self._options = options
        self._metrics = metrics
        self._perform = perform
        self._rights_changed = rights_changed
        self._reviews: dict[Seat, _Review] = {}
        self._by_user = Counts(options.connections_per_user)
        self._by_organization = Counts(options.connections_per_organization)
        self._counted: set[Seat] = set()

    # Signing in.

    def sign_in(self, seat: Seat, token: str | None) -> None:
        """Find out who sits there; `ready` or a close follows."""
        try:
            seat.claims = self._prove(seat, token)
        except TokenError as error:
            seat.connection.close(CloseCode.TOKEN_REFUSED, str(error))
            return
        if not self._count(seat, seat.claims):
            seat.connection.close(CloseCode.TOO_MANY_CONNECTIONS, "too many sockets")
            return
        self._jobs.start(self._sign_in(seat, seat.claims), "sign in")

    def has_room(self, claims: Claims) -> bool:
        """Whether one more socket of this person and organisation is allowed."""
        return self._by_user.has_room(_user_key(claims)) and self._by_organization.has_room(
            claims.organization_id
        )

    async def admits(self, claims: Claims) -> bool:
        """Whether the session, the person and the membership behind a token are in force. Raises READ_ERRORS."""
        return await self._fetch(claims) is not None

    def sign_out(self, seat: Seat) -> None:
        """Free a seat."""
        organization = seat.organization
        if organization is not None:
            for subscription in list(seat.subscriptions):
                organization.end(subscription)
            organization.presence.leave(seat.connection.id)
            organization.seats.discard(seat)
        seat.conversation.ended()
        if seat in self._counted and seat.claims is not None:
            self._counted.discard(seat)
            self._by_user.remove(_user_key(seat.claims))
            self._by_organization.remove(seat.claims.organization_id)

    def _prove(self, seat: Seat, token: str | None) -> Claims:
        """Give the claims of a token, or those that the handshake proved where there is none."""
        if token is None:
            if seat.claims is None:
                raise TokenError("token_malformed", "a token was expected, in the message or the handshake")
            return seat.claims
        claims = self._tokens.verify(token)
        if seat.claims is not None and not _is_same_principal(seat.claims, claims):
            raise TokenError("token_refused", "the token is of another principal than the socket's")
        return claims

    def _count(self, seat: Seat, claims: Claims) -> bool:
        if not self._by_user.add(_user_key(claims)):
            return False
        if not self._by_organization.add(claims.organization_id):
            self._by_user.remove(_user_key(claims))
            return False
        self._counted.add(seat)
        return True

    async def _sign_in(self, seat: Seat, claims: Claims) -> None:
        try:
            organization = await self._intake.attach(claims.organization_id)
            if not _is_open(seat):
                return
            # Known to the feed before the rights are read: a change of them that comes now is noticed.
            seat.organization = organization
            organization.seats.add(seat)
            principal = await self._fetch(claims)
        except READ_ERRORS as error:
            raise_if_cancelled()
            _log.warning("sign_in.unavailable", error=type(error).__name__)
            seat.connection.close(CloseCode.TRY_AGAIN_LATER, "the database cannot be read at the moment")
            return
        if not _is_open(seat):
            return
        if principal is None:
            seat.connection.close(CloseCode.ACCESS_REVOKED, "the session or the membership has ended")
            return
        if seat.principal is None:
            seat.principal = principal
        self.welcome(seat)
        self._perform(seat, seat.conversation.signed_in(_now_ms()))

    def welcome(self, seat: Seat) -> None:
        """Send `ready`."""
        organization, principal = seat.organization, seat.principal
        assert organization is not None
        assert principal is not None
        seat.send(
            downstream.ready(
                connection_id=seat.connection.id,
                epoch=organization.feed.epoch,
                offset=organization.feed.position,
                principal={
                    "user_id": principal.user_id,
                    "name": principal.name,
                    "organization_id": principal.organization_id,
                    "role": principal.role,
                    "branch_ids": None if principal.branch_ids is None else sorted(principal.branch_ids),
                    "reads": principal.reads,
                },
                server_time_ms=_now_ms(),
                heartbeat_ms=self._options.heartbeat_ms,
                limits={
                    "message_bytes": self._options.message_bytes,
                    "messages_per_second": self._options.messages_per_second_per_user,
                    "subscriptions": self._options.subscriptions,
                    "announcements": self._options.announcements,
                },
            )
        )

    # Staying.

    def renew(self, seat: Seat, token: str | None) -> None:
        """Take a fresh token of the same principal; `ready` or a close follows."""
        try:
            seat.claims = self._prove(seat, token)
        except TokenError as error:
            seat.connection.close(CloseCode.TOKEN_REFUSED, str(error))
            return
        self._start_review(seat, welcome=True)

    def check_expiry(self, seat: Seat) -> None:
        """Close a socket whose token has expired."""
        if seat.principal is not None and seat.claims is not None and time.time() >= seat.claims.expires_at:
            seat.connection.close(CloseCode.TOKEN_REFUSED, "the token has expired")

    # Changed rights.

    def review(self, organization: Organization, user_ids: set[str]) -> None:
        """Read the rights of these people again, and act on what became of them."""
        for seat in organization.seats_of(user_ids):
            self._start_review(seat)

    def _start_review(self, seat: Seat, *, welcome: bool = False) -> None:
        review = self._reviews.get(seat)
        if review is None:
            review = self._reviews[seat] = _Review()
            self._jobs.start(self._review(seat, review), "review")
        else:
            # What is being read may be older than what gave the reason to read: once more.
            review.again = True
        review.welcome |= welcome

    async def _review(self, seat: Seat, review: _Review) -> None:
        deadline = asyncio.get_running_loop().time() + REVIEW_SECONDS
        try:
            while _is_open(seat):
                review.again = False
                try:
                    await self._review_once(seat, review)
                except READ_ERRORS:
                    raise_if_cancelled()
                    if asyncio.get_running_loop().time() > deadline:
                        seat.connection.close(
                            CloseCode.TRY_AGAIN_LATER, "rights cannot be read at the moment"
                        )
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    if not review.again:
                        return
        finally:
            del self._reviews[seat]

    async def _review_once(self, seat: Seat, review: _Review) -> None:
        assert seat.claims is not None
        principal = await self._fetch(seat.claims)
        if not _is_open(seat) or review.again:
            return
        if principal is None:
            await self._dismiss(seat)
            return
        seat.principal = principal
        self._rights_changed(seat)
        if review.welcome:
            self.welcome(seat)

    async def _dismiss(self, seat: Seat) -> None:
        """Close the socket of somebody who is no longer let in, once what their client kept is purged.

        A client that does not say so has PURGE_SECONDS; meanwhile nothing is sent, and nothing else is heard.
        """
        topics = [each.view.topic.canonical for each in seat.subscriptions]
        if topics:
            assert seat.organization is not None
            for subscription in list(seat.subscriptions):
                seat.organization.end(subscription)
            seat.conversation.dismissed()
            seat.purging.update(topics)
            seat.has_purged = asyncio.Event()
            self._metrics.purges += len(topics)
            seat.send(downstream.purge(topics=topics, reason="access_ended"))
            with suppress(TimeoutError):
                async with asyncio.timeout(PURGE_SECONDS):
                    await seat.has_purged.wait()
        seat.connection.close(CloseCode.ACCESS_REVOKED, "the session or the membership has ended")

    async def _fetch(self, claims: Claims) -> Principal | None:
        async with scoped(self._pool, claims.organization_id) as connection:
            return await fetch_principal(
                connection, claims.organization_id, claims.user_id, claims.session_id
            )


def _is_open(seat: Seat) -> bool:
    return seat.connection.stage is Stage.OPEN


def _is_same_principal(one: Claims, other: Claims) -> bool:
    return (one.user_id, one.organization_id) == (other.user_id, other.organization_id)


def _user_key(claims: Claims) -> str:
    return f"{claims.organization_id} {claims.user_id}"


def _now_ms() -> int:
    return int(time.time() * 1000)

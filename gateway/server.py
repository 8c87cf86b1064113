"""What becomes of a connection's requests and messages: handshakes, limits, and the effects of conversations."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import assert_never

import structlog
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from core.addresses import client_address, limit_key
from core.protocol.codes import CloseCode
from core.protocol.upstream import Receipt
from core.status_server import Readiness, status_response
from core.tokens import Claims, TokenError
from gateway.announcing import Announcing
from gateway.connection import Connection
from gateway.conversation import (
    Close,
    Effect,
    Follow,
    Note,
    Pass,
    Phase,
    Renew,
    Reply,
    Report,
    Show,
    SignIn,
    Unfollow,
)
from gateway.following import Following
from gateway.handshake import BadHandshakeError, Credentials, credentials_of, path_of
from gateway.jobs import Jobs
from gateway.limits import Counts, Rates
from gateway.log_reader import READ_ERRORS
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.receipts import way_ms
from gateway.reception import Reception
from gateway.seat import Seat
from gateway.subscription import Stage
from gateway.sweep import Sweep

_TEXT = "text/plain; charset=utf-8"

_log = structlog.get_logger()


class UnavailableError(Exception):
    """What proves a handshake cannot be asked at the moment."""


class Server:
    """The application of every connection of a gateway.

    `prove` gives the claims behind credentials of a handshake; it raises TokenError or UnavailableError.
    """

    def __init__(
        self,
        options: Options,
        jobs: Jobs,
        metrics: Metrics,
        *,
        prove: Callable[[Credentials], Awaitable[Claims]],
        readiness: Callable[[], Readiness],
    ) -> None:
        self._options = options
        self._jobs = jobs
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._prove = prove
        self._readiness = readiness
        self._by_address = Counts(options.connections_per_address)
        self._rates = Rates(options.messages_per_second_per_user)
        self.seats: set[Seat] = set()
        self.is_leaving = False
        self._sockets = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    async def wait_empty(self) -> None:
        """Wait until no socket is left that a handshake was accepted on."""
        await self._is_empty.wait()

    def furnish(
        self, reception: Reception, following: Following, announcing: Announcing, sweep: Sweep
    ) -> None:
        """Complete the server with those who need it themselves."""
        self._reception = reception
        self._following = following
        self._announcing = announcing
        self._sweep = sweep

    # Handshakes.

    def requested(self, connection: Connection, request: Request) -> None:
        """Answer a plain request at once, a handshake when its credentials were checked."""
        if path_of(request) != self._options.path:
            connection.respond(self._answer(request))
            return
        response = connection.judge(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            connection.respond(response)
            return
        if self.is_leaving:
            connection.respond(_refusal(503, "this gateway is leaving; connect again"))
            return
        try:
            credentials = credentials_of(request)
        except BadHandshakeError as error:
            connection.respond(_refusal(error.status, str(error)))
            return
        seat = Seat(connection, None)
        forwarded = request.headers.get_all("X-Forwarded-For")
        address = limit_key(client_address(connection.address, forwarded, self._options.trusted_proxies))
        if not self._by_address.add(address):
            connection.respond(_refusal(429, "too many sockets from this address"))
            return
        seat.address = address
        connection.state = seat
        if credentials == Credentials():
            self._open(seat, response)
        else:
            connection.pause_reading()
            self._jobs.start(self._check(seat, response, credentials), "handshake")

    async def _check(self, seat: Seat, response: Response, credentials: Credentials) -> None:
        try:
            claims = await self._prove(credentials)
            if not await self._reception.admits(claims):
                self._refuse(seat, _refusal(401, "the session or the membership has ended"))
            elif not self._reception.has_room(claims):
                self._refuse(seat, _refusal(429, "too many sockets"))
            else:
                seat.claims = claims
                self._open(seat, response)
        except TokenError as error:
            self._refuse(seat, _refusal(401, str(error)))
        except (UnavailableError, *READ_ERRORS) as error:
            _log.warning("handshake.unavailable", error=type(error).__name__)
            self._refuse(seat, _refusal(503, "credentials cannot be checked at the moment"))
        seat.connection.resume_reading()

    def _refuse(self, seat: Seat, response: Response) -> None:
        """Answer a handshake whose socket was counted already."""
        if seat.connection.state is seat:
            seat.connection.state = None
            self._by_address.remove(seat.address)
        seat.connection.respond(response)

    def _open(self, seat: Seat, response: Response) -> None:
        connection = seat.connection
        self.seats.add(seat)
        seat.is_seated = True
        self._sockets += 1
        self._is_empty.clear()
        connection.set_unsent_limit(self._options.unsent_bytes)
        self._sweep.opened(connection)
        connection.respond(response)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _response(405, _TEXT, b"GET and HEAD only\n", {"Allow": "GET, HEAD"})
        answer = status_response(request.path, self._readiness, "gateway")
        if answer is None:
            text = f"{self._options.path} is the WebSocket; /healthz, /readyz and /metrics are here as well\n"
            return _response(404, _TEXT, text.encode())
        return _response(answer.status, answer.content_type, answer.body, head_only=request.method == "HEAD")

    # Messages.

    def received(self, connection: Connection, text: str) -> None:
        """Take a message."""
        seat: Seat = connection.state
        claims = seat.claims
        if claims is not None and seat.conversation.phase is not Phase.UNAUTHENTICATED:
            key = f"{claims.organization_id} {claims.user_id}"
            if not self._rates.take(key, time.monotonic()):
                connection.close(CloseCode.RATE_EXCEEDED, "too many messages")
                return
        self.perform(seat, seat.conversation.hear(text, int(time.time() * 1000)))

    def perform(self, seat: Seat, effects: list[Effect]) -> None:
        """Carry out what a conversation asks for."""
        for effect in effects:
            match effect:
                case SignIn():
                    self._reception.sign_in(seat, effect.token)
                case Renew():
                    self._reception.renew(seat, effect.token)
                case Follow():
                    self._following.follow(seat, effect.request)
                case Unfollow():
                    self._following.unfollow(seat, effect.request)
                case Show():
                    self._announcing.announce(seat, effect.request)
                case Pass():
                    self._announcing.signal(seat, effect.request)
                case Reply():
                    seat.send(effect.message)
                case Report():
                    self._measure(seat, effect.receipt)
                case Note():
                    done = seat.purging.intersection(effect.topics)
                    seat.purging -= done
                    self._metrics.purges_acknowledged += len(done)
                    # Who was not told to purge anything says it for nothing: no line for them.
                    if done:
                        _log.info("topics.purged", connection_id=seat.connection.id, count=len(done))
                    if seat.has_purged is not None and not seat.purging:
                        seat.has_purged.set()
                case Close():
                    seat.connection.close(effect.code, effect.reason)
                case _:
                    assert_never(effect)

    def _measure(self, seat: Seat, receipt: Receipt) -> None:
        """Note the way of a change from its commit to a screen, or why a receipt does not count."""
        assert seat.organization is not None
        committed_at_ms = seat.organization.commits.committed_at_ms(receipt.offset)
        now_ms = int(time.time() * 1000)
        way = way_ms(committed_at_ms=committed_at_ms, shown_at_ms=receipt.shown_at_ms, now_ms=now_ms)
        if not any(each.stage is Stage.LIVE for each in seat.subscriptions):
            way = "unknown_offset"
        elif receipt.offset <= seat.shown_offset:
            way = "repeated"
        if isinstance(way, str):
            self._metrics.receipt_ignored(way)
        else:
            seat.shown_offset = receipt.offset
            self._metrics.shown(way)

    # Sockets.

    def slowed(self, connection: Connection) -> None:
        """Have a slow socket taken out of the live stream, in a turn of its own: this may be amid a write to many."""
        self._sweep.slowed(connection)
        self._loop.call_soon(self._following.slowed, connection.state)

    def drained(self, connection: Connection) -> None:
        """Bring a socket forward that has read."""
        self._sweep.drained(connection)
        self._loop.call_soon(self._following.drained, connection.state)

    def left(self, connection: Connection) -> None:
        """Free a seat: nothing more can be sent to it."""
        seat: Seat = connection.state
        self.seats.discard(seat)
        self._sweep.drained(connection)
        self._reception.sign_out(seat)
        self._metrics.closed(connection.close_code)

    def lost(self, connection: Connection) -> None:
        """Forget a socket."""
        seat: Seat | None = connection.state
        if seat is not None:
            self._by_address.remove(seat.address)
            connection.state = None
            if seat.is_seated:
                self._sockets -= 1
                if not self._sockets:
                    self._is_empty.set()

    # What deadlines find.

    def is_unauthenticated(self, connection: Connection) -> bool:
        """Whether a socket still owes its first message."""
        seat: Seat | None = connection.state
        return seat is not None and seat.conversation.phase is Phase.UNAUTHENTICATED

    def too_late(self, connection: Connection) -> None:
        """Close a socket whose first message did not come in time."""
        connection.close(CloseCode.NOT_AUTHENTICATED, "authenticate did not come in time")

    def too_slow(self, connection: Connection) -> None:
        """Close a socket whose reader did not read in time."""
        connection.close(CloseCode.TOO_SLOW, "not read in time")

    def visit(self, connection: Connection) -> None:
        """Look after a socket, every few seconds."""
        seat: Seat | None = connection.state
        if seat is not None:
            self._reception.check_expiry(seat)

    def tidy(self) -> None:
        """Forget rates that are full again."""
        self._rates.forget_full(time.monotonic())


def _refusal(status: int, message: str) -> Response:
    extra = {}
    if status == HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Bearer"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        extra["Retry-After"] = "5"
    return _response(status, _TEXT, f"{message}\n".encode(), extra)


def _response(
    status: int,
    content_type: str,
    body: bytes,
    extra: Mapping[str, str] | None = None,
    *,
    head_only: bool = False,
) -> Response:
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
            **(extra or {}),
        }
    )
    return Response(int(status), HTTPStatus(status).phrase, headers, b"" if head_only else body)

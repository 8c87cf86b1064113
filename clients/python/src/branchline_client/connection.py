"""The connection: carries out what the table of states says, and tells it what has happened."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Coroutine
from typing import Any, Protocol, assert_never

from branchline_client import message as messages
from branchline_client.api import Api
from branchline_client.backoff import RetryPolicy
from branchline_client.codes import CloseReaction
from branchline_client.credentials import Credentials, expires_at
from branchline_client.errors import ApiError, BranchlineError, MalformedMessageError, NeedsAuthError
from branchline_client.line import SILENCE_SECONDS, Line, LineClosedError, OpenError, SilentError
from branchline_client.message import Downstream, GoAway, Ready
from branchline_client.states import Action, Event, State, step
from branchline_client.tasks import Tasks

READY_SECONDS = 8.0
"""For the socket and `ready`; with 12 s of silence before, a dead line is replaced within 20 s."""
RENEW_BEFORE_SECONDS = 60.0

_log = logging.getLogger("branchline_client")

_EVENT_OF_REACTION: dict[CloseReaction, Event] = {
    "reconnect": Event.LOST,
    "reconnect_later": Event.SENT_AWAY,
    "reauthenticate": Event.REFUSED,
    "stop": Event.ENDED,
}


class Owner(Protocol):
    """Who uses the connection. All calls return at once."""

    def hello(self, token: str) -> bytes:
        """Give the `authenticate` message."""

    def ping(self) -> bytes:
        """Give a `ping` message."""

    def signed_in(self, ready: Ready) -> bool:
        """Take `ready`; False if this is another person than the one whose work is kept here."""

    def connected(self) -> None:
        """Subscribe and announce: the socket is live."""

    def disconnected(self) -> None:
        """Nothing is subscribed any more."""

    def heard(self, message: Downstream) -> None:
        """Take a message."""

    def state_changed(self, old: State, new: State, reason: str) -> None:
        """Take note of a new state."""

    async def poll(self) -> None:
        """Fetch changes by HTTP again and again. Raises NeedsAuthError."""


class Connection:
    """The state of the connection, and the tasks that belong to it: they live in `tasks`."""

    def __init__(
        self,
        owner: Owner,
        api: Api,
        credentials: Credentials,
        policy: RetryPolicy,
        tasks: Tasks,
        *,
        gateway_url: str | None = None,
        sockets: bool = True,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.state = State.IDLE
        self.reason = ""
        """Why the state is what it is, in words; of a close, the server's."""
        self.code = 0
        """The close code or HTTP status of the last end."""
        self._owner = owner
        self._api = api
        self._credentials = credentials
        self._policy = policy
        self._owned = tasks
        self._fixed_url = gateway_url
        self._gateway_url = gateway_url
        self._sockets = sockets
        self._silence_seconds = silence_seconds
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._deadline: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._attempt = 0
        self._blocked_times = 0
        self._without_since: float | None = None
        """Since when no socket has opened."""
        self._tried_at = 0.0
        self._named_delay_ms: int | None = None
        self._token: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether messages reach the server."""
        return self.state in (State.LIVE, State.LEAVING)

    def send(self, message: bytes) -> bool:
        """Send a message if there is a live socket; say whether there was."""
        if not self.is_live or self._line is None:
            return False
        self._line.send(message)
        return True

    def renew(self) -> None:
        """Send a fresh token now: the gateway asks for one."""
        if self._renewal is not None:
            self._renewal.cancel()
        self._spawn(self._renew())

    def post(self, event: Event, reason: str = "") -> None:
        """Tell what has happened; what follows has begun when this returns."""
        old = self.state
        transition = step(old, event)
        self.state = transition.state
        if transition.state is not old:
            self.reason = reason or event.value
            _log.debug("%s: %s → %s (%s)", event.value, old.value, transition.state.value, self.reason)
        for action in transition.actions:
            self._perform(action)
        if transition.state is not old:
            self._owner.state_changed(old, transition.state, self.reason)

    # Actions.

    def _perform(self, action: Action) -> None:
        policy = self._policy
        match action:
            case Action.ASK_TOKEN:
                self._spawn(self._ask_token())
            case Action.OPEN:
                self._attempt += 1
                self._spawn(self._open())
            case Action.AUTHENTICATE:
                assert self._line is not None
                assert self._token is not None
                self._line.send(self._owner.hello(self._token))
            case Action.SUBSCRIBE:
                self._attempt = self._blocked_times = 0
                self._without_since = None
                self._owner.connected()
            case Action.DROP:
                self._drop()
            case Action.BACK_OFF:
                delay_ms = policy.delay_ms(self._attempt, random.random())
                self._set_timer(min(delay_ms, self._until_blocked_ms()))
            case Action.BACK_OFF_LOST:
                self._set_timer(policy.lost_delay_ms(random.random()))
            case Action.BACK_OFF_SILENT:
                self._set_timer(policy.silent_delay_ms(random.random()))
            case Action.BACK_OFF_AWAY:
                self._set_timer(policy.away_delay_ms(self._named_delay_ms, random.random()))
                self._named_delay_ms = None
            case Action.FORGET_TOKEN:
                self._credentials.refuse(self._token)
                self._token = None
            case Action.POLL:
                self._blocked_times += 1
                self._spawn(self._poll())
                self._set_timer(policy.blocked_delay_ms(self._blocked_times, random.random()))
            case Action.STOP_TIMER:
                self._stop_timer()
            case _:
                assert_never(action)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._owned.start(work, name="branchline connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _until_blocked_ms(self) -> float:
        """How long until the next socket that does not open has it poll: for that try the backoff waits no longer."""
        if self._without_since is None or self._blocked_times:
            return math.inf
        left_ms = self._policy.blocked_ms - 1000 * (self._loop.time() - self._without_since)
        return left_ms if left_ms > 0 else math.inf

    def _set_timer(self, delay_ms: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(delay_ms / 1000, self.post, Event.DUE)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        """End the socket and whatever else is under way, but for the task that says so."""
        for handle in (self._deadline, self._renewal):
            if handle is not None:
                handle.cancel()
        self._deadline = self._renewal = None
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        line, self._line = self._line, None
        if line is not None:
            self._owner.disconnected()
            self._owned.start(line.close(), name="branchline close")

    # What takes time. Each tells by an event how it ended.

    async def _ask_token(self) -> None:
        try:
            token = await self._credentials.get()
        except NeedsAuthError as error:
            self.post(Event.NO_TOKEN, str(error))
        except Exception as error:  # noqa: BLE001 - the program's callback: whatever it raises, it may know later
            _log.warning("the token callback failed: %r", error)
            self._attempt += 1
            self.post(Event.TOKEN_FAILED, f"the token callback failed: {error!r}")
        else:
            self._token = token
            self.post(Event.TOKEN)

    async def _open(self) -> None:
        self._tried_at = self._loop.time()
        self._deadline = self._loop.call_later(READY_SECONDS, self._too_late)
        if not self._sockets:
            self.post(Event.BLOCKED, "sockets are switched off")
            return
        try:
            url = await self._url()
            line = await Line.open(url, self._owner.ping, silence_seconds=self._silence_seconds)
        except OpenError as error:
            await self._not_opened(error)
            return
        except NeedsAuthError as error:
            self.post(Event.REFUSED, str(error))
            return
        except (BranchlineError, OSError) as error:
            self.post(Event.UNREACHABLE, str(error))
            return
        self._line = line
        self.post(Event.OPENED)
        await self._listen(line)

    async def _listen(self, line: Line) -> None:
        try:
            await line.run(self._hear)
        except SilentError:
            self.post(Event.SILENT, f"nothing was heard for {self._silence_seconds:.0f} s")
        except LineClosedError as closed:
            self.code = closed.code or 0
            self.post(_EVENT_OF_REACTION[closed.reaction], closed.reason)
        except MalformedMessageError as error:
            _log.error("the gateway sent what is not a message: %s", error)
            self.post(Event.LOST, str(error))

    async def _not_opened(self, error: OpenError) -> None:
        self.code = error.status or 0
        if error.status is None or error.reaction == "reconnect":
            # Perhaps the gateway's address has changed.
            self._gateway_url = self._fixed_url
            if await self._is_blocked():
                self.post(Event.BLOCKED, f"sockets do not get through: {error.reason}")
                return
            self.post(Event.UNREACHABLE, error.reason)
            return
        self.post(_EVENT_OF_REACTION[error.reaction], error.reason)

    async def _url(self) -> str:
        if self._gateway_url is None:
            config = await self._api.fetch_config()
            self._gateway_url = str(config["gateway_url"])
        return self._gateway_url

    async def _is_blocked(self) -> bool:
        """Whether no socket has opened for long, or was before, though the API answers."""
        if self._without_since is None:
            self._without_since = self._tried_at
        if (
            not self._blocked_times
            and self._loop.time() - self._without_since < self._policy.blocked_ms / 1000
        ):
            return False
        try:
            await self._api.fetch_config()
        except BranchlineError:
            return False
        return True

    async def _poll(self) -> None:
        try:
            await self._owner.poll()
        except NeedsAuthError as error:
            self.post(Event.REFUSED, str(error))
        except ApiError as error:
            self.code = error.status
            self.post(Event.ENDED, str(error))

    def _too_late(self) -> None:
        reason = f"no `ready` within {READY_SECONDS:.0f} s"
        if self.state is State.CONNECTING and self._gateway_url is not None:
            # Some proxies never answer a socket: that is no other than one that is refused.
            self._drop()
            self._spawn(self._not_opened(OpenError("reconnect", reason)))
        else:
            self.post(Event.UNREACHABLE, reason)

    # Messages.

    def _hear(self, data: bytes) -> None:
        message = messages.decode(data)
        match message:
            case Ready():
                self._ready(message)
            case GoAway():
                self._named_delay_ms = message.reconnect_after_ms
                self.post(Event.GOAWAY)
            case _:
                self._owner.heard(message)

    def _ready(self, ready: Ready) -> None:
        if self.state is not State.AUTHENTICATING or self._line is None:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._owner.signed_in(ready):
            self.post(Event.ENDED, "the token is another person's, or of another organisation")
            return
        self._credentials.accept()
        self._line.pace(ready.limits.get("messages_per_second", 0))
        self._plan_renewal()
        self.post(Event.READY)

    # Tokens that end.

    def _plan_renewal(self) -> None:
        expiry = None if self._token is None else expires_at(self._token)
        if expiry is None or self._credentials.is_fixed:
            return
        left = expiry - time.time()
        delay = max(left - RENEW_BEFORE_SECONDS, left / 2, 1.0)
        self._renewal = self._loop.call_later(delay, lambda: self._spawn(self._renew()))

    async def _renew(self) -> None:
        try:
            token = await self._credentials.renew()
        except Exception as error:  # noqa: BLE001 - the program's callback; the socket lasts as long as the old token
            _log.warning("no fresh token yet: %r", error)
            token = None
        if token is not None and self._line is not None and self.is_live:
            self._token = token
            self._line.send(self._owner.hello(token))
        self._plan_renewal()

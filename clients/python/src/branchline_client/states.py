"""PURE. The connection: its states, what can happen, and what follows, as one total table.

`clients/CONTRACT.md` shows the same table, for this client and the browser's; a test holds the two equal.
"""

from enum import Enum
from typing import NamedTuple


class State(Enum):
    """How the client stands to the server."""

    IDLE = "idle"
    """Not started, or closed by the program."""
    AUTHORIZING = "authorizing"
    """Asking the program for a token."""
    CONNECTING = "connecting"
    """Opening the socket."""
    AUTHENTICATING = "authenticating"
    """Signed in as soon as `ready` comes."""
    LIVE = "live"
    """Everything that concerns this client arrives."""
    LEAVING = "leaving"
    """Live, but this gateway is going: another is sought when it says."""
    WAITING = "waiting"
    """No connection; the next try is set."""
    POLLING = "polling"
    """Sockets do not get through; changes are fetched by HTTP."""
    NEEDS_AUTH = "needs-auth"
    """Nobody is signed in: the program has to give a token."""
    STOPPED = "stopped"
    """The server has ended it: a person has to change something."""


class Event(Enum):
    """What can happen."""

    START = "start"
    """The program starts the client."""
    TOKEN = "token"
    """A token is at hand."""
    NO_TOKEN = "no_token"
    """There is none: the program says so, or the server refused a second one in a row."""
    TOKEN_FAILED = "token_failed"
    """The program could not find out; it may later."""
    OPENED = "opened"
    """The socket is open."""
    UNREACHABLE = "unreachable"
    """The socket did not open, or `ready` did not come, in time."""
    BLOCKED = "blocked"
    """The socket does not open again and again, while the API answers."""
    READY = "ready"
    """`ready` came."""
    GOAWAY = "goaway"
    """`goaway` came."""
    SILENT = "silent"
    """Nothing was heard for 12 s."""
    LOST = "lost"
    """The socket closed with the reaction `reconnect`, or broke."""
    SENT_AWAY = "sent_away"
    """The socket closed with the reaction `reconnect_later`."""
    REFUSED = "refused"
    """The socket closed with the reaction `reauthenticate`."""
    ENDED = "ended"
    """The socket closed with the reaction `stop`."""
    DUE = "due"
    """The time that was set is over."""
    ONLINE = "online"
    """The program says that the network is back, or that it does not want to wait."""
    SIGN_IN = "sign_in"
    """The program gives a token."""
    CLOSE = "close"
    """The program closes the client."""


class Action(Enum):
    """What the client does on the way into a state."""

    ASK_TOKEN = "ask_token"
    """Ask for a token, another one if the last was refused."""
    OPEN = "open"
    """Open a socket; it and `ready` have 8 s."""
    AUTHENTICATE = "authenticate"
    """Send `authenticate`."""
    SUBSCRIBE = "subscribe"
    """Subscribe to every topic with the position that is held, announce again, push what is queued."""
    DROP = "drop"
    """Drop the socket, whatever it still holds."""
    BACK_OFF = "back_off"
    """Set the time of the next try: exponential, full jitter."""
    BACK_OFF_LOST = "back_off_lost"
    """The same after a live connection broke."""
    BACK_OFF_SILENT = "back_off_silent"
    """The same after silence."""
    BACK_OFF_AWAY = "back_off_away"
    """Wait for as long as the server said."""
    FORGET_TOKEN = "forget_token"
    """The token is of no use any more."""
    POLL = "poll"
    """Fetch changes by HTTP from time to time; set a time to try a socket again."""
    STOP_TIMER = "stop_timer"
    """Forget the time that was set."""


class Transition(NamedTuple):
    """Where an event leads, and what is done."""

    state: State
    actions: tuple[Action, ...] = ()


Row = dict[Event, Transition]

_TO_IDLE = Transition(State.IDLE, (Action.STOP_TIMER, Action.DROP))
_TRY = Transition(State.AUTHORIZING, (Action.STOP_TIMER, Action.ASK_TOKEN))
_TRY_ANEW = Transition(
    State.AUTHORIZING, (Action.STOP_TIMER, Action.DROP, Action.FORGET_TOKEN, Action.ASK_TOKEN)
)
_WAIT = Transition(State.WAITING, (Action.DROP, Action.BACK_OFF))
_WAIT_LOST = Transition(State.WAITING, (Action.DROP, Action.BACK_OFF_LOST))
_WAIT_AWAY = Transition(State.WAITING, (Action.DROP, Action.BACK_OFF_AWAY))
_REAUTHORIZE = Transition(State.AUTHORIZING, (Action.DROP, Action.FORGET_TOKEN, Action.ASK_TOKEN))
_STOP = Transition(State.STOPPED, (Action.STOP_TIMER, Action.DROP))


def _row(state: State, row: Row) -> Row:
    """Complete a row: what it does not name changes nothing in this state."""
    return {event: row.get(event, Transition(state)) for event in Event}


TABLE: dict[State, Row] = {
    State.IDLE: _row(State.IDLE, {Event.START: _TRY}),
    State.AUTHORIZING: _row(
        State.AUTHORIZING,
        {
            Event.TOKEN: Transition(State.CONNECTING, (Action.OPEN,)),
            Event.NO_TOKEN: Transition(State.NEEDS_AUTH),
            Event.TOKEN_FAILED: Transition(State.WAITING, (Action.BACK_OFF,)),
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.CONNECTING: _row(
        State.CONNECTING,
        {
            Event.OPENED: Transition(State.AUTHENTICATING, (Action.AUTHENTICATE,)),
            Event.UNREACHABLE: _WAIT,
            Event.BLOCKED: Transition(State.POLLING, (Action.DROP, Action.POLL)),
            Event.LOST: _WAIT,
            Event.SENT_AWAY: _WAIT_AWAY,
            Event.REFUSED: _REAUTHORIZE,
            Event.ENDED: _STOP,
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.AUTHENTICATING: _row(
        State.AUTHENTICATING,
        {
            Event.UNREACHABLE: _WAIT,
            Event.READY: Transition(State.LIVE, (Action.SUBSCRIBE,)),
            Event.LOST: _WAIT,
            Event.SENT_AWAY: _WAIT_AWAY,
            Event.REFUSED: _REAUTHORIZE,
            Event.ENDED: _STOP,
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.LIVE: _row(
        State.LIVE,
        {
            Event.GOAWAY: Transition(State.LEAVING, (Action.BACK_OFF_AWAY,)),
            Event.SILENT: Transition(State.WAITING, (Action.DROP, Action.BACK_OFF_SILENT)),
            Event.LOST: _WAIT_LOST,
            Event.SENT_AWAY: _WAIT_AWAY,
            Event.REFUSED: _REAUTHORIZE,
            Event.ENDED: _STOP,
            # Another token may be another person's: the server decides on a fresh socket.
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.LEAVING: _row(
        State.LEAVING,
        {
            # The time that `goaway` named stays set, also if the socket goes before.
            Event.SILENT: Transition(State.WAITING, (Action.DROP,)),
            Event.LOST: Transition(State.WAITING, (Action.DROP,)),
            Event.SENT_AWAY: Transition(State.WAITING, (Action.DROP,)),
            Event.REFUSED: _TRY_ANEW,
            Event.ENDED: _STOP,
            Event.DUE: Transition(State.AUTHORIZING, (Action.DROP, Action.ASK_TOKEN)),
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.WAITING: _row(
        State.WAITING,
        {
            Event.DUE: Transition(State.AUTHORIZING, (Action.ASK_TOKEN,)),
            Event.ONLINE: _TRY,
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.POLLING: _row(
        State.POLLING,
        {
            Event.REFUSED: _TRY_ANEW,
            Event.ENDED: _STOP,
            Event.DUE: Transition(State.AUTHORIZING, (Action.DROP, Action.ASK_TOKEN)),
            Event.ONLINE: Transition(State.AUTHORIZING, (Action.STOP_TIMER, Action.DROP, Action.ASK_TOKEN)),
            Event.SIGN_IN: _TRY_ANEW,
            Event.CLOSE: _TO_IDLE,
        },
    ),
    State.NEEDS_AUTH: _row(State.NEEDS_AUTH, {Event.SIGN_IN: _TRY_ANEW, Event.CLOSE: _TO_IDLE}),
    State.STOPPED: _row(State.STOPPED, {Event.SIGN_IN: _TRY_ANEW, Event.CLOSE: _TO_IDLE}),
}


def step(state: State, event: Event) -> Transition:
    """Say where an event leads from a state. Total: every pair has an answer."""
    return TABLE[state][event]

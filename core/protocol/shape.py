"""PURE. The shapes of the messages that a server sends, for those who read them.

`downstream` builds the messages; these models say what is in them, for documents and for programs that check what
comes. A test holds the two together by the golden frames.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.protocol.change import WireOperation
from core.protocol.codes import Reaction, RejectionCode
from core.protocol.downstream import Mode, UnsubscribedReason

Offset = Annotated[int, Field(ge=0)]
UnixMs = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Principal(_Shape):
    """Whom the server takes the client for. `branch_ids` are those that may be written to, null for all."""

    user_id: str
    name: str
    organization_id: str
    role: str
    branch_ids: list[str] | None
    reads: Literal["all", "own"]


class Limits(_Shape):
    """What a client may do; 0 is no limit."""

    message_bytes: int
    messages_per_second: int
    subscriptions: int
    announcements: int


class Actor(_Shape):
    """Who made a change. `branch_id` is there for those who write to exactly one branch."""

    user_id: str
    name: str | None
    branch_id: str | None


class Overwritten(_Shape):
    """A value that a change replaced, though its author had not seen it."""

    field: str
    value: Any
    by: str | None
    at_ms: UnixMs


class Change(_Shape):
    """A record changed. `fields`: all for `insert` and `enter`, those that changed for `update`, else none."""

    offset: Offset
    collection: str
    id: str
    operation: WireOperation
    version: int
    fields: dict[str, Any]
    clock: str
    actor: Actor | None
    mutation_id: str | None
    transaction: str
    committed_at_ms: UnixMs
    overwrote: list[Overwritten] = []
    mutation_ids: list[str] = []


class Present(_Shape):
    """Somebody who announced something on a topic; null as state for who has left. `leases` if there are several."""

    connection_id: str
    user_id: str
    name: str | None
    branch_id: str | None
    state: dict[str, Any] | None
    leases: list[dict[str, Any]] = []


class Sender(_Shape):
    """Whose signal it is."""

    connection_id: str
    user_id: str
    name: str | None


class Ready(_Shape):
    """The client is signed in."""

    type: Literal["ready"]
    connection_id: str
    epoch: str
    offset: Offset
    principal: Principal
    server_time_ms: UnixMs
    heartbeat_ms: int
    limits: Limits


class Subscribed(_Shape):
    """How a topic will be followed, and the head that is being caught up to."""

    type: Literal["subscribed"]
    id: int
    topic: str
    view: str
    mode: Mode
    epoch: str
    offset: Offset


class Snapshot(_Shape):
    """A page of a topic's records; `collection` is there for the topic `*`."""

    type: Literal["snapshot"]
    topic: str
    collection: str = ""
    records: list[dict[str, Any]]
    last: bool
    epoch: str
    offset: Offset


class Delta(_Shape):
    """All that a topic shows of the log after `from` up to `to`."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    type: Literal["delta"]
    topic: str
    epoch: str
    from_offset: Annotated[Offset, Field(alias="from")]
    to_offset: Annotated[Offset, Field(alias="to")]
    changes: list[Change]
    more: bool = False
    conflated: bool = False


class Head(_Shape):
    """Everything up to `offset` that concerns this socket was sent before."""

    type: Literal["head"]
    epoch: str
    offset: Offset
    at_ms: UnixMs


class Presence(_Shape):
    """Who came, went or does something else on a topic; with `count` it is the roster."""

    type: Literal["presence"]
    topic: str
    joined: list[Present]
    left: list[Present]
    changed: list[Present]
    count: int = 0


class SignalFrom(_Shape):
    """What somebody else on a topic has to say."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    type: Literal["signal"]
    topic: str
    event: str
    payload: Any
    sender: Annotated[Sender, Field(alias="from")]


class Unsubscribed(_Shape):
    """A topic is no longer followed; `id` is the request's, if it was asked for."""

    type: Literal["unsubscribed"]
    id: int | None
    topic: str
    reason: UnsubscribedReason


class Purge(_Shape):
    """Access was lost: what is kept of these topics has to go."""

    type: Literal["purge"]
    topics: list[str]
    reason: str


class GoAway(_Shape):
    """This gateway is leaving: connect again after that delay."""

    type: Literal["goaway"]
    reconnect_after_ms: int


class Rejected(_Shape):
    """Something that was asked for is not done."""

    type: Literal["rejected"]
    id: int | None
    code: RejectionCode
    message: str
    reaction: Reaction


class Pong(_Shape):
    """The answer to a ping."""

    type: Literal["pong"]
    sent_at_ms: int
    server_time_ms: UnixMs


Downstream = (
    Ready
    | Subscribed
    | Snapshot
    | Delta
    | Head
    | Presence
    | SignalFrom
    | Unsubscribed
    | Purge
    | GoAway
    | Rejected
    | Pong
)
